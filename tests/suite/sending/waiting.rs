//! `send` and its relatives while a queue is full.

use std::time::{Duration, Instant};

use futures_lite::future::{self, poll_once};
use netmod_inet::{Event, InetEndpoint, SendErrorKind};

use super::{node_with, nowhere, payload};
use crate::scripted::{PlainListener, STANDARD, carrier, numbered};
use crate::subject::{Node, TIMEOUT, parsed, within};

#[test]
fn a_send_waits_for_room_while_the_link_is_being_restored() {
    let mut node = node_with(|limits| {
        limits.queue_frames = 3;
        limits.send_timeout = TIMEOUT;
    });
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    drop(listener.answer(STANDARD, 5));
    node.up();
    node.wait("end of the link", |event| matches!(event, Event::Down { .. }).then_some(()));
    let frames: Vec<_> = (0..5).map(|number| numbered(number, 40)).collect();
    for frame in &frames[..3] {
        within("send", node.endpoint.send(target, parsed(frame))).expect("room");
    }
    let mut fourth = std::pin::pin!(node.endpoint.send(target, parsed(&frames[3])));
    assert!(within("poll", poll_once(&mut fourth)).is_none(), "it waits");
    let refused = node.endpoint.try_send(target, parsed(&frames[4])).expect_err("no room");
    assert_eq!(refused.reason(), SendErrorKind::Full);
    let mut peer = listener.answer(STANDARD, 5);
    within("room", fourth).expect("the link was restored");
    within("send", node.endpoint.send(target, parsed(&frames[4]))).expect("room");
    frames.iter().for_each(|frame| assert_eq!(&peer.read_frame(), frame));
}

#[test]
fn a_send_to_a_peer_that_stays_down_gives_the_frame_back_in_time() {
    let node = node_with(|limits| limits.queue_frames = 3);
    let target = node.add(&nowhere());
    let frame = parsed(&carrier(8, 1, b"x"));
    for _ in 0..3 {
        within("send", node.endpoint.send(target, frame.clone())).expect("room");
    }
    let patience = Duration::from_millis(20);
    let started = Instant::now();
    let refused = within("refusal", node.endpoint.send_within(target, frame.clone(), patience));
    assert!(started.elapsed() >= patience);
    let error = refused.expect_err("no room");
    assert_eq!((error.reason(), error.into_frame()), (SendErrorKind::TimedOut, frame));
}

#[test]
fn a_send_waits_for_the_budget_that_all_peers_share() {
    let mut node = node_with(|limits| {
        limits.total_queue_bytes = 200 << 10;
        limits.send_timeout = TIMEOUT;
    });
    let (mut full, to_full) = node.accept_plain(STANDARD, 1);
    let (mut other, to_other) = node.accept_plain(STANDARD, 2);
    let frame = parsed(&carrier(8, 1, &payload(32_000)));
    let large = parsed(&carrier(8, 1, &payload(65_000)));
    let mut taken = 0;
    // The kernel takes some of it, for a while.
    let waiting = loop {
        while node.endpoint.try_send(to_full, frame.clone()).is_ok() {
            taken += 1;
        }
        let mut waiting = Box::pin(node.endpoint.send(to_other, large.clone()));
        match within("poll", poll_once(&mut waiting)) {
            None => break waiting,
            Some(sent) => sent.expect("there was room"),
        }
        assert_eq!(other.read_frame(), large.as_bytes());
    };
    let reader = std::thread::spawn(move || {
        (0..taken).for_each(|_| assert_eq!(full.read_frame(), carrier(8, 1, &payload(32_000))));
    });
    within("room in the budget", waiting).expect("a frame was written meanwhile");
    assert_eq!(other.read_frame(), large.as_bytes());
    reader.join().expect("every frame whole");
}

#[test]
fn until_room_waits_for_as_much_as_is_asked_for() {
    let mut node = node_with(|limits| limits.queue_bytes = 100 << 10);
    let (mut peer, target) = node.accept_plain(STANDARD, 1);
    let frame = parsed(&carrier(8, 1, &payload(32_000)));
    within("room", node.endpoint.until_room(target, 65_000)).expect("a peer");
    let mut taken = 0;
    // The kernel takes some of it, for a while.
    let waiting = loop {
        while node.endpoint.try_send(target, frame.clone()).is_ok() {
            taken += 1;
        }
        let mut waiting = Box::pin(node.endpoint.until_room(target, 65_000));
        if within("poll", poll_once(&mut waiting)).is_none() {
            break waiting;
        }
    };
    let reader = std::thread::spawn(move || {
        (0..taken).for_each(|_| assert_eq!(peer.read_frame(), carrier(8, 1, &payload(32_000))));
        peer
    });
    within("room", waiting).expect("a peer");
    within("room for ever too large", node.endpoint.until_room(target, 1 << 20)).expect("a peer");
    assert!(
        within("refusal", node.endpoint.until_room((u16::from(target) + 1).into(), 1)).is_err()
    );
    drop(reader.join().expect("every frame whole"));
}

