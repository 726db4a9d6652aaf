//! Who is not of a pair gets nothing of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use netmod_inet::{Id, InetEndpoint};

use super::by_hand::plain_listener;
use crate::scripted::{PlainPeer, STANDARD, carrier, number_of, numbered, prefixed};
use crate::subject::{Node, quick};

/// A listener with a dialer of ours, whose bytes the test has seen go by.
struct Watched {
    listener: Node,
    dialer: Node,
    /// What the dialer said first: length and Hello.
    hello: Vec<u8>,
    /// What it said after the Ack: its proof.
    proof: Vec<u8>,
}

fn message(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a length");
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).expect("a body");
    [&length[..], &body].concat()
}

/// Lets a dialer come in over a relay that writes down its handshake; the relay then goes on.
fn watched() -> Watched {
    let mut listener = plain_listener();
    let between = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut dialer = Node::started(
        InetEndpoint::builder().router_id(Id::from_bytes([0xD1; 32])).limits(quick()),
    );
    dialer.add(&between.local_addr().expect("an address").to_string());
    let (mut near, _) = between.accept().expect("a dialer");
    let mut far = TcpStream::connect(("127.0.0.1", listener.port())).expect("a listener");
    let hello = message(&mut near);
    far.write_all(&hello).expect("a hello");
    near.write_all(&message(&mut far)).expect("an ack");
    let proof = message(&mut near);
    far.write_all(&proof).expect("a proof");
    for (mut from, mut to) in [(&near, &far), (&far, &near)]
        .map(|(from, to)| (from.try_clone().expect("fd"), to.try_clone().expect("fd")))
    {
        std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    }
    dialer.up();
    listener.up();
    Watched { listener, dialer, hello, proof }
}

/// The pair goes on as if nothing had happened.
fn is_untouched(watched: &mut Watched) {
    let peers = watched.listener.endpoint.peers();
    let peer = peers.iter().find(|peer| peer.target == 0).expect("the peer of the pair");
    assert_eq!((peer.links, peer.id), (1, Some(Id::from_bytes([0xD1; 32]))));
    for number in 0..5 {
        watched.dialer.try_send(0, &numbered(number, 10));
        let (from, frame) = watched.listener.next();
        assert_eq!((from, number_of(frame.as_bytes())), (0, number));
        watched.listener.try_send(0, &numbered(number, 10));
        assert_eq!(number_of(watched.dialer.next().1.as_bytes()), number);
    }
}

#[test]
fn a_plain_node_that_claims_the_id_is_another_peer() {
    let mut watched = watched();
    let (mut thief, target) = watched.listener.welcome(STANDARD, 0xD1);
    assert_ne!(target, 0);
    is_untouched(&mut watched);
    thief.send(&carrier(8, 0xD1, b"from the thief"));
    assert_eq!(watched.listener.next().0, target);
    is_untouched(&mut watched);
}

#[test]
fn a_handshake_that_was_recorded_is_no_good_a_second_time() {
    let mut watched = watched();
    let mut thief = PlainPeer::connect(watched.listener.port());
    thief.write(&watched.hello);
    let ack = thief.read_frame();
    assert!(ack.len() > 89, "it was answered as a node of ours");
    thief.write(&watched.proof);
    let reason = watched.listener.dropped(&thief).to_string();
    assert!(reason.contains("prove"), "{reason}");
    is_untouched(&mut watched);
    assert_eq!(watched.listener.endpoint.peers().len(), 1);
}

#[test]
fn without_the_proof_nobody_comes_in_and_nothing_is_taken_over() {
    let mut watched = watched();
    for said in [prefixed(&carrier(8, 0xD1, b"a frame instead")), prefixed(&carrier(40, 1, b""))] {
        let mut thief = PlainPeer::connect(watched.listener.port());
        thief.write(&watched.hello);
        thief.read_frame();
        thief.write(&said);
        let reason = watched.listener.dropped(&thief).to_string();
        assert!(reason.contains("prove"), "{reason}");
        is_untouched(&mut watched);
    }
}

#[test]
fn a_plain_node_sees_nothing_of_ours_after_the_hello() {
    let mut node = plain_listener();
    let (mut peer, target) = node.welcome(STANDARD, 5);
    for number in 0..50 {
        peer.send(&numbered(number, 3_000));
        assert_eq!(number_of(node.next().1.as_bytes()), number);
    }
    node.try_send(target, &numbered(9, 10));
    assert_eq!(number_of(&peer.read_frame()), 9);
    // Longer than any acknowledgement is held back.
    assert!(peer.poll(Duration::from_millis(200)).is_none(), "a plain node got something");
}
