//! Streams that should begin with an Ack: what a dialed listener may answer instead.

use std::time::{Duration, Instant};

use netmod_inet::{InetEndpoint, Target};

use super::garbage::{Due, Random, handshakes};
use crate::scripted::{PlainListener, PlainPeer, STANDARD, ack, hex, prefixed};
use crate::subject::{Node, quick};

/// An endpoint that dials this listener, and its next stream after the Hello was read.
fn dialed(node: &Node) -> (PlainListener, PlainPeer, Target) {
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let peer = next_dial(&listener);
    (listener, peer, target)
}

fn next_dial(listener: &PlainListener) -> PlainPeer {
    let mut peer = listener.accept();
    assert_eq!(peer.read_frame()[..3], [1, 0, 32]);
    peer
}

/// The same listener answers well in the end, and that is a link.
fn recovers(node: &mut Node, listener: &PlainListener, target: Target) {
    let _peer = listener.answer(STANDARD, 7);
    assert_eq!(node.up().0, target);
    node.remove(target);
}

#[test]
fn an_invalid_ack_is_a_failed_attempt_with_its_reason() {
    let mut node = Node::listening();
    for case in handshakes(Due::Ack) {
        let (listener, mut peer, target) = dialed(&node);
        peer.write(&case.bytes);
        let reason = node.attempt(target).to_string();
        assert!(reason.contains(case.reason), "{}: {reason}", case.name);
        peer.expect_end();
        recovers(&mut node, &listener, target);
        node.serves(case.name);
    }
}

#[test]
fn random_bytes_for_an_answer() {
    let mut node = Node::listening();
    for seed in 0..100 {
        let (_listener, mut peer, target) = dialed(&node);
        let bytes = Random(seed).garbage(&ack(STANDARD, 6));
        peer.write(&bytes);
        // So that what is only too short, or an Ack in spite of its error, ends as well.
        if peer.try_half_close() {
            let (more, _) = peer.read_to_end();
            assert!(more.is_empty(), "seed {seed}: {} got {}", hex(&bytes), hex(&more));
        }
        node.remove(target);
        node.serves(&format!("seed {seed}: {}", hex(&bytes)));
    }
}

#[test]
fn a_listener_that_closes_at_any_byte() {
    let mut node = Node::listening();
    let bytes = prefixed(&ack(STANDARD, 6));
    let (listener, mut peer, target) = dialed(&node);
    for at in 0..bytes.len() {
        peer.write(&bytes[..at]);
        peer.half_close();
        let reason = node.attempt(target).to_string();
        assert!(reason.contains("closed"), "{at} bytes: {reason}");
        peer = next_dial(&listener);
        node.serves(&format!("a close after {at} bytes"));
    }
    peer.write(&bytes);
    assert_eq!(node.up().0, target);
}

#[test]
fn a_listener_that_never_answers() {
    let deadline = Duration::from_millis(500);
    for trickle in [false, true] {
        let mut limits = quick();
        limits.handshake_timeout = deadline;
        let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
        let (listener, mut peer, target) = dialed(&node);
        let start = Instant::now();
        if trickle {
            let bytes = prefixed(&ack(STANDARD, 6));
            let mut bytes = bytes.iter();
            let pause = deadline / 10;
            let mut write =
                |byte: &u8| peer.try_write(&[*byte]).is_ok() && peer.poll(pause).is_none();
            while write(bytes.next().expect("the deadline was stretched to the end")) {}
        }
        let reason = node.attempt(target).to_string();
        assert!(reason.contains("time"), "{reason}");
        assert!(start.elapsed() >= deadline / 2, "after {:?}", start.elapsed());
        recovers(&mut node, &listener, target);
        node.serves("a listener that never answers");
    }
}
