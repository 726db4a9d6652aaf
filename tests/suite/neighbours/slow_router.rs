//! A router that takes ten frames a second from a neighbour that could send a hundred thousand.

use std::time::Duration;

use netmod_inet::{InetEndpoint, Limits};

use crate::reliability::figures::number;
use crate::scripted::{number_of, numbered};
use crate::subject::{Node, TIMEOUT, parsed, quick};

/// Time between two frames that the router takes.
const PAUSE: Duration = Duration::from_millis(100);

const FRAME: usize = 1_000;

/// What a frame takes of a window: its length with header and prefix, and 64 bytes.
const COST: u64 = FRAME as u64 + 41 + 4 + 64;

/// The neighbour has as much to send as its queue takes, always. `SLOW_ROUTER_FRAMES` is how many
/// frames the router takes.
#[test]
fn a_slow_router_is_not_taken_for_dead_and_keeps_its_memory() {
    let mut router = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()));
    let mut neighbour = Node::dial_only();
    let target = neighbour.add(&format!("127.0.0.1:{}", router.port()));
    neighbour.up();
    let (from, _, _) = router.up();
    let window = Limits::default().inbound_bytes as u64 / 2;
    let (mut sent, mut longest) = (0, Duration::ZERO);
    for taken in 0..number("SLOW_ROUTER_FRAMES", 100) as u64 {
        while neighbour.endpoint.try_send(target, parsed(&numbered(sent, FRAME))).is_ok() {
            sent += 1;
        }
        let (_, frame) = router.next();
        assert_eq!(u64::from(number_of(frame.as_bytes())), taken, "lost, or out of order");
        let waiting = router.info(from).frames_received - taken;
        assert!(waiting * COST <= window, "{waiting} frames wait for the router");
        if taken % 20 == 10 {
            // Probes the link.
            neighbour.endpoint.kick(Some(target)).expect("a peer");
        }
        longest = longest.max(neighbour.info(target).round_trip.unwrap_or_default());
        std::thread::sleep(PAUSE);
    }
    println!("{sent} frames sent; longest round trip {longest:.1?}");
    assert!(longest < TIMEOUT / 10, "{longest:?}");
    let links = [neighbour.info(target).links, router.info(from).links];
    assert_eq!(links, [1, 1], "the link that it had before");
}
