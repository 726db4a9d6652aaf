//! The memory that all queues share, and floods, which take a part of it in each.

use netmod_inet::{Event, SendErrorKind};

use super::{node_with, nowhere, payload};
use crate::scripted::{STANDARD, carrier, numbered};
use crate::subject::{Node, parsed, within};

#[test]
fn a_flood_goes_to_those_that_are_up_and_reports_the_others() {
    let mut node = Node::listening();
    let down = node.add(&nowhere());
    let (mut a, to_a) = node.accept_plain(STANDARD, 1);
    let (mut b, to_b) = node.accept_plain(STANDARD, 2);
    let (_c, to_c) = node.accept_plain(crate::scripted::LIMITED_SENDING, 3);
    let frame = carrier(4, 9, b"to all");
    let report = node.endpoint.send_all(parsed(&frame)).expect("a flood");
    assert_eq!(report.sent, [to_a, to_b]);
    let refused = [(down, SendErrorKind::LinkDown), (to_c, SendErrorKind::WrongDirection)];
    assert_eq!(report.refused, refused);
    assert_eq!((a.read_frame(), b.read_frame()), (frame.clone(), frame.clone()));
    let report = node.endpoint.send_all_except(parsed(&frame), &[to_a]).expect("a flood");
    assert_eq!(report.sent, [to_b]);
    assert_eq!(b.read_frame(), frame);
}

#[test]
fn the_budget_of_all_counts_a_flood_once_and_refuses_what_is_over() {
    let mut node = node_with(|limits| limits.total_queue_bytes = 200 << 10);
    let mut peers: Vec<_> = (0..10).map(|id| node.accept_plain(STANDARD, id)).collect();
    // Ten copies of this would be twice the budget.
    let frame = carrier(8, 9, &payload(40_000));
    let report = node.endpoint.send_all(parsed(&frame)).expect("a flood");
    assert_eq!(report.sent.len(), 10);
    peers.iter_mut().for_each(|(peer, _)| assert_eq!(peer.read_frame(), frame));

    // Down peers hold what waits for them; the one that is down the longest has to give.
    let first = node.add(&nowhere());
    node.attempt(first);
    let second = node.add(&nowhere());
    node.attempt(second);
    node.until("empty queues", |endpoint| endpoint.peers().iter().all(|p| p.queued_frames == 0));
    for _ in 0..4 {
        node.try_send(first, &frame);
    }
    node.try_send(second, &frame);
    node.try_send(second, &frame);
    let shed = node.wait("unconfirmed event", |event| match event {
        Event::Unconfirmed { target, frames } => Some((*target, *frames)),
        _ => None,
    });
    assert!(shed.0 == first && shed.1 >= 1, "{shed:?}");
    assert_eq!(node.endpoint.take_unconfirmed(first), vec![parsed(&frame); shed.1]);
}

#[test]
fn eviction_continues_with_the_next_peer_until_there_is_space() {
    let mut node = node_with(|limits| limits.total_queue_bytes = 200 << 10);
    let [first, second, third] = [0; 3].map(|_| {
        let target = node.add(&nowhere());
        node.attempt(target);
        target
    });
    let (small, large) = (carrier(8, 9, &payload(10_000)), carrier(8, 9, &payload(65_000)));
    node.try_send(first, &small);
    node.try_send(second, &small);
    // Two of these have room beside the others, and a third one in place of both.
    (0..3).for_each(|_| node.try_send(third, &large));
    for target in [first, second] {
        assert_eq!(node.endpoint.take_unconfirmed(target), [parsed(&small)]);
    }
    assert_eq!(node.info(third).queued_frames, 3);
}

#[test]
fn a_flood_evicts_frames_of_the_peers_that_are_down_the_longest() {
    let mut node = node_with(|limits| limits.total_queue_bytes = 200 << 10);
    let mut peers: Vec<_> = (0..10).map(|id| node.accept_plain(STANDARD, id)).collect();
    let down = node.add(&nowhere());
    node.attempt(down);
    let frame = carrier(8, 9, b"");
    // More than all queues together may hold.
    (0..2000).for_each(|_| node.try_send(down, &frame));
    let report = node.endpoint.send_all(parsed(&frame)).expect("a flood");
    assert_eq!((report.sent.len(), report.refused), (10, vec![(down, SendErrorKind::LinkDown)]));
    peers.iter_mut().for_each(|(peer, _)| assert_eq!(peer.read_frame(), frame));
}

#[test]
fn a_frame_that_can_never_fit_is_too_large() {
    let node = node_with(|limits| limits.total_queue_bytes = 10_000);
    let target = node.add(&nowhere());
    let frame = parsed(&numbered(1, 20_000));
    let refused = within("refusal", node.endpoint.send(target, frame)).expect_err("no room ever");
    assert_eq!(refused.reason(), SendErrorKind::TooLarge);
    within("until_room", node.endpoint.until_room(target, 20_000)).expect("waiting is no help");
}
