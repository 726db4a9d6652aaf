//! Hello and Ack, byte by byte.

use netmod_inet::{AttemptError, Direction, HandshakeError, Id, InetEndpoint, PeerType};

use crate::scripted::{
    CROSS, LIMITED_RECEIVING, LIMITED_SENDING, PEER_TYPES, PlainListener, PlainPeer, STANDARD, ack,
    ack_payload, as_a_ratman_node_reads, carrier, hello, hello_payload, hex, numbered, prefixed,
    run_of,
};
use crate::subject::{Node, quick};

const OWN_ID: [u8; 32] = [0xa1; 32];

fn named(bind: bool) -> Node {
    let builder = InetEndpoint::builder().router_id(Id::from_bytes(OWN_ID)).limits(quick());
    Node::built(if bind { builder.bind("127.0.0.1:0") } else { builder })
}

/// Each way to write a dialed peer, the type its Hello must carry, and the type it then has.
fn dialed_types() -> [(&'static str, &'static [u8], PeerType); 4] {
    [
        ("", STANDARD, PeerType::Standard),
        ("X", CROSS, PeerType::Cross),
        ("?limited=send", LIMITED_SENDING, PeerType::Limited(Direction::Sending)),
        ("?limited=recv", LIMITED_RECEIVING, PeerType::Limited(Direction::Receiving)),
    ]
}

