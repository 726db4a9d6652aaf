//! Streams that should begin with a Hello.

use std::time::{Duration, Instant};

use futures_lite::future;
use netmod_inet::{Event, Events, InetEndpoint};
use smol::Timer;

use super::garbage::{Due, Random, handshakes};
use crate::scripted::{PlainPeer, STANDARD, ack, hello, hex, numbered, prefixed, run_of};
use crate::subject::{Node, TIMEOUT, quick};

const DEADLINE: Duration = Duration::from_millis(500);

fn short_deadline() -> Node {
    let mut limits = quick();
    limits.handshake_timeout = DEADLINE;
    Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits))
}

#[test]
fn an_invalid_hello_is_dropped_with_its_reason() {
    for case in handshakes(Due::Hello) {
        let mut node = Node::listening();
        let mut peer = PlainPeer::connect(node.port());
        peer.write(&case.bytes);
        let reason = node.dropped(&peer).to_string();
        assert!(reason.contains(case.reason), "{}: {reason}", case.name);
        peer.expect_end();
        node.serves(case.name);
    }
}

/// The same on one endpoint, where the events may be fewer but the service is the same.
#[test]
fn one_endpoint_survives_all_of_it() {
    let mut node = Node::listening();
    for case in handshakes(Due::Hello) {
        let mut peer = PlainPeer::connect(node.port());
        peer.write(&case.bytes);
        peer.expect_end();
        node.serves(case.name);
    }
}

#[test]
fn random_bytes_instead_of_a_hello() {
    let mut node = Node::listening();
    for seed in 0..100 {
        let mut random = Random(seed);
        let bytes = random.garbage(&hello(STANDARD, 0, 6));
        let mut peer = PlainPeer::connect(node.port());
        peer.write(&bytes);
        // The end of the stream comes with it, so that what is only too short ends as well. A
        // changed bit of the id or the port is still a Hello, and that gets its Ack.
        if peer.try_half_close() {
            let (answer, _) = peer.read_to_end();
            assert!(answer.len() <= 97, "seed {seed}: {} got {}", hex(&bytes), hex(&answer));
        }
        node.serves(&format!("seed {seed}: {}", hex(&bytes)));
    }
}

#[test]
fn a_silent_connection_is_dropped_at_the_deadline() {
    let mut node = short_deadline();
    let start = Instant::now();
    let mut peer = PlainPeer::connect(node.port());
    let reason = node.dropped(&peer).to_string();
    assert!(reason.contains("time"), "{reason}");
    assert!(start.elapsed() >= DEADLINE, "after {:?}", start.elapsed());
    peer.expect_end();
    node.serves("a silent connection");
}

/// There is one deadline for the whole handshake: bytes that trickle in do not move it.
#[test]
fn a_byte_now_and_then_does_not_stretch_the_deadline() {
    let mut node = short_deadline();
    let pause = DEADLINE / 10;
    let mut peer = PlainPeer::connect(node.port());
    let start = Instant::now();
    let bytes = prefixed(&hello(STANDARD, 0, 6));
    let written = bytes
        .iter()
        .take_while(|byte| peer.try_write(&[**byte]).is_ok() && peer.poll(pause).is_none());
    let written = written.count();
    assert!(written < bytes.len() / 2, "{written} bytes in {:?}", start.elapsed());
    let reason = node.dropped(&peer).to_string();
    assert!(reason.contains("time"), "{reason}");
    node.serves("a trickle");
}

#[test]
fn a_connection_that_closes_at_any_byte() {
    let mut node = Node::listening();
    let hello_bytes = prefixed(&hello(STANDARD, 0, 6));
    let bytes = [hello_bytes.clone(), run_of([&numbered(0, 8)])].concat();
    for at in 0..hello_bytes.len() {
        let mut peer = PlainPeer::connect(node.port());
        peer.write(&bytes[..at]);
        peer.half_close();
        peer.expect_end();
        node.serves(&format!("a close after {at} bytes"));
    }
    for at in hello_bytes.len()..=bytes.len() {
        let mut peer = PlainPeer::connect(node.port());
        peer.write(&bytes[..at]);
        peer.half_close();
        let (answer, _) = peer.read_to_end();
        assert_eq!(answer[..7], [0, 0, 0, 89, 1, 0, 33], "no Ack after {at} bytes");
        if at == bytes.len() {
            assert_eq!(node.next().1.as_bytes(), numbered(0, 8));
        }
        node.serves(&format!("a close after {at} bytes"));
    }
}

/// A single drop is reported at any rate limit of drop events.
#[test]
fn a_connection_that_closes_early_is_reported() {
    for bytes in [0, 3, 4, 50, 94] {
        let mut node = Node::listening();
        let mut peer = PlainPeer::connect(node.port());
        peer.write(&prefixed(&hello(STANDARD, 0, 6))[..bytes]);
        peer.half_close();
        let reason = node.dropped(&peer).to_string();
        assert!(reason.contains("closed"), "{bytes} bytes: {reason}");
    }
}

#[test]
fn a_reset_right_behind_the_hello() {
    let mut node = Node::listening();
    for _ in 0..20 {
        let mut peer = PlainPeer::connect(node.port());
        peer.send(&hello(STANDARD, 0, 6));
        peer.reset();
        node.serves("a reset");
    }
}

/// Every connection is accounted for: reported, or counted in a later event.
#[test]
fn every_dropped_connection_is_counted() {
    let mut limits = quick();
    limits.drop_events_per_sec = 1;
    let node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let connect_and_fail = || {
        let mut peer = PlainPeer::connect(node.port());
        peer.write(&prefixed(&ack(STANDARD, 6)));
        peer.expect_end();
        peer.addr()
    };
    // One is reported each second, and counts those before it that were not.
    let events = node.endpoint.events();
    let end = Instant::now() + TIMEOUT;
    let (mut connections, mut reported) = (Vec::new(), 0);
    loop {
        assert!(Instant::now() < end, "{reported} of {} were reported", connections.len());
        connections.push(connect_and_fail());
        while let Some(event) = next_for(&events, Duration::from_millis(20)) {
            let Event::Dropped { addr, suppressed, .. } = event else { continue };
            reported += 1 + suppressed;
            if suppressed > 0 {
                let at = connections.iter().position(|connection| Some(*connection) == addr);
                assert_eq!(at, Some(reported - 1));
                return;
            }
        }
    }
}

/// The next event, if it comes so soon.
fn next_for(events: &Events, time: Duration) -> Option<Event> {
    let late = async {
        Timer::after(time).await;
        None
    };
    smol::block_on(future::or(async { events.next().await.ok() }, late))
}
