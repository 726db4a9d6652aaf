//! Liveness monitor: detects that the remote of an extended link is gone.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::error::DownReason;
use crate::peer::Peer;
use crate::primitives::clock;
use crate::transport::Link;

/// Interval at which a monitored link is checked. An idle link is not monitored.
const TICK: Duration = Duration::from_secs(1);

/// Ticks between two notices that the local node is alive, while it does not read.
const PAUSED_INTERVAL: u32 = 2;

/// Shortest silence after which the remote is pinged, while it owes something.
const MIN_SILENCE: Duration = Duration::from_secs(5);

/// The same in smoothed round trips. The longer of the two applies.
const ROUND_TRIPS: u32 = 4;

/// Further silences of that length, after the first ping, before the link is given up. With a
/// round trip of 2 s and a loss of one packet in twenty, TCP itself stalls for a dozen seconds now
/// and then. A link that makes progress must not be dropped.
const MAX_UNANSWERED: u32 = 2;

/// Silence after which a link is given up that is being probed, because the remote was seen
/// elsewhere or the peer was kicked.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Monitors an extended link. Completes when the remote is silent for too long though it owes
/// something. Any received byte counts as activity. Plain links are monitored by TCP keepalive.
///
/// The task of the link polls this after its reader and its writer, so it needs no waker to learn
/// that there is something to monitor.
pub(crate) fn run_monitor<'a>(
    peer: &'a Peer,
    link: &'a Link,
) -> impl Future<Output = DownReason> + Send + Unpin + use<'a> {
    let mut watching = None;
    poll_fn(move |cx: &mut Context<'_>| {
        while watching.is_some() || must_watch(peer, link) {
            // Boxed, so that an idle link does not hold the memory of this future.
            let watch = watching.get_or_insert_with(|| Box::pin(monitor(peer, link)));
            if let Some(silence) = ready!(watch.as_mut().poll(cx)) {
                return Poll::Ready(DownReason::PeerTimeout(silence));
            }
            watching = None;
        }
        Poll::Pending
    })
}

fn must_watch(peer: &Peer, link: &Link) -> bool {
    link.control_sender.is_some() && peer.queue.arm_monitor().is_needed()
}

/// Monitors the link until nothing is owed any more. Returns the length of the silence if it
/// exceeds the limit.
async fn monitor(peer: &Peer, link: &Link) -> Option<Duration> {
    let mut reads = link.activity();
    let mut silence = Duration::ZERO;
    let mut suspected = peer.queue.liveness_inputs().is_probing;
    for tick in 1u32.. {
        tick_or_probe(peer, suspected).await;
        let watched = peer.queue.arm_monitor();
        if watched.is_probing && !suspected {
            // Activity before the probe started does not count.
            reads = link.activity();
            (suspected, silence) = (true, Duration::ZERO);
            continue;
        }
        suspected = watched.is_probing;
        if watched.is_backpressured && tick % PAUSED_INTERVAL == 0 {
            peer.queue.queue_paused();
        }
        if !watched.is_needed() {
            return None;
        }
        let now = link.activity();
        // Without reading, the local node cannot tell whether the remote is alive.
        if now != reads || watched.is_backpressured {
            (reads, silence, suspected) = (now, Duration::ZERO, false);
            peer.queue.clear_probe();
            continue;
        }
        silence += TICK;
        if watched.is_probing {
            let round_trip = peer.queue.round_trip().unwrap_or_default();
            if silence >= PROBE_TIMEOUT.max(2 * round_trip) {
                return Some(silence);
            }
            continue;
        }
        let limit = peer.queue.round_trip().unwrap_or_default() * ROUND_TRIPS;
        let limit = limit.max(MIN_SILENCE);
        if silence >= limit * (1 + MAX_UNANSWERED) {
            return Some(silence);
        }
        if silence >= limit {
            peer.queue.queue_ping();
        }
    }
    None
}

/// Waits for a tick, or until a probe starts if none is running.
fn tick_or_probe(peer: &Peer, suspected: bool) -> impl Future<Output = ()> + Send {
    let mut tick = clock::after(TICK);
    poll_fn(move |cx: &mut Context<'_>| {
        let is_over = Pin::new(&mut tick).poll(cx).is_ready();
        match is_over || (!suspected && peer.queue.liveness_inputs().is_probing) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
}