/// Each type that a Hello can carry, and what that makes the dialer for the listening node.
fn accepted_types() -> [(&'static [u8], PeerType); 4] {
    [
        (STANDARD, PeerType::Standard),
        (CROSS, PeerType::Cross),
        (LIMITED_SENDING, PeerType::Limited(Direction::Receiving)),
        (LIMITED_RECEIVING, PeerType::Limited(Direction::Sending)),
    ]
}

#[test]
fn the_hello_of_every_peer_type() {
    for bind in [false, true] {
        let mut node = named(bind);
        let port = node.endpoint.port().unwrap_or(0);
        assert_eq!(port != 0, bind);
        for (suffix, wire, peer_type) in dialed_types() {
            let listener = PlainListener::bind();
            let target = node.add(&listener.addr(suffix));
            let mut peer = listener.accept();
            let due = hello(wire, port, OWN_ID[0]);
            let read = as_a_ratman_node_reads(&peer.read_frame(), due.len());
            assert_eq!(hex(&read), hex(&due), "{suffix}");
            peer.send(&ack(wire, 7));
            assert_eq!(node.up(), (target, Id::from_bytes([7; 32]), peer_type), "{suffix}");
            assert_eq!(node.info(target).peer_type, peer_type);
        }
    }
}

#[test]
fn the_ack_echoes_every_peer_type() {
    let mut node = named(true);
    for (wire, peer_type) in accepted_types() {
        let mut peer = PlainPeer::connect(node.port());
        peer.send(&hello(wire, 9000, 5));
        assert_eq!(hex(&peer.read_frame()), hex(&ack(wire, OWN_ID[0])));
        let (target, id, seen) = node.up();
        assert_eq!((id, seen), (Id::from_bytes([5; 32]), peer_type));
        assert_eq!(node.info(target).peer_type, peer_type);
    }
}

#[test]
fn an_ack_must_echo_the_type_that_was_asked_for() {
    let mut node = Node::dial_only();
    for (suffix, asked, _) in dialed_types() {
        for answered in PEER_TYPES.into_iter().filter(|answered| *answered != asked) {
            let listener = PlainListener::bind();
            let target = node.add(&listener.addr(suffix));
            let mut peer = listener.answer(answered, 7);
            let reason = node.attempt(target);
            assert!(
                matches!(reason, AttemptError::Handshake(HandshakeError::PeerType { .. })),
                "{reason}"
            );
            peer.expect_end();
            // The same peer may answer better the next time.
            let _peer = listener.answer(asked, 7);
            assert_eq!(node.up().0, target);
            node.remove(target);
        }
    }
}

/// The first parts of all streams are written before the second parts of any, and a whole exchange
/// of another peer lies between: so the endpoint has read the first parts by themselves.
#[test]
fn a_hello_split_at_every_byte() {
    let mut node = Node::listening();
    let bytes = run_of([&hello(STANDARD, 0, 3), &numbered(0, 8)]);
    let mut peers: Vec<_> = (1..bytes.len())
        .map(|at| {
            let mut peer = PlainPeer::connect(node.port());
            peer.write(&bytes[..at]);
            peer
        })
        .collect();
    // Streams whose Hello was complete deliver nothing yet: their frame is not.
    node.serves("the first parts");
    for (peer, at) in peers.iter_mut().zip(1..) {
        peer.write(&bytes[at..]);
        assert_eq!(peer.read_frame()[..3], [1, 0, 33], "split at {at}");
        let (_, frame) = node.next();
        assert_eq!(frame.as_bytes(), numbered(0, 8), "split at {at}");
    }
}

#[test]
fn an_ack_split_at_every_byte() {
    let mut node = Node::listening();
    let bytes = run_of([&ack(STANDARD, 3), &numbered(0, 8)]);
    let mut dialed: Vec<_> = (1..bytes.len())
        .map(|at| {
            let listener = PlainListener::bind();
            let target = node.add(&listener.addr(""));
            let mut peer = listener.accept();
            peer.read_frame();
            peer.write(&bytes[..at]);
            (peer, target, at)
        })
        .collect();
    node.serves("the first parts");
    for (peer, target, at) in &mut dialed {
        peer.write(&bytes[*at..]);
        node.expect_frames(*target, [&numbered(0, 8)]);
    }
}

#[test]
fn a_hello_one_byte_at_a_time() {
    let mut node = Node::listening();
    let mut peer = PlainPeer::connect(node.port());
    for byte in prefixed(&hello(STANDARD, 0, 3)) {
        peer.write(&[byte]);
    }
    assert_eq!(peer.read_frame()[..3], [1, 0, 33]);
    node.up();
}

#[test]
fn frames_in_the_segment_of_the_hello_are_delivered() {
    let mut node = Node::listening();
    let mut peer = PlainPeer::connect(node.port());
    let frames: Vec<_> = (0..40).map(|number| numbered(number, 100)).collect();
    peer.write(&[prefixed(&hello(STANDARD, 0, 3)), run_of(&frames)].concat());
    let (target, ..) = node.up();
    node.expect_frames(target, &frames);
}

#[test]
fn frames_in_the_segment_of_the_ack_are_delivered() {
    let node = Node::dial_only();
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let mut peer = listener.accept();
    peer.read_frame();
    let frames: Vec<_> = (0..40).map(|number| numbered(number, 100)).collect();
    peer.write(&[prefixed(&ack(STANDARD, 3)), run_of(&frames)].concat());
    node.expect_frames(target, &frames);
}

/// A handshake frame with other bytes after its fields: inside its payload, or after that.
fn with_trailer(modes: u16, fields: &[u8], extra: usize, inside: bool) -> Vec<u8> {
    let extra = vec![0xee; extra];
    if inside {
        return carrier(modes, 3, &[fields, &extra].concat());
    }
    [carrier(modes, 3, fields), extra].concat()
}

#[test]
fn bytes_after_the_fields_of_a_hello_are_ignored() {
    let mut node = named(true);
    for (wire, peer_type) in accepted_types() {
        for (extra, inside) in [(20, true), (20, false), (380, true), (380, false)] {
            let mut peer = PlainPeer::connect(node.port());
            let hello = with_trailer(32, &hello_payload(wire, 9000, 3), extra, inside);
            peer.write(&run_of([&hello]));
            let answer = hex(&peer.read_frame());
            assert_eq!(answer, hex(&ack(wire, OWN_ID[0])), "{extra} bytes, inside: {inside}");
            assert_eq!(node.up().2, peer_type);
        }
    }
}

#[test]
fn bytes_after_the_fields_of_an_ack_are_ignored() {
    let mut node = Node::dial_only();
    for (suffix, wire, peer_type) in dialed_types() {
        for (extra, inside) in [(20, true), (20, false), (380, true), (380, false)] {
            let listener = PlainListener::bind();
            let target = node.add(&listener.addr(suffix));
            let mut peer = listener.accept();
            peer.read_frame();
            peer.send(&with_trailer(33, &ack_payload(wire, 3), extra, inside));
            assert_eq!(node.up(), (target, Id::from_bytes([3; 32]), peer_type));
        }
    }
}

/// A Ratman node keys its routes by the claimed id; here two claimants are two peers.
#[test]
fn two_peers_that_claim_one_id_are_two_peers() {
    let mut node = Node::listening();
    let (mut first, one) = node.accept_plain(STANDARD, 3);
    let (mut second, two) = node.accept_plain(STANDARD, 3);
    assert_ne!(one, two);
    first.send(&numbered(1, 8));
    node.expect_frames(one, [&numbered(1, 8)]);
    second.send(&numbered(2, 8));
    node.expect_frames(two, [&numbered(2, 8)]);
    node.try_send(one, &numbered(3, 8));
    node.try_send(two, &numbered(4, 8));
    assert_eq!(first.read_frame(), numbered(3, 8));
    assert_eq!(second.read_frame(), numbered(4, 8));
}
