//! Serves peers: one loop from a link to the next.
//!
//! ```text
//!            start_connection                         handle_stream
//!                   │                                       │
//!                   ▼                                       ▼
//!   ┌──────► dialer::connect ──────► link_up ◄────── acceptor::accept
//!   │           ▲                       │
//!   │           │ dialed                ▼
//!   │           ├──────────────── link runs (Peer::run)
//!   │           │                       │ it ended, or another task requests the lease
//!   │           │                       ▼
//!   │           │                   link_down ──── dialed ────► back-off ───┐
//!   │           │                       │                                   │
//!   │           │                       ▼ accepted                          │
//!   │           └───────────────── await_reconnect ── window over ──► ended │
//!   └───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! One task holds the lease of a peer at a time. A handshake that resumes the peer, and a merge,
//! request it; the holder then ends the link, or stops dialing, and passes it on.

#[cfg(all(test, feature = "noise"))]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use futures_lite::future;

use crate::error::{AttemptError, DownReason, DropReason, HandshakeError};
use crate::events::Event;
use crate::peer::{MergeMessage, Peer};
use crate::primitives::clock::{self, within};
use crate::proto::Id;
use crate::session::acceptor::{self, Accepted};
use crate::session::connect::FailedAttempt;
use crate::session::dialer::{self, Established, next_delay, report};
use crate::session::peer_lease::PeerLease;
use crate::session::{key_exchange, merge, probe};
use crate::shared::TaskRef;
use crate::transport::{Link, Stream};

/// A delay before a dial, and the count of kicks at its start: a later kick ends it early.
type RedialDelay = (Duration, u32);

/// Starts to dial a peer. It is dialed again after each of its links, until it is stopped.
pub(crate) fn start_connection(running: &Arc<TaskRef>, peer: Arc<Peer>) {
    if let Some(lease) = PeerLease::try_acquire(running, &peer) {
        start_dialing(running, lease);
    }
}

/// Dials a peer that has no link, without delay.
fn start_dialing(running: &Arc<TaskRef>, lease: PeerLease) {
    dial_task(running.clone(), lease, None);
}

/// Spawns the task that dials a peer until a link is up, after `delay` if there is one.
fn dial_task(running: Arc<TaskRef>, lease: PeerLease, delay: Option<RedialDelay>) {
    let task = running.clone();
    running.spawn(async move {
        let peer = lease.peer.clone();
        let dialing = async {
            if let Some((time, kicks)) = delay {
                peer.wait_or_kick(time, kicks).await;
            }
            dialer::connect(&task, &peer).await
        };
        // Boxed separately: its memory is freed as a whole, and leaves no fragments.
        let established = Box::pin(until_cancelled(&lease, dialing)).await;
        match established.flatten() {
            Some(established) => bring_up(&task, lease, established).await,
            None if peer.is_stopping() => {}
            // The task that requested the lease may have cancelled its request.
            None => resume(&task, lease).await,
        }
    });
}

/// Brings up an established link and serves it. Dials again later if the router id is not granted.
async fn bring_up(running: &Arc<TaskRef>, lease: PeerLease, established: Established) {
    match spawn_link(running, &lease, established).await {
        Ok(restart) => setup_cleanuptask(running.clone(), lease, restart),
        Err(failure) => {
            let retry = lease.peer.back_off(&running.limits);
            let delay = (retry, lease.peer.kicks());
            report(running, &lease.peer, failure, Some(retry));
            dial_task(running.clone(), lease, Some(delay));
        }
    }
}

/// Starts the handshake, as the dialer, over a stream that the caller opened. The peer lasts as
/// long as that stream.
pub(crate) fn start_stream(
    running: &Arc<TaskRef>,
    peer: Arc<Peer>,
    stream: Arc<dyn Stream>,
    addr: Option<SocketAddr>,
) {
    let Some(lease) = PeerLease::try_acquire(running, &peer) else { return };
    let task = running.clone();
    running.spawn(async move {
        let started = clock::now();
        let dialing = Box::pin(dialer::handshake(&task, &peer, stream, addr, &[]));
        match until_cancelled(&lease, dialing).await {
            Some(Ok(established)) => match spawn_link(&task, &lease, established).await {
                Ok(restart) => setup_cleanuptask(task, lease, restart),
                Err(failure) => report(&task, &peer, failure, None),
            },
            Some(Err(error)) => {
                let reason = AttemptError::Handshake(error);
                let took = clock::since(started);
                let failure = FailedAttempt { addr: stream_label(addr), reason, took };
                report(&task, &peer, failure, None);
            }
            None => {}
        }
    });
}

