//! Dialing a peer, and dialing it again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_channel::Receiver;
use futures_lite::future;

use crate::config::Limits;
use crate::error::{AttemptError, DownReason, HandshakeError};
use crate::events::Event;
use crate::peer::Peer;
use crate::primitives::clock::{self, within};
use crate::proto::{Hello, Id, InvalidAck, PeerAddr, PublicKey};
use crate::session::connect::{FailedAttempt, connect_any};
use crate::session::handshake::{Handshake, LocalHello, Negotiated};
use crate::session::peer_lease::PeerLease;
use crate::session::{acceptor, key_exchange, link_down, link_up, merge};
use crate::shared::TaskRef;
use crate::transport::{Link, Stream};

/// A stream that has shaken hands, and whom it leads to.
pub(crate) type Established = (Arc<Link>, Id);

/// A wait before a dial: for so long, unless the peer is kicked more often than this meanwhile.
type RedialDelay = (Duration, u32);

/// Starts to dial a peer. After each of its links it is dialed again, until it is told to stop.
pub(crate) fn start_connection(running: &Arc<TaskRef>, peer: Arc<Peer>) {
    if let Some(service) = PeerLease::try_acquire(running, &peer) {
        start_dialing(running, service);
    }
}

/// Dials a peer that has no link, from now on.
pub(crate) fn start_dialing(running: &Arc<TaskRef>, service: PeerLease) {
    dial_task(running.clone(), service, None);
}

fn dial_task(running: Arc<TaskRef>, service: PeerLease, wait: Option<RedialDelay>) {
    let task = running.clone();
    running.spawn(async move {
        let peer = service.peer.clone();
        let dialing = async {
            if let Some((delay, seen)) = wait {
                peer.wait_or_kick(delay, seen).await;
            }
            connect(&task, &peer).await
        };
        // In a box of its own: what it needs is freed as a whole, and leaves no holes.
        let connected = Box::pin(until_cancelled(&service, dialing)).await;
        match connected.flatten() {
            Some(connected) => bring_up(&task, service, connected).await,
            None if peer.is_stopping() => {}
            // Who wanted the peer may have given up by now.
            None => acceptor::resume(&task, service).await,
        }
    });
}

/// Serves a peer over its link, if it may have one to that node; otherwise dials it again.
pub(crate) async fn bring_up(running: &Arc<TaskRef>, service: PeerLease, connected: Established) {
    match run_link(running, &service, connected).await {
        Ok(restart) => setup_cleanuptask(running.clone(), service, restart),
        Err(failure) => {
            let retry = next_delay(&running.limits, &service.peer, None);
            let wait = (retry, service.peer.kicks());
            report(running, &service.peer, failure, Some(retry));
            dial_task(running.clone(), service, Some(wait));
        }
    }
}

