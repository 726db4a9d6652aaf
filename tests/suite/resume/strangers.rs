//! A third node cannot take over a session of two others.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use netmod_inet::{Id, InetEndpoint};

use super::by_hand::plain_listener;
use crate::scripted::{PlainPeer, STANDARD, carrier, number_of, numbered, prefixed};
use crate::subject::{Node, quick};

/// A listener with a dialer of ours, whose bytes the test has seen go by.
struct Recorded {
    listener: Node,
    dialer: Node,
    /// The first message of the dialer: length and Hello.
    hello: Vec<u8>,
    /// Its message after the Ack: the proof.
    proof: Vec<u8>,
}

fn message(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a length");
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).expect("a body");
    [&length[..], &body].concat()
}

/// Lets a dialer come in over a relay that records its handshake; the relay then goes on.
fn recorded() -> Recorded {
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
    Recorded { listener, dialer, hello, proof }
}

/// Fails unless the two still exchange frames over the link that they had.
fn assert_untouched(recorded: &mut Recorded) {
    let peers = recorded.listener.endpoint.peers();
    let peer = peers.iter().find(|peer| peer.target == 0.into()).expect("the peer of the pair");
    assert_eq!((peer.links, peer.id), (1, Some(Id::from_bytes([0xD1; 32]))));
    for number in 0..5 {
        recorded.dialer.try_send(0.into(), &numbered(number, 10));
        let (from, frame) = recorded.listener.next();
        assert_eq!((from, number_of(frame.as_bytes())), (0.into(), number));
        recorded.listener.try_send(0.into(), &numbered(number, 10));
        assert_eq!(number_of(recorded.dialer.next().1.as_bytes()), number);
    }
}

#[test]
fn a_plain_node_that_claims_the_id_is_another_peer() {
    let mut recorded = recorded();
    let (mut attacker, target) = recorded.listener.accept_plain(STANDARD, 0xD1);
    assert_ne!(target, 0.into());
    assert_untouched(&mut recorded);
    attacker.send(&carrier(8, 0xD1, b"from the attacker"));
    assert_eq!(recorded.listener.next().0, target);
    assert_untouched(&mut recorded);
}

#[test]
fn a_recorded_handshake_cannot_be_replayed() {
    let mut recorded = recorded();
    let mut attacker = PlainPeer::connect(recorded.listener.port());
    attacker.write(&recorded.hello);
    let ack = attacker.read_frame();
    assert!(ack.len() > 89, "it was answered as a node of ours");
    attacker.write(&recorded.proof);
    let reason = recorded.listener.dropped(&attacker).to_string();
    assert!(reason.contains("prove"), "{reason}");
    assert_untouched(&mut recorded);
    assert_eq!(recorded.listener.endpoint.peers().len(), 1);
}

#[test]
fn without_a_proof_no_dialer_is_admitted() {
    let mut recorded = recorded();
    for sent in [prefixed(&carrier(8, 0xD1, b"a frame instead")), prefixed(&carrier(40, 1, b""))] {
        let mut attacker = PlainPeer::connect(recorded.listener.port());
        attacker.write(&recorded.hello);
        attacker.read_frame();
        attacker.write(&sent);
        let reason = recorded.listener.dropped(&attacker).to_string();
        assert!(reason.contains("prove"), "{reason}");
        assert_untouched(&mut recorded);
    }
}

#[test]
fn a_plain_node_sees_nothing_of_ours_after_the_hello() {
    let mut node = plain_listener();
    let (mut peer, target) = node.accept_plain(STANDARD, 5);
    for number in 0..50 {
        peer.send(&numbered(number, 3_000));
        assert_eq!(number_of(node.next().1.as_bytes()), number);
    }
    node.try_send(target, &numbered(9, 10));
    assert_eq!(number_of(&peer.read_frame()), 9);
    // Longer than any acknowledgement is held back.
    assert!(peer.poll(Duration::from_millis(200)).is_none(), "a plain node got something");
}
