//! Frames that a router forwards, or takes back to send them by another way.

use std::time::Duration;

use netmod_inet::{Event, SendErrorKind};

use super::{node_with, nowhere};
use crate::scripted::{PlainListener, STANDARD, numbered};
use crate::subject::{Node, parsed, within};

#[test]
fn forwards_never_wait_and_may_exceed_the_queue_limits() {
    let mut node = node_with(|limits| limits.queue_frames = 2);
    let (mut from, from_target) = node.accept_plain(STANDARD, 1);
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    drop(listener.answer(STANDARD, 2));
    node.up();
    node.wait("end of the link", |event| matches!(event, Event::Down { .. }).then_some(()));
    let frames: Vec<_> = (0..10).map(|number| numbered(number, 40)).collect();
    for frame in &frames {
        from.send(frame);
        let received = within("frame", node.endpoint.recv()).expect("open");
        assert_eq!((received.target(), received.frame().as_bytes()), (from_target, &frame[..]));
        node.endpoint.forward(target, received).expect("it is not bound by the queue");
    }
    // Without a link they count like those that the router sends itself.
    let own = node.endpoint.try_send(target, parsed(&frames[0])).expect_err("no room");
    assert_eq!(own.reason(), SendErrorKind::Full);
    let mut peer = listener.answer(STANDARD, 2);
    frames.iter().for_each(|frame| assert_eq!(&peer.read_frame(), frame));
}

/// Regression: what waited for a peer that was gone kept its part of the window, and the neighbour
/// that had sent it could send no more, to whomever.
#[test]
fn a_peer_that_goes_down_does_not_hold_up_the_neighbour_that_feeds_it() {
    let mut node = node_with(|limits| limits.inbound_bytes = 256 << 10);
    let (mut from, _) = node.accept_plain(STANDARD, 1);
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    // It reads nothing.
    let stalled = listener.answer(STANDARD, 2);
    node.up();
    let writer = std::thread::spawn(move || {
        (0..2_000).for_each(|number| from.send(&numbered(number, 8_000)));
        from
    });
    let forward = |node: &Node| match node.endpoint.try_recv().expect("open") {
        Some(received) => node.endpoint.forward(target, received).map_err(|error| error.reason()),
        None => Err(SendErrorKind::Full),
    };
    node.until("window that is used up", |_| {
        while forward(&node).is_ok() {}
        node.info(target).queued_bytes > 16 << 10
    });
    drop(stalled);
    node.wait("end of the link", |event| matches!(event, Event::Down { .. }).then_some(()));
    let mut forwarded = 0;
    node.until("frames behind those that wait", |_| {
        while forward(&node).is_ok() {
            forwarded += 1;
        }
        forwarded > 100
    });
    drop(node);
    drop(writer.join());
}

#[test]
fn forwards_to_a_peer_that_is_down_for_long_come_back() {
    let mut node = node_with(|limits| limits.send_timeout = Duration::ZERO);
    let (mut from, _) = node.accept_plain(STANDARD, 1);
    let target = node.add(&nowhere());
    let frame = numbered(1, 40);
    let mut forward = |target| {
        from.send(&frame);
        let received = within("frame", node.endpoint.recv()).expect("open");
        node.endpoint.forward(target, received).map_err(|error| error.reason())
    };
    assert_eq!(forward(target), Err(SendErrorKind::LinkDown));
    assert_eq!(forward((u16::from(target) + 1).into()), Err(SendErrorKind::UnknownTarget));
}

#[test]
fn queued_frames_of_a_peer_without_a_link_can_be_taken_back() {
    let mut node = Node::listening();
    let (_peer, up) = node.accept_plain(STANDARD, 1);
    assert_eq!(node.endpoint.take_queued(up), None, "it has a link");
    let target = node.add(&nowhere());
    node.attempt(target);
    let frames: Vec<_> = (0..3).map(|number| numbered(number, 40)).collect();
    frames.iter().for_each(|frame| node.try_send(target, frame));
    let expected: Vec<_> = frames.iter().map(|frame| parsed(frame)).collect();
    assert_eq!(node.endpoint.take_queued(target), Some(expected));
    assert_eq!(node.endpoint.take_queued(target), Some(Vec::new()));
    node.attempt(target);
    node.try_send(target, &frames[0]);
    assert_eq!(node.info(target).queued_frames, 1, "it is dialed on");
}
