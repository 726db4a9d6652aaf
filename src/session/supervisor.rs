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
    if let Some(service) = PeerLease::try_acquire(running, &peer) {
        start_dialing(running, service);
    }
}

/// Dials a peer that has no link, without delay.
fn start_dialing(running: &Arc<TaskRef>, service: PeerLease) {
    dial_task(running.clone(), service, None);
}

/// Spawns the task that dials a peer until a link is up, after `wait` if there is one.
fn dial_task(running: Arc<TaskRef>, service: PeerLease, wait: Option<RedialDelay>) {
    let task = running.clone();
    running.spawn(async move {
        let peer = service.peer.clone();
        let dialing = async {
            if let Some((delay, seen)) = wait {
                peer.wait_or_kick(delay, seen).await;
            }
            dialer::connect(&task, &peer).await
        };
        // Boxed separately: its memory is freed as a whole, and leaves no fragments.
        let connected = Box::pin(until_cancelled(&service, dialing)).await;
        match connected.flatten() {
            Some(connected) => bring_up(&task, service, connected).await,
            None if peer.is_stopping() => {}
            // The task that requested the lease may have cancelled its request.
            None => resume(&task, service).await,
        }
    });
}

/// Brings up an established link and serves it. Dials again later if the router id is not granted.
async fn bring_up(running: &Arc<TaskRef>, service: PeerLease, connected: Established) {
    match spawn_link(running, &service, connected).await {
        Ok(restart) => setup_cleanuptask(running.clone(), service, restart),
        Err(failure) => {
            let retry = next_delay(&running.limits, &service.peer, None);
            let wait = (retry, service.peer.kicks());
            report(running, &service.peer, failure, Some(retry));
            dial_task(running.clone(), service, Some(wait));
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
    let Some(service) = PeerLease::try_acquire(running, &peer) else { return };
    let task = running.clone();
    running.spawn(async move {
        let started = clock::now();
        let shaking = Box::pin(dialer::handshake(&task, &peer, stream, addr, &[]));
        match until_cancelled(&service, shaking).await {
            Some(Ok(connected)) => match spawn_link(&task, &service, connected).await {
                Ok(restart) => setup_cleanuptask(task, service, restart),
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
async fn until_cancelled<T>(service: &PeerLease, future: impl Future<Output = T>) -> Option<T> {
    let called_off = async {
        future::or(service.lease.requested(), service.peer.stopped()).await;
        None
    };
    future::or(called_off, async { Some(future.await) }).await
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
        let Some((service, link)) = accepting.await else { return };
        run_link(running, service, link).await;
    }
}

/// Accepts a stream and brings its link up. `None` if either fails.
async fn bring_up_accepted(
    running: Arc<TaskRef>,
    stream: Arc<dyn Stream>,
    addr: SocketAddr,
) -> Option<(PeerLease, Arc<Link>)> {
    let left = match acceptor::accept(running.clone(), stream, addr).await {
        Accepted::Established(service, link, id, is_resumed) => {
            match link_up(&running, &service.peer, &link, id).await {
                Ok(()) => return Some((service, link)),
                Err(error) => {
                    running.events.dropped(Some(addr), DropReason::Handshake(error));
                    is_resumed.then_some(service)
                }
            }
        }
        Accepted::Failed(left) => left,
    };
    // A peer that was acquired for a link that then failed resumes waiting for one.
    if let Some(service) = left {
        let task = running.clone();
        running.spawn(async move { resume(&task, service).await });
    }
    None
}

/// Runs an inbound link until it ends, and then resumes its peer.
fn run_link(
    running: Arc<TaskRef>,
    service: PeerLease,
    link: Arc<Link>,
) -> impl Future<Output = ()> + Send {
    async move {
        let reason = {
            let peer = &service.peer;
            let on_merge = |message| on_merge_message(&running, peer, message);
            let drain = &running.limits.drain_timeout;
            let serving = peer.run(&link, &running.inbound, drain, &on_merge);
            let replaced = async {
                service.lease.requested().await;
                DownReason::Replaced
            };
            future::or(serving, replaced).await
        };
        // Closed before the wait for the next link.
        drop(link);
        if service.lease.is_requested() || !service.peer.is_dialed() {
            link_down(&running, &service.peer, reason, None);
            Box::pin(resume(&running, service)).await;
        } else {
            schedule_redial(&running, service, reason);
        }
    }
}

/// Resumes a peer that has no link: dials it if it has an address, or waits for it to reconnect.
pub(crate) async fn resume(running: &Arc<TaskRef>, service: PeerLease) {
    let mut service = service;
    service.peer.set_coming_up(false);
    if service.peer.has_ended() {
        // It was merged into another peer while this task waited for the lease.
        return;
    }
    if service.lease.is_requested() {
        match service.yield_now().await {
            Some(unwanted) => service = unwanted,
            None => return,
        }
    }
    match service.peer.is_dialed() {
        true => start_dialing(running, service),
        false => await_reconnect(running, service).await,
    }
}

/// Waits for a peer that is not dialed to resume its session, and ends it once `resume_window` is
/// over. A plain peer ends immediately: nothing distinguishes it from another node that claims its
/// id.
async fn await_reconnect(running: &TaskRef, mut service: PeerLease) {
    let until = clock::now() + running.limits.resume_window;
    while service.peer.is_resumable() && clock::now() < until {
        running.track_disconnected(&service.peer);
        let woken = future::or(service.lease.requested(), service.peer.stopped());
        within(until.saturating_duration_since(clock::now()), woken).await;
        if service.lease.is_requested() {
            match service.yield_now().await {
                Some(unwanted) => service = unwanted,
                None => return,
            }
        }
    }
    running.routes.remove_peer(service.peer.target()).await;
}

/// Handles a merge message of the remote node, and spawns the merge that it starts, if any.
fn on_merge_message(running: &Arc<TaskRef>, peer: &Arc<Peer>, message: MergeMessage) {
    if let Some(merging) = merge::on_message(running, peer, message) {
        let task = running.clone();
        running.spawn(async move {
            if let Some(stays) = merging.await {
                resume(&task, stays).await;
            }
        });
    }
}

/// Marks a link as up and spawns the task that runs it. The channel yields the reason when the link
/// ends.
async fn spawn_link(
    running: &Arc<TaskRef>,
    service: &PeerLease,
    (link, id): Established,
) -> Result<Receiver<DownReason>, FailedAttempt> {
    let peer = service.peer.clone();
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
    let wanted = service.lease.requested();
    running.spawn(async move {
        let on_merge = |message| on_merge_message(&task, &peer, message);
        let serving = peer.run(&link, &task.inbound, &task.limits.drain_timeout, &on_merge);
        let replaced = async {
            wanted.await;
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
fn setup_cleanuptask(running: Arc<TaskRef>, service: PeerLease, restart: Receiver<DownReason>) {
    let task = running.clone();
    running.spawn(async move {
        let reason = restart.recv().await.unwrap_or(DownReason::Failed);
        if service.lease.is_requested() {
            link_down(&task, &service.peer, reason, None);
            return resume(&task, service).await;
        }
        match service.peer.is_dialed() {
            true => schedule_redial(&task, service, reason),
            false => link_down(&task, &service.peer, reason, None),
        }
    });
}

/// Dials a peer again after its link ended: after the longer of the back-off and the retry-after of
/// a goodbye.
fn schedule_redial(running: &Arc<TaskRef>, service: PeerLease, reason: DownReason) {
    let peer = service.peer.clone();
    if peer.is_stopping() {
        return link_down(running, &peer, reason, None);
    }
    let asked = match &reason {
        DownReason::Goodbye(goodbye) => goodbye.retry_after,
        _ => None,
    };
    if peer.should_reset_backoff(running.limits.redial_reset) {
        peer.reset_backoff();
    }
    let delay = next_delay(&running.limits, &peer, asked);
    let seen = peer.kicks();
    link_down(running, &peer, reason, Some(delay));
    dial_task(running.clone(), service, Some((delay, seen)));
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
    running.events.emit(Event::Up {
        target: peer.target(),
        id,
        addr: link.addr,
        origin: peer.origin(),
        peer_type: peer.peer_type(),
        key: link.key(),
    });
    merge::announce_duplicates(running, peer);
    Ok(())
}

/// Marks the link of a peer as down and announces it. `retry` is the time until the next dial.
fn link_down(running: &TaskRef, peer: &Peer, reason: DownReason, retry: Option<Duration>) {
    peer.link_down(&reason, retry);
    running.events.emit(Event::Down { target: peer.target(), reason, retry });
}

#[cfg(all(test, feature = "noise"))]
mod tests {
    use super::*;
    use crate::config::Encryption;
    use crate::config::Global;
    use crate::config::KeyPair;
    use crate::error::AttemptError;
    use crate::events::Events;
    use crate::peer::Origin;
    use crate::proto::{PeerType, PublicKey};
    use crate::session::peer_lease::PeerLease;
    use crate::testing::kit::pipe::Pipe;
    use futures_lite::future::block_on;

    const SEVEN: Id = Id::from_bytes([7; 32]);

    fn public(number: u8) -> PublicKey {
        KeyPair::from_bytes([number; 32]).public()
    }

    fn node() -> Arc<TaskRef> {
        crate::session::test_support::encrypting(
            Global,
            Encryption::new(KeyPair::from_bytes([1; 32])),
        )
    }

    /// A link to the node that has the key with this number.
    fn link(number: u8) -> Arc<Link> {
        Link::keyed(Pipe::pair().0, None, Vec::new(), Some(Arc::new(SEVEN)), Some(public(number)))
    }

    fn told(events: &Events) -> Vec<Event> {
        std::iter::from_fn(|| events.try_next().unwrap()).collect()
    }

    /// Regression: both claims were checked before either link was up, so both were granted.
    #[test]
    fn of_two_who_claim_an_id_at_once_the_later_is_never_told_to_be_up() {
        let running = node();
        let enter = || {
            let peer = running.add_linked(PeerType::Standard, Origin::Accepted, None).unwrap();
            PeerLease::try_acquire(&running, &peer).unwrap()
        };
        let (first, second) = (enter(), enter());
        block_on(link_up(&running, &first.peer, &link(2), SEVEN)).unwrap();
        let events = running.events.subscribe();
        told(&events);
        let refused = block_on(link_up(&running, &second.peer, &link(3), SEVEN)).unwrap_err();
        let is_due = matches!(refused, HandshakeError::IdTaken { id, key, holder }
            if id == SEVEN && key == Some(public(3)) && holder == Some(public(2)));
        assert!(is_due, "{refused}");
        assert_eq!(second.peer.id(), None);
        // A peer that was never announced is not announced as removed either.
        drop(second);
        let told = told(&events);
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(first.peer.id(), Some(SEVEN));
    }

    #[test]
    fn one_that_is_dialed_has_an_attempt_that_failed() {
        let running = node();
        let add = |number| {
            let dial = format!("far:900{number}").parse().unwrap();
            let peer = Arc::new(Peer::dialed(number, dial, running.new_queue()));
            let peer = running.add_peers(|_| Ok::<_, ()>(vec![peer])).unwrap().remove(0);
            PeerLease::try_acquire(&running, &peer).unwrap()
        };
        let (first, second) = (add(0), add(1));
        block_on(link_up(&running, &first.peer, &link(2), SEVEN)).unwrap();
        let events = running.events.subscribe();
        told(&events);
        block_on(bring_up(&running, second, (link(3), SEVEN)));
        let told = told(&events);
        let is_due = matches!(
            &told[..],
            [Event::Attempt {
                target: 1,
                reason: AttemptError::Handshake(HandshakeError::IdTaken { .. }),
                retry: Some(_),
                ..
            }]
        );
        assert!(is_due, "{told:?}");
    }
}
