//! Limited links: router frames flow in one direction only, and inbound peers are not dialed back.

use std::time::Duration;

use netmod_inet::{SendErrorKind, Target};

use crate::scripted::{
    CROSS, LIMITED_RECEIVING, LIMITED_SENDING, PlainListener, PlainPeer, carrier, hello, numbered,
    run_of,
};
use crate::subject::{Node, parsed, within};

/// Links on which the endpoint only sends: one that it dialed, one that it accepted.
fn sending() -> (Node, [(PlainPeer, Target); 2]) {
    limited("?limited=send", LIMITED_SENDING, LIMITED_RECEIVING)
}

/// Links on which the endpoint only receives.
fn receiving() -> (Node, [(PlainPeer, Target); 2]) {
    limited("?limited=recv", LIMITED_RECEIVING, LIMITED_SENDING)
}

fn limited(suffix: &str, dialed: &[u8], accepted: &[u8]) -> (Node, [(PlainPeer, Target); 2]) {
    let mut node = Node::listening();
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(suffix));
    let dialed = listener.answer(dialed, 4);
    assert_eq!(node.up().0, target);
    let accepted = node.accept_plain(accepted, 3);
    (node, [(dialed, target), accepted])
}

#[test]
fn a_sending_link_carries_frames_out() {
    let (node, mut links) = sending();
    for (peer, target) in &mut links {
        node.try_send(*target, &numbered(1, 9));
        assert_eq!(peer.read_frame(), numbered(1, 9));
        let sent = node.endpoint.send(*target, parsed(&numbered(2, 9)));
        within("room", sent).expect("this is the right way");
        assert_eq!(peer.read_frame(), numbered(2, 9));
    }
}

#[test]
fn a_frame_into_a_sending_link_ends_it() {
    let (mut node, links) = sending();
    for (mut peer, target) in links {
        peer.send(&numbered(1, 9));
        let reason = node.down(target).0.to_string();
        assert!(reason.contains("limited") || reason.contains("direction"), "{reason}");
        peer.expect_end();
    }
    assert!(node.endpoint.try_next().expect("a running endpoint").is_none(), "it was delivered");
}

/// Only frames of the router have a direction.
#[test]
fn netmod_frames_into_a_sending_link_are_ignored_and_counted() {
    let (node, mut links) = sending();
    for (peer, target) in &mut links {
        peer.send(&carrier(40, 3, b"x"));
        node.until("ignored frame", |_| node.info(*target).frames_ignored == 1);
        node.try_send(*target, &numbered(1, 9));
        assert_eq!(peer.read_frame(), numbered(1, 9));
    }
}

#[test]
fn a_receiving_link_carries_frames_in() {
    let (node, mut links) = receiving();
    let frames = [numbered(1, 9), numbered(2, 900)];
    for (peer, target) in &mut links {
        peer.write(&run_of(&frames));
        node.expect_frames(*target, &frames);
    }
}

#[test]
fn a_receiving_link_refuses_to_send_with_its_reason() {
    let (node, mut links) = receiving();
    let body = numbered(1, 9);
    for (_, target) in &links {
        let refused = node.endpoint.try_send(*target, parsed(&body)).expect_err("wrong way");
        assert_eq!(refused.reason(), SendErrorKind::WrongDirection);
        assert_eq!(refused.into_frame().as_bytes(), body);
        let sent = node.endpoint.send(*target, parsed(&body));
        let refused = within("refusal", sent).expect_err("wrong way");
        assert_eq!(refused.reason(), SendErrorKind::WrongDirection);
        assert_eq!(refused.frame().as_bytes(), body);
    }
    let report = node.endpoint.send_all(parsed(&body)).expect("a flood");
    assert!(report.sent.is_empty());
    let mut refused = report.refused;
    refused.sort_unstable_by_key(|(target, _)| *target);
    let mut expected = links.each_ref().map(|(_, target)| (*target, SendErrorKind::WrongDirection));
    expected.sort_unstable_by_key(|(target, _)| *target);
    assert_eq!(refused, expected);
    // Closing ends the streams: nothing at all was written to them.
    within("shutdown", node.endpoint.shutdown());
    for (peer, _) in &mut links {
        peer.expect_end();
    }
}

/// A Hello that is Cross and names a listening port invites to be dialed; only an operator's own
/// list may do that.
#[test]
fn an_inbound_peer_is_not_dialed_back() {
    let mut node = Node::listening();
    let listener = PlainListener::bind();
    let mut peer = PlainPeer::connect(node.port());
    peer.send(&hello(CROSS, listener.port(), 3));
    peer.read_frame();
    let (target, ..) = node.up();
    drop(peer);
    let (_, redials) = node.down(target);
    assert!(!redials, "an inbound peer is redialed");
    node.removed(target);
    assert!(node.endpoint.peers().is_empty());
    // Redials of this endpoint come within 20 ms.
    assert!(listener.stays_alone(Duration::from_millis(300)), "an inbound peer was dialed back");
}