#[test]
fn a_peer_that_does_not_read_makes_send_wait_and_then_refuse() {
    let mut node = node_with(|limits| limits.queue_bytes = 256 << 10);
    let (peer, target) = node.accept_plain(STANDARD, 5);
    let frame = parsed(&carrier(8, 1, &payload(32_000)));
    let mut taken = 0;
    let refused = loop {
        match within("send", node.endpoint.send(target, frame.clone())) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((refused.reason(), refused.into_frame()), (SendErrorKind::TimedOut, frame.clone()));
    let error = node.endpoint.try_send(target, frame.clone()).expect_err("no room");
    assert_eq!(error.reason(), SendErrorKind::Full);
    let queued = node.info(target).queued_bytes;
    assert!(queued <= 256 << 10, "{queued} bytes are queued");

    // One that waits goes on as soon as the peer reads; nothing was lost meanwhile.
    let mut waiting = std::pin::pin!(node.endpoint.send(target, frame.clone()));
    assert!(within("poll", poll_once(&mut waiting)).is_none());
    let reader = std::thread::spawn(move || {
        let mut peer = peer;
        (0..taken + 1).for_each(|_| assert_eq!(peer.read_frame(), carrier(8, 1, &payload(32_000))));
    });
    while let Err(error) = within("room or refusal", waiting.as_mut()) {
        // The reader was not let run for so long.
        assert_eq!(error.reason(), SendErrorKind::TimedOut);
        waiting.set(node.endpoint.send(target, error.into_frame()));
    }
    reader.join().expect("every frame whole");
}

#[test]
fn a_wait_for_space_outlasts_the_link() {
    let mut node = node_with(|limits| {
        limits.queue_bytes = 100 << 10;
        limits.send_timeout = TIMEOUT;
    });
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let peer = listener.answer(STANDARD, 5);
    node.up();
    let frame = parsed(&carrier(8, 1, &payload(32_000)));
    let mut waiting = Box::pin(node.endpoint.send(target, frame.clone()));
    while within("poll", poll_once(&mut waiting)).is_some() {
        waiting = Box::pin(node.endpoint.send(target, frame.clone()));
    }
    peer.reset();
    let mut peer = listener.answer(STANDARD, 5);
    let reader = std::thread::spawn(move || while peer.read_frame() != carrier(8, 1, b"last") {});
    within("room on the next link", waiting).expect("a place in the queue");
    within("send", node.endpoint.send(target, parsed(&carrier(8, 1, b"last")))).expect("room");
    reader.join().expect("a reader");
}

#[test]
fn a_cancelled_send_queued_the_frame_or_did_not() {
    let node = node_with(|limits| limits.queue_frames = 2);
    let target = node.add(&nowhere());
    let frame = parsed(&carrier(8, 1, b"x"));
    let ready = within("poll", poll_once(node.endpoint.send(target, frame.clone())));
    assert_eq!(ready.map(|sent| sent.is_ok()), Some(true));
    assert_eq!(node.info(target).queued_frames, 1);
    drop(node.endpoint.send(target, frame));
    assert_eq!(node.info(target).queued_frames, 1);
}

#[test]
fn the_router_that_is_slow_holds_back_the_sender_and_loses_nothing() {
    let mut node = node_with(|limits| limits.inbound_bytes = 256 << 10);
    let (mut peer, target) = node.accept_plain(STANDARD, 5);
    let frames = 2_000;
    let writer = std::thread::spawn(move || {
        (0..frames).for_each(|number| peer.send(&numbered(number, 8_000)));
        peer
    });
    // 16 MB are under way and nobody reads: the kernel's buffers and the bound hold the rest.
    node.until("inbound frames at the bound", |endpoint| endpoint.peers()[0].frames_received >= 1);
    let before = node.info(target).bytes_received;
    assert!(before <= 256 << 10, "{before} bytes were read ahead");
    node.expect_frames(target, &(0..frames).map(|n| numbered(n, 8_000)).collect::<Vec<_>>());
    drop(writer.join().expect("a writer"));
}

#[test]
fn two_routers_that_only_try_do_not_hold_each_other_up() {
    let (a, mut b) = (Node::listening(), Node::dial_only());
    let to_a = b.add(&format!("127.0.0.1:{}", a.port()));
    b.up();
    let to_b = within("route", async {
        loop {
            match a.endpoint.routes().get_all_valid().await.first() {
                Some(peer) => break peer.target(),
                None => future::yield_now().await,
            }
        }
    });
    let frames = 3_000;
    let router = |endpoint: InetEndpoint, target| async move {
        let (mut sent, mut got) = (0, 0);
        while sent < frames || got < frames {
            if sent < frames {
                match endpoint.try_send(target, parsed(&numbered(sent, 8_000))) {
                    Ok(()) => sent += 1,
                    Err(error) => assert_eq!(error.reason(), SendErrorKind::Full),
                }
            }
            while let Some((_, frame)) = endpoint.try_next().expect("open") {
                assert_eq!(frame.as_bytes(), numbered(got, 8_000));
                got += 1;
            }
            future::yield_now().await;
        }
    };
    let both = future::zip(router(a.endpoint.clone(), to_b), router(b.endpoint.clone(), to_a));
    within("the end of both", both);
}
