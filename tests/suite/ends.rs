//! How peers and endpoints end: removal, shutdown, the last handle, redialing.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_lite::future::poll_once;
use netmod_inet::{
    AttemptError, Closed, DownReason, Event, GoodbyeReason, InetEndpoint, PeerState, Resolve,
    ResolveFuture, SendErrorKind,
};

use crate::addresses::own_addr;
use crate::scripted::{PlainListener, STANDARD, carrier, numbered};
use crate::subject::{Node, TIMEOUT, parsed, quick, within};

#[test]
fn shutdown_sends_what_is_queued_and_hands_out_what_arrived() {
    let mut limits = quick();
    // For as long as this thread may be kept from reading.
    limits.drain_timeout = TIMEOUT;
    let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let (mut peer, target) = node.accept_plain(STANDARD, 5);
    let frames: Vec<_> = (0..100).map(|number| numbered(number, 2_000)).collect();
    peer.send(&frames[0]);
    node.until("arrival", |endpoint| endpoint.peers()[0].frames_received == 1);
    frames.iter().for_each(|frame| node.try_send(target, frame));
    let endpoint = node.endpoint.clone();
    let closing = std::thread::spawn(move || within("shutdown", endpoint.shutdown()));
    frames.iter().for_each(|frame| assert_eq!(&peer.read_frame(), frame));
    peer.expect_end();
    drop(peer);
    closing.join().expect("shutdown");
    assert_eq!(node.next().1.as_bytes(), frames[0]);
    assert_eq!(within("end", node.endpoint.next()).unwrap_err(), Closed);
    let error = node.endpoint.try_send(target, parsed(&frames[0])).unwrap_err();
    assert_eq!(error.reason(), SendErrorKind::Closed);
    assert!(matches!(node.down(target).0, DownReason::ShuttingDown));
    node.wait("last event", |event| matches!(event, Event::Stopped).then_some(()));
    within("a second shutdown", node.endpoint.shutdown());
}

#[test]
fn neighbours_redial_after_the_announced_restart_time() {
    let downtime = Duration::from_secs(60);
    let mut listener = Node::listening();
    let mut dialers = [Node::dial_only(), Node::dial_only()];
    let addr = format!("127.0.0.1:{}", listener.port());
    let targets = dialers.each_mut().map(|dialer| {
        let target = dialer.add(&addr);
        dialer.up();
        // The handshake is complete at both nodes.
        listener.up();
        target
    });
    within("shutdown", listener.endpoint.shutdown_for(downtime));
    let mut asked = Vec::new();
    for (dialer, target) in dialers.iter_mut().zip(targets) {
        let DownReason::Goodbye(goodbye) = dialer.down(target).0 else { panic!() };
        assert_eq!(goodbye.reason, GoodbyeReason::ShuttingDown);
        asked.push(goodbye.retry_after.expect("a time"));
        let retry = dialer.info(target).next_retry.expect("it is dialed again");
        assert!(retry > downtime - TIMEOUT, "in {retry:?}");
    }
    asked.sort_unstable();
    assert!(
        asked[0] >= downtime && asked[0] < asked[1] && asked[1] < downtime + TIMEOUT,
        "{asked:?}"
    );
}

#[test]
fn shutdown_gives_up_on_a_peer_that_does_not_read() {
    let mut limits = quick();
    // More than the kernel's buffers on both sides can take.
    limits.queue_bytes = 48 << 20;
    let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let (_peer, target) = node.accept_plain(STANDARD, 5);
    let frame = parsed(&carrier(8, 1, &[7; 60_000]));
    while node.endpoint.try_send(target, frame.clone()).is_ok() {}
    let queued = node.info(target).queued_frames;
    within("shutdown", node.endpoint.shutdown());
    let back = node.endpoint.take_unconfirmed(target).len();
    assert!(back > 0 && back <= queued, "{back} of {queued} frames came back");
}

#[test]
fn a_send_that_waits_for_room_learns_that_the_endpoint_closes() {
    let mut limits = quick();
    limits.send_timeout = Duration::from_secs(3600);
    let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let (_peer, target) = node.accept_plain(STANDARD, 5);
    let frame = parsed(&carrier(8, 1, &[7; 60_000]));
    within("refusal", async {
        let waiting = loop {
            let mut sending = Box::pin(node.endpoint.send(target, frame.clone()));
            if poll_once(&mut sending).await.is_none() {
                break sending;
            }
        };
        node.endpoint.shutdown().await;
        let error = waiting.await.unwrap_err();
        assert_eq!((error.reason(), error.into_frame()), (SendErrorKind::Closed, frame));
    });
}

