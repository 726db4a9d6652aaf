//! Cuts at random moments, under load in both directions.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_lite::future;
use netmod_inet::{Event, InetEndpoint, Limits, SendErrorKind, Target};

use super::by_hand::{PROOF, Wire, ack, new_extension};
use super::proxy::{Break, Proxy};
use crate::addresses::own_addr;
use crate::scripted::{number_of, numbered};
use crate::subject::{Node, is_encrypted, parsed, quick, within};

/// A listener and a dialer, and the proxy between them.
struct Two {
    listener: Node,
    dialer: Node,
    proxy: Proxy,
    /// What each calls the other.
    to_dialer: Target,
    to_listener: Target,
}

fn two() -> Two {
    let mut listener = Node::listening();
    let mut dialer = Node::dial_only();
    let proxy = Proxy::to(listener.port());
    let to_listener = dialer.add(&proxy.address());
    dialer.up();
    let (to_dialer, _, _) = listener.up();
    assert_eq!(dialer.info(to_listener).key.is_some(), is_encrypted());
    Two { listener, dialer, proxy, to_dialer, to_listener }
}

/// Lengths that hit every path: copied together, written from where they are, larger than a read.
fn length(number: u32) -> usize {
    [1, 60, 1_000, 5_000, 40_000][number as usize % 5]
}