/// Starts to shake hands, as the dialer, over a stream that the caller opened. The peer lasts as
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
        let shaking = Box::pin(handshake(&task, &peer, stream, addr, &[]));
        match until_cancelled(&service, shaking).await {
            Some(Ok(connected)) => match run_link(&task, &service, connected).await {
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

/// Where a stream leads to, as far as whoever gave it said so.
fn stream_label(addr: Option<SocketAddr>) -> String {
    addr.map_or_else(|| "given stream".to_owned(), |addr| addr.to_string())
}

/// The result of `future`, unless the peer is told to stop first, or another task wants it.
async fn until_cancelled<T>(service: &PeerLease, future: impl Future<Output = T>) -> Option<T> {
    let called_off = async {
        future::or(service.lease.requested(), service.peer.stopped()).await;
        None
    };
    future::or(called_off, async { Some(future.await) }).await
}

/// Dials until the other side has answered as it should. `None` once the peer has no address.
async fn connect(running: &TaskRef, peer: &Arc<Peer>) -> Option<Established> {
    let mut opened = None;
    for number in 0.. {
        let seen = peer.kicks();
        peer.connecting();
        let addrs = peer.dial_addrs();
        let addr = addrs.get(number % addrs.len().max(1))?;
        // In boxes, here and below: a peer that waits for its next dial does not hold the memory of
        // one, and what wraps a future would hold it several times.
        let dialing = Box::pin(attempt(running, peer, addr, &mut opened));
        let dialing = async { Some(dialing.await) };
        let kicked = async {
            peer.kicked(seen).await;
            None
        };
        let failures = match future::or(dialing, kicked).await {
            Some(Ok(connected)) => return Some(connected),
            Some(Err(failures)) => failures,
            None => continue,
        };
        let asked = failures.iter().filter_map(FailedAttempt::retry_after).max();
        let retry = next_delay(&running.limits, peer, asked);
        for failure in failures {
            report(running, peer, failure, Some(retry));
        }
        peer.wait_or_kick(retry, seen).await;
    }
    None
}

/// How long to wait before the next dial: as long as the other side asked for, but no less than the
/// back-off, so that nobody has this node hammer.
fn next_delay(limits: &Limits, peer: &Peer, asked: Option<Duration>) -> Duration {
    peer.back_off(limits).max(asked.unwrap_or_default())
}

/// Dials once. Notes which address of a name could be `opened`, and begins with the one after that
/// which was: if it still is of interest, it did not shake hands.
async fn attempt(
    running: &TaskRef,
    peer: &Arc<Peer>,
    dial: &PeerAddr,
    opened: &mut Option<SocketAddr>,
) -> Result<Established, Vec<FailedAttempt>> {
    let begun = clock::now();
    let (stream, addr) = connect_any(running, peer, dial, *opened).await?;
    *opened = Some(addr);
    let started = clock::now();
    let keys = acceptable_keys(peer, dial);
    let shaken = handshake(running, peer, stream, Some(addr), &keys).await;
    if shaken.is_ok() {
        peer.record_attempt(addr.to_string(), clock::since(begun), None);
    }
    shaken.map_err(|error| {
        let reason = AttemptError::Handshake(error);
        vec![FailedAttempt { addr: addr.to_string(), reason, took: clock::since(started) }]
    })
}

/// The keys of which the node at an address of this peer must have one; if there are none, any will
/// do.
fn acceptable_keys(peer: &Peer, dial: &PeerAddr) -> Vec<PublicKey> {
    // Of all its addresses: one that a merge brought may name no key, and leads to the same node.
    let addrs = peer.dial_addrs();
    let pinned: Vec<_> = addrs.iter().flat_map(|addr| addr.keys().iter().copied()).collect();
    match peer.proved_key_at(dial) {
        // Nobody named one. Still, what waits for a node at one address is not for whoever is at
        // another, but the node that had both, or that has the first one now.
        Some(proved) if pinned.is_empty() => [proved].into_iter().chain(peer.key()).collect(),
        _ => pinned,
    }
}

/// Shakes hands as the dialer, with a node that has one of these keys, if there are any.
async fn handshake(
    running: &TaskRef,
    peer: &Arc<Peer>,
    stream: Arc<dyn Stream>,
    addr: Option<SocketAddr>,
    keys: &[PublicKey],
) -> Result<Established, HandshakeError> {
    let port = running.port.load(Ordering::Relaxed);
    let hello = Hello { id: running.id, peer_type: peer.peer_type(), port };
    let fresh = LocalHello::new(running.boot)?;
    let pair = peer.session();
    let pair = pair.as_ref().map(|pair| (pair, peer.queue.received_total()));
    let limit = running.limits.handshake_bytes;
    let mut handshake = Handshake::new(stream, limit, Some(running), keys);
    let _shaking = DialGuard::begin(peer);
    let shaking = Box::pin(handshake.dial(&hello, &fresh, pair));
    let shaken = within(running.limits.handshake_timeout, shaking).await;
    let (id, terms) = shaken.ok_or(HandshakeError::TimedOut)??;
    let key = handshake.key();
    key_exchange::check_claim(running, id, key, Some(peer))?;
    let shares_records = !matches!(terms, Negotiated::Plain);
    apply_terms(running, peer, id, terms)?;
    let (stream, ahead) = handshake.into_stream();
    let records_as = shares_records.then(|| running.records_as.clone());
    Ok((Link::keyed(stream, addr, ahead, records_as, key), id))
}

/// Notes for as long as it lives that this node shakes hands with a peer as the dialer.
struct DialGuard<'a>(&'a Peer);

impl DialGuard<'_> {
    fn begin(peer: &Peer) -> DialGuard<'_> {
        peer.set_dialing(true);
        DialGuard(peer)
    }
}

