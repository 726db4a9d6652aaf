//! Queues and their bounds: what `send`, `try_send` and `send_all` promise.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_lite::future::{self, poll_once};
use netmod_inet::{Event, Frame, InetEndpoint, Limits, SendErrorKind};

use crate::scripted::{PlainListener, STANDARD, carrier, numbered};
use crate::subject::{Node, PATIENCE, parsed, quick, within};

/// A payload that tells where in it a byte stands.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn node_with(change: impl FnOnce(&mut Limits)) -> Node {
    let mut limits = quick();
    change(&mut limits);
    Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits))
}

/// An address at which nobody answers.
fn nowhere() -> String {
    let free = PlainListener::bind();
    free.addr("")
}

#[test]
fn frames_wait_for_a_link_and_go_out_in_order() {
    let node = Node::dial_only();
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let frames: Vec<_> = (0..500).map(|number| numbered(number, 300)).collect();
    frames.iter().for_each(|frame| node.try_send(target, frame));
    assert_eq!(node.info(target).queued_frames, 500);
    let mut peer = listener.answer(STANDARD, 5);
    frames.iter().for_each(|frame| assert_eq!(&peer.read_frame(), frame));
    // They leave the queue before they are counted.
    node.until("count of 500", |endpoint| endpoint.peers()[0].frames_sent == 500);
    assert_eq!(node.info(target).queued_frames, 0);
}

#[test]
fn many_at_once_go_in_order_up_to_the_one_that_is_refused() {
    let mut node = node_with(|limits| limits.total_queue_bytes = 3 << 19);
    let (mut peer, target) = node.welcome(STANDARD, 5);
    let send_many = |target, bodies: &[Vec<u8>]| {
        let mut frames: VecDeque<_> = bodies.iter().map(|body| parsed(body)).collect();
        let sent = node.endpoint.try_send_many(target, &mut frames);
        (sent, frames.len())
    };
    let sizes = [10, 3_000, 40, 60_000, 0];
    let bodies: Vec<_> = (0..).zip(sizes).map(|(number, size)| numbered(number, size)).collect();
    assert_eq!(send_many(target, &bodies), (Ok(()), 0));
    bodies.iter().for_each(|body| assert_eq!(&peer.read_frame(), body));

    assert_eq!(send_many(target + 1, &bodies), (Err(SendErrorKind::UnknownTarget), 5));
    let reserved = [numbered(7, 9), carrier(40, 1, b"x"), numbered(8, 9)];
    assert_eq!(send_many(target, &reserved), (Err(SendErrorKind::Reserved), 2));
    assert_eq!(peer.read_frame(), reserved[0]);

    // The peer that is down the longest makes room where all queues together are full.
    let away = [node.add(&nowhere()), node.add(&nowhere())];
    let many = vec![numbered(9, 1_000); 3_000];
    let fit = |bytes| bytes / (Frame::MIN_LEN + 1_000 + 128);
    for target in away {
        assert_eq!(send_many(target, &many), (Err(SendErrorKind::Full), 3_000 - fit(1 << 20)));
    }
    let kept = away.map(|target| node.info(target).queued_frames);
    assert_eq!(kept, [fit(3 << 19) - fit(1 << 20), fit(1 << 20)]);
    assert_eq!(node.endpoint.take_unconfirmed(away[0]).len(), fit(1 << 20) - kept[0]);
    within("shutdown", node.endpoint.shutdown());
    assert_eq!(send_many(away[0], &bodies), (Err(SendErrorKind::Closed), 5));
    assert_eq!(node.endpoint.take_unconfirmed(away[0]).len(), kept[0]);
}

#[test]
fn a_send_waits_for_room_while_the_link_is_being_restored() {
    let mut node = node_with(|limits| {
        limits.queue_frames = 3;
        limits.send_timeout = PATIENCE;
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
        limits.send_timeout = PATIENCE;
    });
    let (mut full, to_full) = node.welcome(STANDARD, 1);
    let (mut other, to_other) = node.welcome(STANDARD, 2);
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
    let (mut peer, target) = node.welcome(STANDARD, 1);
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
    assert!(within("refusal", node.endpoint.until_room(target + 1, 1)).is_err());
    drop(reader.join().expect("every frame whole"));
}

