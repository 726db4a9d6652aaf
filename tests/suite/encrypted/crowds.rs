//! Many who want keys exchanged, and never come to anything.

use std::time::{Duration, Instant};

use netmod_inet::{Event, InetEndpoint, Limits};

use super::{encryption, id};
use crate::resume::by_hand::{Wire, hello, offer};
use crate::scripted::carrier;
use crate::subject::{Node, PATIENCE, quick};

/// A listener under these limits, which may spend next to nothing on strangers.
fn slow(change: impl FnOnce(&mut Limits)) -> Node {
    let mut limits = quick();
    limits.handshake_cpu = Duration::from_millis(1);
    limits.handshake_timeout = Duration::from_secs(600);
    change(&mut limits);
    let builder = InetEndpoint::builder().router_id(id(1)).bind("127.0.0.1:0");
    Node::started(builder.encrypt(encryption(1)).limits(limits))
}

/// A stranger that has said the first of the three messages.
fn begins(port: u16) -> Wire {
    let mut own = offer(&[9; 16], [8; 16], [7; 16]);
    own.insert(15, vec![1]);
    let mut wire = Wire::to(port);
    wire.say(&hello(9, &own));
    wire.heard();
    wire.say(&carrier(34, 9, &[5; 32]));
    wire
}

/// Their sockets were open until it was their turn, however many may be pending: for minutes here.
#[test]
fn who_is_displaced_while_it_waits_for_its_turn_is_gone_at_once() {
    const STRANGERS: usize = 500;
    const PENDING: usize = 4;
    let mut hub = slow(|limits| {
        limits.max_handshakes = PENDING;
        limits.max_handshakes_per_addr = PENDING;
        limits.drop_events_per_sec = 10_000;
    });
    let strangers = (0..STRANGERS).map(|_| begins(hub.port()));
    // Some stay, and the others leave without a word.
    let _last: Vec<_> = strangers.skip(STRANGERS - PENDING).collect();
    let mut gone = 0;
    let end = Instant::now() + PATIENCE;
    while gone < STRANGERS - PENDING {
        hub.wait("end of a stranger", |event| matches!(event, Event::Dropped { .. }).then_some(()));
        gone += 1;
        assert!(Instant::now() < end, "{gone} of {STRANGERS} are gone within {PATIENCE:?}");
    }
}
