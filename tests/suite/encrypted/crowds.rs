//! Many key exchanges that are begun and never completed.

use std::time::{Duration, Instant};

use netmod_inet::{Event, InetEndpoint, Limits};

use super::{encryption, id};
use crate::resume::by_hand::{Wire, hello, new_extension};
use crate::scripted::carrier;
use crate::subject::{Node, TIMEOUT, quick};

/// A listener under these limits, which may spend next to no CPU time on unknown nodes.
fn slow(change: impl FnOnce(&mut Limits)) -> Node {
    let mut limits = quick();
    limits.handshake_cpu = Duration::from_millis(1);
    limits.handshake_timeout = Duration::from_secs(600);
    change(&mut limits);
    let builder = InetEndpoint::builder().router_id(id(1)).bind("127.0.0.1:0");
    Node::started(builder.encrypt(encryption(1)).limits(limits))
}

/// Connects, and sends the first of the three messages.
fn begin(port: u16) -> Wire {
    let mut own = new_extension(&[9; 16], [8; 16], [7; 16]);
    own.insert(15, vec![1]);
    let mut wire = Wire::to(port);
    wire.send(&hello(9, &own));
    wire.expect_frame();
    wire.send(&carrier(34, 9, &[5; 32]));
    wire
}

/// Regression: the sockets of evicted handshakes stayed open until they left the wait queue, for
/// minutes here.
#[test]
fn an_evicted_handshake_in_the_wait_queue_ends_immediately() {
    const HANDSHAKES: usize = 500;
    const PENDING: usize = 4;
    let mut hub = slow(|limits| {
        limits.max_handshakes = PENDING;
        limits.max_handshakes_per_addr = PENDING;
        limits.drop_events_per_sec = 10_000;
    });
    let handshakes = (0..HANDSHAKES).map(|_| begin(hub.port()));
    // The last ones stay open; the others are dropped.
    let _last: Vec<_> = handshakes.skip(HANDSHAKES - PENDING).collect();
    let mut dropped = 0;
    let end = Instant::now() + TIMEOUT;
    while dropped < HANDSHAKES - PENDING {
        hub.wait("dropped connection", |event| {
            matches!(event, Event::Dropped { .. }).then_some(())
        });
        dropped += 1;
        assert!(Instant::now() < end, "{dropped} of {HANDSHAKES} were dropped within {TIMEOUT:?}");
    }
}