#[test]
fn the_last_handle_closes_everything() {
    let addr = own_addr().to_string();
    let mut node = Node::built(InetEndpoint::builder().bind(&addr).limits(quick()));
    let (mut peer, _) = node.accept_plain(STANDARD, 5);
    let events = node.endpoint.events();
    let other = node.endpoint.clone();
    drop(node);
    peer.send(&numbered(0, 100));
    assert_eq!(within("frame", other.next()).expect("a frame").1.as_bytes(), numbered(0, 100));
    drop(other);
    peer.expect_end();
    within("the last event", async { while events.next().await.is_ok() {} });
    // The port is free again.
    let again = within("start", InetEndpoint::start(&addr));
    again.expect("a free port");
}

#[test]
fn a_removed_peer_gives_back_what_waited_and_is_not_dialed_again() {
    let mut node = Node::dial_only();
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let mut peer = listener.answer(STANDARD, 5);
    node.up();
    assert!(within("route", node.endpoint.routes().exists(target)));
    node.remove(target);
    assert!(!within("route", node.endpoint.routes().exists(target)));
    peer.expect_end();
    drop(peer);
    assert!(matches!(node.down(target), (DownReason::Removed, false)));
    node.removed(target);
    assert!(listener.stays_alone(Duration::from_millis(100)));
    assert!(within("remove", node.endpoint.remove_peer(target)).is_err());

    drop(listener);
    let target = node.add("127.0.0.1:1");
    let frame = numbered(0, 100);
    node.try_send(target, &frame);
    node.remove(target);
    node.removed(target);
    assert_eq!(node.endpoint.take_unconfirmed(target), [parsed(&frame)]);
}

#[test]
fn a_target_is_not_used_again_soon() {
    let mut node = Node::listening();
    let mut seen = Vec::new();
    for id in 0..20 {
        let (peer, target) = node.accept_plain(STANDARD, id);
        assert!(!seen.contains(&target));
        seen.push(target);
        drop(peer);
        node.removed(target);
    }
}

#[test]
fn an_unreached_peer_is_explained_and_kicked() {
    let mut limits = quick();
    limits.redial_first = Duration::from_secs(3600);
    limits.redial_cap = Duration::from_secs(3600);
    let mut node = Node::built(InetEndpoint::builder().limits(limits));
    let addr = own_addr().to_string();
    let target = node.add(&addr);
    let AttemptError::Connect(error) = node.attempt(target) else { panic!("no connect error") };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let info = node.info(target);
    assert_eq!((info.state, info.attempts.len()), (PeerState::Down, 1));
    assert_eq!(info.attempts[0].addr, addr);
    assert!(info.last_error.is_some_and(|error| error.contains("refused")));
    assert!(info.next_retry.is_some());
    let first_failed = Instant::now();
    for _ in 0..3 {
        node.endpoint.kick(Some(target)).expect("a peer");
        node.attempt(target);
        node.endpoint.kick(None).expect("all peers");
        node.attempt(target);
    }
    let elapsed = first_failed.elapsed();
    assert!(node.info(target).since >= elapsed, "it is down since before the first kick");
    assert!(node.endpoint.kick(Some(99.into())).is_err());
}

/// Answers what the test sets, and counts how often it is asked.
#[derive(Clone, Default)]
struct Names {
    addrs: Arc<Mutex<Vec<SocketAddr>>>,
    asked: Arc<AtomicUsize>,
}

impl Resolve for Names {
    fn resolve(&self, _: &str, _: u16) -> ResolveFuture {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let addrs = self.addrs.lock().expect("no panic").clone();
        Box::pin(async move {
            match addrs.is_empty() {
                true => Err(ErrorKind::NotFound.into()),
                false => Ok(addrs),
            }
        })
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[test]
fn a_name_is_looked_up_at_every_attempt_and_the_last_answer_kept() {
    let names = Names::default();
    let builder = InetEndpoint::builder().limits(quick()).resolver(names.clone());
    let mut node = Node::built(builder);
    let target = node.add("mynas.example:9000");
    assert!(matches!(node.attempt(target), AttemptError::Resolve(_)));

    let (first, second) = (PlainListener::bind(), PlainListener::bind());
    let move_to = |addrs: &[u16]| {
        *names.addrs.lock().expect("no panic") = addrs.iter().map(|port| loopback(*port)).collect();
    };
    move_to(&[first.port()]);
    let peer = first.answer(STANDARD, 5);
    node.up();
    // The name moves: the next dial finds the new place, past an address that is dead.
    let dead = PlainListener::bind().port();
    move_to(&[dead, second.port()]);
    drop(peer);
    let peer = second.answer(STANDARD, 5);
    node.up();
    // Nobody knows the name any more: the last answer has to do.
    move_to(&[]);
    drop(peer);
    let _peer = second.answer(STANDARD, 5);
    node.up();
    assert!(names.asked.load(Ordering::Relaxed) >= 4);
}

#[test]
fn names_of_the_system_are_found() {
    let listener = Node::listening();
    let mut dialer = Node::dial_only();
    dialer.add(&format!("localhost:{}", listener.port()));
    dialer.up();
}
