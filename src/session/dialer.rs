//! Dials a peer until a handshake succeeds, and returns the established link. Spawns no tasks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_lite::future;

use crate::config::Limits;
use crate::error::{AttemptError, HandshakeError};
use crate::events::Event;
use crate::peer::Peer;
use crate::primitives::clock::{self, within};
use crate::proto::{Hello, Id, InvalidAck, PeerAddr, PublicKey};
use crate::session::connect::{FailedAttempt, connect_any};
use crate::session::handshake::{Handshake, LocalHello, Negotiated};
use crate::session::key_exchange;
use crate::shared::TaskRef;
use crate::transport::{Link, Stream};

/// An established link, and the router id that the remote node claims.
pub(crate) type Established = (Arc<Link>, Id);

/// Dials until a handshake succeeds. `None` once the peer has no address.
pub(crate) async fn connect(running: &TaskRef, peer: &Arc<Peer>) -> Option<Established> {
    let mut opened = None;
    for number in 0.. {
        let seen = peer.kicks();
        peer.connecting();
        let addrs = peer.dial_addrs();
        let addr = addrs.get(number % addrs.len().max(1))?;
        // Boxed, here and below: a peer that waits for its next dial does not hold the memory of
        // one, and the futures that wrap it would each reserve space for it again.
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

/// The delay before the next dial: the longer of the back-off and the `asked` retry-after, so that
/// no remote node can make this one dial faster than its back-off.
pub(crate) fn next_delay(limits: &Limits, peer: &Peer, asked: Option<Duration>) -> Duration {
    peer.back_off(limits).max(asked.unwrap_or_default())
}

/// Dials once. Stores in `opened` the address that connected, and starts after the one that
/// connected last time: its handshake failed.
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

/// The keys of which the node at an address of this peer must have one. Empty if any will do.
fn acceptable_keys(peer: &Peer, dial: &PeerAddr) -> Vec<PublicKey> {
    // The pins of all addresses apply: an address that a merge added may name no key, but leads to
    // the same node.
    let addrs = peer.dial_addrs();
    let pinned: Vec<_> = addrs.iter().flat_map(|addr| addr.keys().iter().copied()).collect();
    match peer.proved_key_at(dial) {
        // No key is pinned. Still, frames queued for the node at one address must not go to another
        // node at another address. So only the node that proved to have both is accepted, or the
        // one that has the first address now.
        Some(proved) if pinned.is_empty() => [proved].into_iter().chain(peer.key()).collect(),
        _ => pinned,
    }
}

/// Runs the handshake as the dialer. If `keys` is not empty, the remote node must have one of them.
pub(crate) async fn handshake(
    running: &TaskRef,
    peer: &Arc<Peer>,
    stream: Arc<dyn Stream>,
    addr: Option<SocketAddr>,
    keys: &[PublicKey],
) -> Result<Established, HandshakeError> {
    let port = running.port.load(Ordering::Relaxed);
    let hello = Hello { id: running.id, peer_type: peer.peer_type(), port };
    let fresh = LocalHello::new(running.instance_id)?;
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
    peer.set_coming_up(true);
    apply_terms(running, peer, id, terms)?;
    let (stream, ahead) = handshake.into_stream();
    let control_sender = shares_records.then(|| running.control_sender.clone());
    Ok((Link::keyed(stream, addr, ahead, control_sender, key), id))
}

/// Marks the peer as being dialed while it lives.
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

/// Resumes the session of a peer or starts a new one, as negotiated for its new link.
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

/// Records a failed attempt in the peer, and emits an event. `retry` is the time until the next
/// dial.
pub(crate) fn report(
    running: &TaskRef,
    peer: &Peer,
    failure: FailedAttempt,
    retry: Option<Duration>,
) {
    let FailedAttempt { addr, reason, took } = failure;
    peer.record_attempt(addr.clone(), took, Some(&reason));
    peer.attempt_failed(&reason, retry);
    running.events.emit(Event::Attempt { target: peer.target(), addr, reason, retry });
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
        // Whatever jitter is drawn, the delay is never shorter than without retry-after.
        assert!((0..20).any(|_| next(long, Some(short)) > short));
        assert!((0..20).all(|_| next(long, Some(short)) >= short));
    }
}
