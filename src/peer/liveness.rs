//! Finding out that the other side of a link is gone.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::error::DownReason;
use crate::peer::Peer;
use crate::primitives::clock;
use crate::transport::Link;

/// How often a link is looked at while there is something to watch. A quiet link is not.
const TICK: Duration = Duration::from_secs(1);

/// Ticks between two signs of life of a node that does not read.
const PAUSED_INTERVAL: u32 = 2;

/// Shortest silence, while something is owed, after which the other side is probed.
const MIN_SILENCE: Duration = Duration::from_secs(5);

/// The same in smoothed round trips.
const ROUND_TRIPS: u32 = 4;

/// Silences after the probe before the link is given up. With a round trip of 2 s and one packet
/// in twenty lost, TCP itself is silent for a dozen seconds now and then; a link that makes
/// progress must not be dropped.
const MAX_UNANSWERED: u32 = 2;

/// Silence after which a link is given up whose other side was seen elsewhere, or that was kicked.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Watches a link that carries records, and returns when the other side gives no sign of life
/// though it owes one. Any byte is a sign of life. The kernel watches a plain one.
///
/// It is polled after the reader and the writer of the same task, so it needs no waker of its own
/// to learn that there is something to watch.
pub(crate) fn run_monitor<'a>(
    peer: &'a Peer,
    link: &'a Link,
) -> impl Future<Output = DownReason> + Send + Unpin + use<'a> {
    let mut watching = None;
    poll_fn(move |cx: &mut Context<'_>| {
        while watching.is_some() || must_watch(peer, link) {
            // A link that is quiet does not hold the memory for this.
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

/// Watches until nothing is owed any more. Returns how long the other side was silent, if that is
/// too long.
async fn monitor(peer: &Peer, link: &Link) -> Option<Duration> {
    let mut reads = link.activity();
    let mut silence = Duration::ZERO;
    let mut suspected = peer.queue.liveness_inputs().is_probing;
    for tick in 1u32.. {
        tick_or_probe(peer, suspected).await;
        let watched = peer.queue.arm_monitor();
        if watched.is_probing && !suspected {
            // What came before the suspicion tells nothing about it.
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
        // A side that does not read cannot tell whether the other one lives.
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

/// Waits for a tick, or until a suspicion comes up if there is none yet.
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