/// The label of a stream in events: its address, if the caller gave one.
fn stream_label(addr: Option<SocketAddr>) -> String {
    addr.map_or_else(|| "given stream".to_owned(), |addr| addr.to_string())
}

/// Runs `future` until the peer is stopped, or another task requests its lease. `None` if so.
async fn until_cancelled<T>(lease: &PeerLease, future: impl Future<Output = T>) -> Option<T> {
    let cancelled = async {
        future::or(lease.requested(), lease.peer.stopped()).await;
        None
    };
    future::or(cancelled, async { Some(future.await) }).await
}

/// Serves an inbound stream: runs the handshake, and then the link of the peer until it ends. If a
/// stream does not become a link it is dropped, and an event gives the reason.
///
/// This future lives as long as the link, so it is kept small: the states before and after are
/// boxed separately.
pub(crate) fn handle_stream(
    running: Arc<TaskRef>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
) -> impl Future<Output = ()> + Send {
    let accepting = Box::pin(bring_up_accepted(running.clone(), stream, addr));
    async move {
        let Some((lease, link)) = accepting.await else { return };
        run_link(running, lease, link).await;
    }
}

/// Accepts a stream and brings its link up. `None` if either fails.
async fn bring_up_accepted(
    running: Arc<TaskRef>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
) -> Option<(PeerLease, Arc<Link>)> {
    let lease = match acceptor::accept(running.clone(), stream, addr).await {
        Accepted::Established(lease, link, id, is_resumed) => {
            match link_up(&running, &lease.peer, &link, id).await {
                Ok(()) => return Some((lease, link)),
                Err(error) => {
                    running.events.dropped(Some(addr), DropReason::Handshake(error));
                    is_resumed.then_some(lease)
                }
            }
        }
        Accepted::Failed(lease) => lease,
    };
    // A resumed peer whose new link failed waits for the next one.
    if let Some(lease) = lease {
        let task = running.clone();
        running.spawn(async move { resume(&task, lease).await });
    }
    None
}

/// Runs an inbound link until it ends, and then resumes its peer.
fn run_link(
    running: Arc<TaskRef>,
    lease: PeerLease,
    link: Arc<Link>,
) -> impl Future<Output = ()> + Send {
    async move {
        let reason = {
            let peer = &lease.peer;
            let on_merge = |message| on_merge_message(&running, peer, message);
            let drain = &running.limits.drain_timeout;
            let serving = peer.run(&link, &running.inbound, drain, &on_merge);
            let replaced = async {
                lease.requested().await;
                DownReason::Replaced
            };
            future::or(serving, replaced).await
        };
        // Closed before the wait for the next link.
        drop(link);
        if lease.is_requested() || !lease.peer.is_dialed() {
            link_down(&running, &lease.peer, reason, None);
            Box::pin(resume(&running, lease)).await;
        } else {
            schedule_redial(&running, lease, reason);
        }
    }
}

/// Resumes a peer that has no link: dials it if it has an address, or waits for it to reconnect.
pub(crate) async fn resume(running: &Arc<TaskRef>, lease: PeerLease) {
    let mut lease = lease;
    lease.peer.set_coming_up(false);
    if lease.peer.has_ended() {
        // It was merged into another peer while this task waited for the lease.
        return;
    }
    if lease.is_requested() {
        match lease.yield_now().await {
            Some(returned) => lease = returned,
            None => return,
        }
    }
    match lease.peer.is_dialed() {
        true => start_dialing(running, lease),
        false => await_reconnect(running, lease).await,
    }
}

/// Waits for a peer that is not dialed to resume its session, and ends it once `resume_window` is
/// over. A plain peer ends immediately: nothing distinguishes it from another node that claims its
/// id.
async fn await_reconnect(running: &TaskRef, mut lease: PeerLease) {
    let until = clock::now() + running.limits.resume_window;
    while lease.peer.is_resumable() && clock::now() < until {
        running.track_disconnected(&lease.peer);
        let woken = future::or(lease.requested(), lease.peer.stopped());
        within(until.saturating_duration_since(clock::now()), woken).await;
        if lease.is_requested() {
            match lease.yield_now().await {
                Some(returned) => lease = returned,
                None => return,
            }
        }
    }
    running.routes.remove_peer(lease.peer.target()).await;
}