#[test]
fn a_peer_that_does_not_read_makes_send_wait_and_then_refuse() {
    let mut node = node_with(|limits| limits.queue_bytes = 256 << 10);
    let (peer, target) = node.welcome(STANDARD, 5);
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
fn a_wait_goes_on_over_the_end_of_the_link() {
    let mut node = node_with(|limits| {
        limits.queue_bytes = 100 << 10;
        limits.send_timeout = PATIENCE;
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
fn what_is_forwarded_never_waits_and_goes_beyond_the_bounds_of_the_queue() {
    let mut node = node_with(|limits| limits.queue_frames = 2);
    let (mut from, from_target) = node.welcome(STANDARD, 1);
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
    let own = node.endpoint.try_send(target, parsed(&frames[0])).expect_err("no room");
    assert_eq!(own.reason(), SendErrorKind::Full);
    let mut peer = listener.answer(STANDARD, 2);
    frames.iter().for_each(|frame| assert_eq!(&peer.read_frame(), frame));
}

#[test]
fn what_is_forwarded_to_a_peer_that_is_down_for_long_comes_back() {
    let mut node = node_with(|limits| limits.send_timeout = Duration::ZERO);
    let (mut from, _) = node.welcome(STANDARD, 1);
    let target = node.add(&nowhere());
    let frame = numbered(1, 40);
    let mut forward = |target| {
        from.send(&frame);
        let received = within("frame", node.endpoint.recv()).expect("open");
        node.endpoint.forward(target, received).map_err(|error| error.reason())
    };
    assert_eq!(forward(target), Err(SendErrorKind::LinkDown));
    assert_eq!(forward(target + 1), Err(SendErrorKind::UnknownTarget));
}

#[test]
fn what_waits_for_a_peer_without_a_link_can_be_taken_back() {
    let mut node = Node::listening();
    let (_peer, up) = node.welcome(STANDARD, 1);
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
fn a_flood_goes_to_those_that_are_up_and_tells_of_the_others() {
    let mut node = Node::listening();
    let down = node.add(&nowhere());
    let (mut a, to_a) = node.welcome(STANDARD, 1);
    let (mut b, to_b) = node.welcome(STANDARD, 2);
    let (_c, to_c) = node.welcome(crate::scripted::LIMITED_SENDING, 3);
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
    let mut peers: Vec<_> = (0..10).map(|id| node.welcome(STANDARD, id)).collect();
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
fn where_one_peer_has_too_little_to_give_the_next_gives_too() {
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
fn a_flood_has_its_places_in_all_queues_from_who_is_down_the_longest() {
    let mut node = node_with(|limits| limits.total_queue_bytes = 200 << 10);
    let mut peers: Vec<_> = (0..10).map(|id| node.welcome(STANDARD, id)).collect();
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
fn the_router_that_is_slow_holds_back_the_sender_and_loses_nothing() {
    let mut node = node_with(|limits| limits.inbound_bytes = 128 << 10);
    let (mut peer, target) = node.welcome(STANDARD, 5);
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

/// The load is known by the time that it really took; a busy machine slows it, and what the peers
/// tell with it.
#[test]
fn rates_are_those_of_a_known_load() {
    let mut sender = Node::dial_only();
    let receiver = Node::listening();
    let target = sender.add(&format!("127.0.0.1:{}", receiver.port()));
    sender.up();
    let frame = numbered(0, 10_000);
    let started = Instant::now();
    let mut frames = 0;
    while started.elapsed() < Duration::from_millis(1_500) {
        sender.try_send(target, &frame);
        receiver.next();
        frames += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = started.elapsed().as_secs_f64();
    // Either side counts a frame a moment after it is on its way.
    sender.until("count", |endpoint| endpoint.peers()[0].frames_sent == frames);
    receiver.until("count", |endpoint| endpoint.peers()[0].frames_received == frames);
    let (sent, received) = (sender.info(target), &receiver.endpoint.peers()[0]);
    let wanted = sent.bytes_sent as f64 / took;
    for rate in [sent.send_rate, received.receive_rate] {
        let off = rate as f64 / wanted;
        assert!((0.4..2.5).contains(&off), "{rate} bytes per second, {wanted} were sent");
    }
    assert_eq!((sent.receive_rate, received.send_rate), (0, 0));
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
