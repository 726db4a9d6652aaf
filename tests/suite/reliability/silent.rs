//! Crowds of sockets that send nothing.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use netmod_inet::{InetEndpoint, Limits};

use super::figures::{grown_since, number, open_files, raise_files, resident};
use super::process::{alone, report};
use crate::scripted::STANDARD;
use crate::subject::{Node, TIMEOUT};

/// Memory that a pending handshake may use, with what the allocator does not give back.
const MAX_PER_PENDING: usize = 16 << 10;

/// Good peers that come in while the crowd does.
const GOOD: usize = 20;

/// How many sockets there are to be: as many as wanted, or as the system lets one process have.
/// The endpoint's ends of them are in this process as well.
fn sockets(pending: usize) -> usize {
    let wanted = number("SOCKETS", 1_000);
    let others = pending + 200;
    let allowed = raise_files(wanted + others).saturating_sub(others);
    if allowed < wanted {
        report(&format!(
            "NOT {wanted} silent sockets but {allowed}: the limit for files is too low"
        ));
    }
    wanted.min(allowed)
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_handshakes_per_addr =
        limits.max_handshakes_per_addr.min(number("SOCKETS", 1_000) / 4);
    // Longer than this takes, so that none goes by the deadline.
    limits.handshake_timeout = 60 * TIMEOUT;
    limits
}

/// `SOCKETS` of them.
#[test]
fn a_silent_crowd_shuts_nobody_out() {
    alone("reliability::silent::a_silent_crowd_shuts_nobody_out", || {
        let limits = limits();
        let (pending, count) =
            (limits.max_handshakes_per_addr, sockets(limits.max_handshakes_per_addr));
        let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
        // The first peer starts what there is only once.
        node.serves("before the crowd");
        let (memory, files) = (resident(), open_files());
        let mut crowd = Vec::with_capacity(count);
        let mut waits = Vec::new();
        for _ in 0..GOOD {
            let more = || TcpStream::connect(("127.0.0.1", node.port())).expect("connect");
            crowd.extend(std::iter::repeat_with(more).take(count / GOOD));
            let started = Instant::now();
            drop(node.accept_plain(STANDARD, 7));
            waits.push(started.elapsed());
        }
        let held = |crowd: &[TcpStream]| {
            open_files().zip(files).map(|(now, before)| now.saturating_sub(before + crowd.len()))
        };
        node.until("pending handshakes below their limit", |_| {
            held(&crowd).is_none_or(|held| held <= pending)
        });
        let (grown, worst) = (grown_since(memory), waits.iter().max().expect("some waits"));
        report(&format!(
            "{} silent sockets: {} pending of {pending} at most, {} bytes of memory for each, {} \
             KiB in all; a good peer came in within {worst:.1?}",
            crowd.len(),
            held(&crowd).unwrap_or_default(),
            grown / pending,
            grown >> 10,
        ));
        assert!(*worst < Duration::from_secs(1), "{waits:?}");
        assert!(grown / pending < MAX_PER_PENDING, "{grown} bytes");
        node.serves("a silent crowd");
    });
}