/// Handles a merge message of the remote node, and spawns the merge that it starts, if any.
fn on_merge_message(running: &Arc<TaskRef>, peer: &Arc<Peer>, message: MergeMessage) {
    if let Some(merge) = merge::on_message(running, peer, message) {
        let task = running.clone();
        running.spawn(async move {
            if let Some(lease) = merge.await {
                resume(&task, lease).await;
            }
        });
    }
}

/// Marks a link as up and spawns the task that runs it. The channel yields the reason when the link
/// ends.
async fn spawn_link(
    running: &Arc<TaskRef>,
    lease: &PeerLease,
    (link, id): Established,
) -> Result<Receiver<DownReason>, FailedAttempt> {
    let peer = lease.peer.clone();
    if let Err(error) = link_up(running, &peer, &link, id).await {
        let addr = stream_label(link.addr);
        return Err(FailedAttempt {
            addr,
            reason: AttemptError::Handshake(error),
            took: Duration::ZERO,
        });
    }
    let (ended, restart) = async_channel::bounded(1);
    let task = running.clone();
    let requested = lease.requested();
    running.spawn(async move {
        let on_merge = |message| on_merge_message(&task, &peer, message);
        let serving = peer.run(&link, &task.inbound, &task.limits.drain_timeout, &on_merge);
        let replaced = async {
            requested.await;
            DownReason::Replaced
        };
        let reason = future::or(serving, replaced).await;
        // Fails only if the cleanup task was dropped, together with the executor.
        let _ = ended.try_send(reason);
    });
    Ok(restart)
}

/// Spawns the task that waits for the end of a link. It then dials again, or ends the peer if it
/// has no address.
fn setup_cleanuptask(running: Arc<TaskRef>, lease: PeerLease, restart: Receiver<DownReason>) {
    let task = running.clone();
    running.spawn(async move {
        let reason = restart.recv().await.unwrap_or(DownReason::Failed);
        if lease.is_requested() {
            link_down(&task, &lease.peer, reason, None);
            return resume(&task, lease).await;
        }
        match lease.peer.is_dialed() {
            true => schedule_redial(&task, lease, reason),
            false => link_down(&task, &lease.peer, reason, None),
        }
    });
}

/// Dials a peer again after its link ended: after the longer of the back-off and the retry-after of
/// a goodbye.
fn schedule_redial(running: &Arc<TaskRef>, lease: PeerLease, reason: DownReason) {
    let peer = lease.peer.clone();
    if peer.is_stopping() {
        return link_down(running, &peer, reason, None);
    }
    let retry_after = match &reason {
        DownReason::Goodbye(goodbye) => goodbye.retry_after,
        _ => None,
    };
    let delay = next_delay(peer.back_off_after_link(&running.limits), retry_after);
    let kicks = peer.kicks();
    link_down(running, &peer, reason, Some(delay));
    dial_task(running.clone(), lease, Some((delay, kicks)));
}

/// Marks the link of a peer as up and announces it. Fails if another peer has claimed the router id
/// since the handshake.
async fn link_up(
    running: &Arc<TaskRef>,
    peer: &Arc<Peer>,
    link: &Arc<Link>,
    id: Id,
) -> Result<(), HandshakeError> {
    key_exchange::claim_id(running, peer, id, link)?;
    probe::probe_claimed(running, peer, id);
    running.routes.add_peer(peer.target(), peer.clone()).await;
    let event = Event::Up {
        target: peer.target(),
        id,
        addr: link.addr,
        origin: peer.origin(),
        peer_type: peer.peer_type(),
        key: link.key(),
    };
    running.events.emit_about(peer, event);
    if running.events.needs_reporter() {
        let task = running.clone();
        running.spawn(async move {
            future::or(task.events.report_suppressed(), task.stopping()).await;
        });
    }
    merge::announce_duplicates(running, peer);
    Ok(())
}

/// Marks the link of a peer as down and announces it. `retry` is the time until the next dial.
fn link_down(running: &TaskRef, peer: &Peer, reason: DownReason, retry: Option<Duration>) {
    peer.link_down(&reason, retry);
    running.events.emit_about(peer, Event::Down { target: peer.target(), reason, retry });
}