impl Drop for DialGuard<'_> {
    fn drop(&mut self) {
        self.0.set_dialing(false);
    }
}

/// Goes on with a peer on the terms of its new link.
fn apply_terms(
    running: &TaskRef,
    peer: &Arc<Peer>,
    id: Id,
    terms: Negotiated,
) -> Result<(), HandshakeError> {
    match terms {
        Negotiated::Resumed { received } => {
            let resumed = peer.queue.resume(received);
            return resumed.map_err(|InvalidAck| HandshakeError::NotProved);
        }
        Negotiated::New(pair) => running.start_session(peer, id, Some(pair)),
        Negotiated::Plain => running.start_session(peer, id, None),
    }
    Ok(())
}

fn report(running: &TaskRef, peer: &Peer, failure: FailedAttempt, retry: Option<Duration>) {
    let FailedAttempt { addr, reason, took } = failure;
    peer.record_attempt(addr.clone(), took, Some(&reason));
    peer.attempt_failed(&reason, retry);
    running.events.emit(Event::Attempt { target: peer.target(), addr, reason, retry });
}

/// Enters a peer's link and starts the task that serves it. The channel tells when it ended, and
/// why.
async fn run_link(
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
        let notices = |notice| merge::on_message(&task, &peer, notice);
        let serving = peer.run(&link, &task.inbound, &task.limits.drain_timeout, &notices);
        let replaced = async {
            wanted.await;
            DownReason::Replaced
        };
        let reason = future::or(serving, replaced).await;
        // It fails only if the cleanup task was dropped, and with it the executor.
        let _ = ended.try_send(reason);
    });
    Ok(restart)
}

/// Starts the task that waits for the end of a link, and then dials again, or ends the peer if
/// there is nothing to dial.
fn setup_cleanuptask(running: Arc<TaskRef>, service: PeerLease, restart: Receiver<DownReason>) {
    let task = running.clone();
    running.spawn(async move {
        let reason = restart.recv().await.unwrap_or(DownReason::Failed);
        if service.lease.is_requested() {
            link_down(&task, &service.peer, reason, None);
            return acceptor::resume(&task, service).await;
        }
        match service.peer.is_dialed() {
            true => schedule_redial(&task, service, reason),
            false => link_down(&task, &service.peer, reason, None),
        }
    });
}

/// Dials a peer again whose link ended.
pub(crate) fn schedule_redial(running: &Arc<TaskRef>, service: PeerLease, reason: DownReason) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{MemoryBudget, Origin, SendQueue};
    use crate::proto::PeerType;

    #[test]
    fn the_longer_of_back_off_and_retry_after_is_waited() {
        let [short, long] = [1, 600].map(Duration::from_secs);
        let next = |most, asked| {
            let limits = Limits { redial_first: most, redial_cap: most, ..Limits::default() };
            let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
            let peer = Peer::linked(0, PeerType::Standard, Origin::Accepted, queue);
            next_delay(&limits, &peer, asked)
        };
        assert_eq!(next(Duration::ZERO, None), Duration::ZERO);
        assert_eq!(next(Duration::ZERO, Some(long)), long);
        // Whatever is drawn of it, it is the same as without being asked, or longer.
        assert!((0..20).any(|_| next(long, Some(short)) > short));
        assert!((0..20).all(|_| next(long, Some(short)) >= short));
    }
}
