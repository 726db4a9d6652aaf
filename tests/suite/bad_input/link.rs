//! Bad bytes on a link that stood: it ends as out of step, and a dialed peer comes back.

use netmod_inet::Target;

use super::garbage::{Case, Random, unframed};
use crate::scripted::{PlainListener, PlainPeer, STANDARD, carrier, hex, numbered, run_of};
use crate::subject::Node;

/// Good frames first and bad bytes right behind: the good ones arrive, then the link ends.
fn spoil(node: &mut Node, peer: &mut PlainPeer, target: Target, case: &Case) -> bool {
    let good = [numbered(1, 9), numbered(2, 9)];
    peer.write(&[run_of(&good), case.bytes.clone()].concat());
    node.expect_frames(target, &good);
    let (reason, redials) = node.down(target);
    let reason = reason.to_string();
    assert!(reason.contains("out of step"), "{}: {reason}", case.name);
    assert!(reason.contains(case.reason), "{}: {reason}", case.name);
    peer.expect_end();
    redials
}

#[test]
fn an_accepted_peer_out_of_step() {
    let mut node = Node::listening();
    for case in unframed(8) {
        let (mut peer, target) = node.accept_plain(STANDARD, 6);
        assert!(!spoil(&mut node, &mut peer, target, &case), "{}", case.name);
        node.removed(target);
        node.serves(case.name);
    }
}

#[test]
fn a_dialed_peer_out_of_step_comes_back() {
    let mut node = Node::listening();
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    for case in unframed(8) {
        let mut peer = listener.answer(STANDARD, 7);
        assert_eq!(node.up().0, target);
        assert!(spoil(&mut node, &mut peer, target, &case), "{}", case.name);
        node.serves(case.name);
    }
    let mut peer = listener.answer(STANDARD, 7);
    assert_eq!(node.up().0, target);
    peer.send(&numbered(3, 9));
    node.expect_frames(target, [&numbered(3, 9)]);
}

#[test]
fn random_bytes_on_a_link() {
    let mut node = Node::listening();
    for seed in 0..100 {
        let (mut peer, target) = node.accept_plain(STANDARD, 6);
        // Of modes that the router never gets, so that even a valid result delivers nothing.
        let bytes = Random(seed).garbage(&carrier(40, 6, &[6; 50]));
        peer.write(&bytes);
        if peer.try_half_close() {
            let (answer, _) = peer.read_to_end();
            assert!(answer.is_empty(), "seed {seed}: {} got {}", hex(&bytes), hex(&answer));
        }
        node.removed(target);
        while node.endpoint.try_next().expect("a running endpoint").is_some() {}
        node.serves(&format!("seed {seed}: {}", hex(&bytes)));
    }
}