/// Sends `count` numbered frames, each as soon as there is room.
async fn send(endpoint: &InetEndpoint, target: Target, count: u32) {
    for number in 0..count {
        let mut frame = parsed(&numbered(number, length(number)));
        loop {
            match endpoint.send(target, frame).await {
                Ok(()) => break,
                Err(error)
                    if matches!(error.reason(), SendErrorKind::Full | SendErrorKind::TimedOut) =>
                {
                    frame = error.into_frame();
                    smol::Timer::after(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("frame {number}: {error}"),
            }
        }
    }
}

/// Takes `count` frames, and fails at the first that is not the one that is due.
async fn receive(endpoint: &InetEndpoint, from: Target, count: u32, got: &AtomicU32) {
    for number in 0..count {
        let (target, frame) = endpoint.next().await.expect("a running endpoint");
        assert_eq!(target, from, "the target stays");
        assert_eq!(number_of(frame.as_bytes()), number, "lost, doubled or out of order");
        assert_eq!(frame.as_bytes(), numbered(number, length(number)));
        got.store(number + 1, Ordering::Relaxed);
    }
}

/// Has both send `count` frames while the proxy breaks again and again, whenever some more frames
/// have arrived.
fn exchange_over_cuts(seed: u64, count: u32, cuts: u32) {
    println!("seed {seed}");
    let two = two();
    let mut random = fastrand::Rng::with_seed(seed);
    let (got, got_back) = (AtomicU32::new(0), AtomicU32::new(0));
    let (near, far) = (&two.dialer.endpoint, &two.listener.endpoint);
    let cutting = async {
        for cut in 0..cuts {
            let next = count / cuts * cut + random.u32(0..count / cuts);
            while got.load(Ordering::Relaxed) < next {
                future::yield_now().await;
            }
            let links = two.dialer.info(two.to_listener).links;
            two.proxy.cut([Break::Close, Break::Reset, Break::HalfOpen][random.usize(0..3)]);
            while two.dialer.info(two.to_listener).links == links {
                future::yield_now().await;
            }
        }
    };
    let both = future::zip(
        future::zip(send(near, two.to_listener, count), receive(far, two.to_dialer, count, &got)),
        future::zip(
            send(far, two.to_dialer, count),
            receive(near, two.to_listener, count, &got_back),
        ),
    );
    let all = future::zip(both, cutting);
    let stuck = async {
        smol::Timer::after(Duration::from_secs(30 + u64::from(cuts))).await;
        panic!("seed {seed}: stuck at {got:?}; {:#?} {:#?}", near.peers(), far.peers());
    };
    let done = async {
        all.await;
    };
    smol::block_on(future::or(done, stuck));
    let links = two.dialer.info(two.to_listener).links;
    assert_eq!(links, u64::from(cuts) + 1, "one link after each cut");
    println!("{count} frames each way over {cuts} cuts: 0 lost, 0 doubled, 0 out of order");
}

/// A number from the environment, to run a test for longer than is useful each time.
pub(super) fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn nothing_is_lost_doubled_or_reordered_over_cuts() {
    let cuts = from_environment("CUTS", 40) as u32;
    let seed = from_environment("SEED", fastrand::u64(..));
    exchange_over_cuts(seed, 100 * cuts, cuts);
}

#[test]
fn frames_queued_while_the_link_is_down_arrive_when_it_is_back() {
    let mut two = two();
    two.proxy.cut(Break::Close);
    two.listener.down(two.to_dialer);
    let info = two.listener.info(two.to_dialer);
    assert_eq!(info.links, 1);
    for number in 0..10 {
        two.listener.try_send(two.to_dialer, &numbered(number, 100));
        two.dialer.try_send(two.to_listener, &numbered(number, 100));
    }
    for number in 0..10 {
        let (from, frame) = two.dialer.next();
        assert_eq!((from, number_of(frame.as_bytes())), (two.to_listener, number));
        let (from, frame) = two.listener.next();
        assert_eq!((from, number_of(frame.as_bytes())), (two.to_dialer, number));
    }
    assert_eq!(two.listener.endpoint.peers().len(), 1, "the same peer as before");
}

#[test]
fn a_half_open_link_is_replaced_by_the_new_one_at_once() {
    let mut two = two();
    two.proxy.cut(Break::HalfOpen);
    let (reason, redialed) = two.listener.down(two.to_dialer);
    assert!(reason.to_string().contains("new link") && !redialed, "{reason}");
    assert_eq!(two.listener.up().0, two.to_dialer);
}

/// For `HELD_UP_SECONDS`. Of the 2 minutes that a router may not read, the default is as much as a
/// test can wait: longer than any silence that a link survives.
#[test]
fn a_router_that_does_not_read_still_answers_pings() {
    let mut limits = quick();
    limits.inbound_bytes = 256 << 10;
    limits.queue_bytes = 16 << 20;
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits.clone());
    let mut listener = Node::built(builder);
    let mut dialer = Node::built(InetEndpoint::builder().limits(limits));
    let target = dialer.add(&format!("127.0.0.1:{}", listener.port()));
    dialer.up();
    listener.up();
    let frames = 300;
    for number in 0..frames {
        dialer.try_send(target, &numbered(number, 40_000));
    }
    let wait = from_environment("HELD_UP_SECONDS", 18);
    let quiet = async {
        smol::Timer::after(Duration::from_secs(wait)).await;
    };
    smol::block_on(quiet);
    assert_eq!(dialer.info(target).links, 1);
    for number in 0..frames {
        assert_eq!(number_of(listener.next().1.as_bytes()), number);
    }
    assert_eq!(dialer.info(target).links, 1, "the link that it had before");
    println!(
        "a router that did not read for {wait} s: the same link, all {frames} frames in order"
    );
}

#[test]
fn a_far_end_that_started_anew_gives_back_what_it_may_not_have() {
    let mut dialer = Node::started(InetEndpoint::builder().limits(quick()));
    let first = TcpListener::bind(own_addr()).expect("a free port");
    let port = first.local_addr().expect("a port").port();
    let target = dialer.add(&format!("127.0.0.1:{port}"));
    // A node that acknowledges nothing.
    let mut wire = Wire::over(first.accept().expect("a connection").0);
    wire.expect_frame();
    wire.send(&ack(9, &new_extension(&[9; 16], [1; 16], [2; 16])));
    wire.expect_record(PROOF);
    dialer.up();
    let frames: Vec<_> = (0..20).map(|number| numbered(number, 50)).collect();
    frames.iter().for_each(|frame| dialer.try_send(target, frame));
    dialer.until("frames on the way", |endpoint| endpoint.peers()[0].frames_sent == 20);
    drop((wire, first));
    dialer.down(target);
    let mut second =
        Node::started(InetEndpoint::builder().bind(format!("127.0.0.1:{port}")).limits(quick()));
    second.up();
    let count = dialer.wait("frames that came back", |event| match event {
        Event::Unconfirmed { frames, .. } => Some(*frames),
        _ => None,
    });
    assert_eq!(count, 20, "all came back");
    dialer.up();
    let back = dialer.endpoint.take_unconfirmed(target);
    let expected: Vec<_> = frames.iter().map(|frame| parsed(frame)).collect();
    assert_eq!(back, expected, "in order");
    dialer.try_send(target, &numbered(77, 10));
    assert_eq!(number_of(second.next().1.as_bytes()), 77);
}

#[test]
fn a_peer_that_leaves_with_a_goodbye_ends_and_its_queue_comes_back() {
    let mut limits = quick();
    limits.resume_window = Duration::from_millis(50);
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
    let mut listener = Node::built(builder);
    let mut dialer = Node::dial_only();
    dialer.add(&format!("127.0.0.1:{}", listener.port()));
    dialer.up();
    let (target, _, _) = listener.up();
    drop(dialer);
    listener.down(target);
    let frame = numbered(1, 10);
    let kept = listener.endpoint.try_send(target, parsed(&frame)).is_ok();
    listener.removed(target);
    assert_eq!(listener.endpoint.take_unconfirmed(target).len(), usize::from(kept));
}

/// A listener with these limits, and the targets of peers that left it without a goodbye, the
/// first one first. They do not dial again as long as they are kept.
fn left_alone(limits: Limits, count: usize) -> (Node, Vec<Target>, Vec<Node>) {
    let mut listener = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let mut limits = quick();
    limits.redial_first = Duration::from_secs(86_400);
    limits.redial_cap = limits.redial_first;
    let proxy = Proxy::to(listener.port());
    let (mut away, mut dialers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut dialer = Node::built(InetEndpoint::builder().limits(limits.clone()));
        dialer.add(&proxy.address());
        dialer.up();
        away.push(listener.up().0);
        proxy.cut(Break::Close);
        listener.down(away[away.len() - 1]);
        dialers.push(dialer);
    }
    (listener, away, dialers)
}

/// Fails unless these peers are there, and no others.
fn are_left(listener: &Node, targets: &[Target]) {
    let left: Vec<_> = listener.endpoint.peers().iter().map(|peer| peer.target).collect();
    assert_eq!(left, targets);
}

#[test]
fn only_so_many_may_be_away() {
    let mut limits = quick();
    limits.resume_peers = 2;
    let (mut listener, away, _dialers) = left_alone(limits, 3);
    listener.removed(away[0]);
    are_left(&listener, &away[1..]);
}

#[test]
fn only_so_much_may_wait_for_those_that_are_away() {
    let mut limits = quick();
    limits.resume_bytes = 20 << 10;
    let (mut listener, away, _dialers) = left_alone(limits, 3);
    for number in 0..3 {
        listener.try_send(away[0], &numbered(number, 4 << 10));
    }
    are_left(&listener, &away);
    // What is sent to another one counts as well, and the oldest has to go.
    for number in 0..3 {
        listener.try_send(away[1], &numbered(number, 4 << 10));
    }
    listener.removed(away[0]);
    assert_eq!(listener.endpoint.take_unconfirmed(away[0]).len(), 3);
    are_left(&listener, &away[1..]);
}

#[test]
fn a_goodbye_has_its_reason_and_everything_before_it_arrives() {
    let mut two = two();
    for number in 0..200 {
        two.listener.try_send(two.to_dialer, &numbered(number, 4_000));
    }
    let endpoint = two.listener.endpoint.clone();
    let closing = std::thread::spawn(move || within("shutdown", endpoint.shutdown()));
    for number in 0..200 {
        assert_eq!(number_of(two.dialer.next().1.as_bytes()), number);
    }
    let (reason, redialed) = two.dialer.down(two.to_listener);
    assert!(reason.to_string().contains("it shuts down"), "{reason}");
    assert!(redialed);
    closing.join().expect("shutdown");
    assert!(two.listener.endpoint.take_unconfirmed(two.to_dialer).is_empty(), "all acknowledged");
}

#[test]
fn the_round_trip_is_measured() {
    let two = two();
    assert_eq!(two.dialer.info(two.to_listener).round_trip, None);
    two.dialer.try_send(two.to_listener, &numbered(0, 10));
    two.listener.next();
    two.dialer.until("a round trip", |endpoint| endpoint.peers()[0].round_trip.is_some());
    let round_trip = two.dialer.info(two.to_listener).round_trip.expect("measured");
    assert!(round_trip < Duration::from_secs(5), "{round_trip:?}");
}
