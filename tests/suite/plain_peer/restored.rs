//! What a dialed peer's queue does while its link is restored.

use std::time::Duration;

use netmod_inet::{Event, InetEndpoint, PeerState, Target};

use super::links::{FILL_SIZE, fill, frames_in};
use crate::scripted::{PlainListener, PlainPeer, STANDARD, ack, number_of, numbered};
use crate::subject::{Node, parsed, quick, within};

fn dialed() -> (Node, PlainListener, PlainPeer, Target) {
    let mut node = Node::dial_only();
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let peer = listener.answer(STANDARD, 4);
    assert_eq!(node.up().0, target);
    (node, listener, peer, target)
}

#[test]
fn frames_queued_before_the_first_link_go_out_first() {
    let mut node = Node::dial_only();
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let mut peer = listener.accept();
    assert_eq!(node.info(target).state, PeerState::Connecting);
    for number in 0..50 {
        node.try_send(target, &numbered(number, 9));
    }
    assert_eq!(node.info(target).queued_frames, 50);
    peer.read_frame();
    // Before its Ack a listener is sent nothing more; the pause is what an early write would need.
    assert_eq!(peer.poll(Duration::from_millis(20)), None);
    peer.send(&ack(STANDARD, 4));
    node.up();
    node.try_send(target, &numbered(50, 9));
    for number in 0..=50 {
        assert_eq!(number_of(&peer.read_frame()), number);
    }
}

#[test]
fn frames_queued_while_down_go_out_first_and_in_order() {
    let (mut node, listener, peer, target) = dialed();
    drop(peer);
    node.down(target);
    // The redial is held at its handshake, so that the peer is surely down meanwhile.
    let mut peer = listener.accept();
    for number in 0..50 {
        let sent = node.endpoint.send(target, parsed(&numbered(number, 9)));
        within("a place in the queue", sent).expect("a place in the queue");
    }
    peer.read_frame();
    peer.send(&ack(STANDARD, 4));
    assert_eq!(node.up().0, target);
    node.try_send(target, &numbered(50, 9));
    for number in 0..=50 {
        assert_eq!(number_of(&peer.read_frame()), number);
    }
}

/// The system takes a part of a frame only where a buffer of its own ends inside.
#[test]
fn a_frame_cut_by_the_end_of_its_link_is_sent_whole_on_the_next() {
    assert!((0..20).any(|_| is_cut_and_sent_whole()), "no frame was cut, so this shows nothing");
}

/// Whether a frame was cut by the end of a link. All must arrive in any case.
fn is_cut_and_sent_whole() -> bool {
    let (mut node, listener, mut old, target) = dialed();
    let accepted = fill(&node, target);
    // Half closed: what the old link took can still be read.
    old.half_close();
    node.down(target);
    let (written, _) = old.read_to_end();
    let (before, cut) = frames_in(&written);

    let mut new = listener.answer(STANDARD, 4);
    node.up();
    let rest = (before.len()..accepted).map(|_| new.read_frame());
    let all: Vec<_> = before.iter().cloned().chain(rest).collect();
    for (number, body) in (0..).zip(&all) {
        assert!(*body == numbered(number, FILL_SIZE), "frame {number} is missing or torn");
    }
    // And the stream is in step behind them.
    node.try_send(target, &numbered(77, 9));
    assert_eq!(new.read_frame(), numbered(77, 9));
    !cut.is_empty()
}

/// Refused, reset, silent end and a refused handshake: each is one attempt, then comes the next.
#[test]
fn failed_dials_are_reported_and_tried_again() {
    let (mut node, listener, peer, target) = dialed();
    drop(peer);
    node.down(target);
    let mut silent = listener.accept();
    silent.read_frame();
    drop(silent);
    let closed = node.attempt(target).to_string();
    assert!(closed.contains("closed"), "{closed}");
    listener.accept().reset();
    let reset = node.attempt(target).to_string();
    assert!(reset.contains("reset"), "{reset}");
    let port = listener.port();
    drop(listener);
    let refused = node.wait("refused dial", |event| match event {
        Event::Attempt { target: of, addr, reason, .. } if *of == target => {
            let reason = reason.to_string();
            reason.contains("refused").then(|| (addr.clone(), reason))
        }
        _ => None,
    });
    assert!(refused.0.contains(&port.to_string()), "{refused:?}");
    assert!(!node.info(target).attempts.is_empty());
    assert!(node.info(target).last_error.is_some());
}

#[test]
fn a_kick_dials_at_once() {
    let mut limits = quick();
    limits.redial_first = Duration::from_secs(3600);
    limits.redial_cap = Duration::from_secs(3600);
    let mut node = Node::built(InetEndpoint::builder().limits(limits));
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    drop(listener.accept());
    node.attempt(target);
    node.endpoint.kick(Some(target)).expect("a known target");
    let peer = listener.answer(STANDARD, 4);
    assert_eq!(node.up().0, target);
    drop(peer);
    node.down(target);
    node.endpoint.kick(None).expect("all there are");
    let _peer = listener.answer(STANDARD, 4);
    assert_eq!(node.up().0, target);
}

#[test]
fn a_removed_peer_is_not_dialed_again() {
    let (mut node, listener, mut peer, target) = dialed();
    node.remove(target);
    let (reason, redials) = node.down(target);
    assert!(reason.to_string().contains("removed") && !redials, "{reason}");
    node.removed(target);
    peer.expect_end();
    assert!(node.endpoint.peers().is_empty());
    assert!(listener.stays_alone(Duration::from_millis(300)), "dialed again");
}

#[test]
fn a_removed_peer_hands_its_queue_back() {
    let mut node = Node::dial_only();
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let _never_answers = listener.accept();
    let frames: Vec<_> = (0..3).map(|number| numbered(number, 9)).collect();
    for body in &frames {
        node.try_send(target, body);
    }
    node.remove(target);
    let count = node.wait("unconfirmed event", |event| match event {
        Event::Unconfirmed { target: of, frames } if *of == target => Some(*frames),
        _ => None,
    });
    assert_eq!(count, 3);
    let back = node.endpoint.take_unconfirmed(target);
    assert!(back.iter().map(|frame| frame.as_bytes()).eq(&frames), "{back:?}");
}

#[test]
fn frames_that_follow_the_router_id_come_back_when_another_router_has_the_address() {
    for follow in [false, true] {
        let builder = InetEndpoint::builder().limits(quick()).frames_follow_router_id(follow);
        let mut node = Node::built(builder);
        let listener = PlainListener::bind();
        let target = node.add(&listener.addr(""));
        drop(listener.answer(STANDARD, 4));
        node.up();
        node.down(target);
        let frames: Vec<_> = (0..3).map(|number| numbered(number, 9)).collect();
        frames.iter().for_each(|frame| node.try_send(target, frame));
        let mut other = listener.answer(STANDARD, 6);
        node.up();
        let back: Vec<_> = frames.iter().map(|frame| parsed(frame)).collect();
        match follow {
            true => assert_eq!(node.endpoint.take_unconfirmed(target), back),
            false => frames.iter().for_each(|frame| assert_eq!(&other.read_frame(), frame)),
        }
        node.try_send(target, &numbered(7, 9));
        assert_eq!(other.read_frame(), numbered(7, 9));
    }
}
