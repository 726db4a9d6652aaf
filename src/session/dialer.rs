//! Dials a peer until a handshake succeeds, and returns the established link. Spawns no tasks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_lite::future;

use crate::error::{AttemptError, HandshakeError};
use crate::events::Event;
use crate::peer::{Peer, WindowSize};
use crate::primitives::clock::{self, within};
use crate::proto::{Hello, Id, InvalidAck, PeerAddr, PublicKey};
use crate::session::connect::{FailedAttempt, connect_any};
use crate::session::handshake::{Handshake, LocalHello, Negotiated, Progress};
use crate::session::key_exchange;
use crate::shared::TaskRef;
use crate::transport::{Link, Stream};

/// An established link, and the router id that the remote node claims.
pub(crate) type Established = (Arc<Link>, Id);

/// Dials until a handshake succeeds. `None` once the peer has no address.
pub(crate) async fn connect(running: &TaskRef, peer: &Arc<Peer>) -> Option<Established> {
    let mut last_connected = None;
    for number in 0.. {
        let kicks = peer.kicks();
        peer.connecting();
        let addrs = peer.dial_addrs();
        let addr = addrs.get(number % addrs.len().max(1))?;
        // Boxed, here and below: a peer that waits for its next dial does not hold the memory of
        // one, and the futures that wrap it would each reserve space for it again.
        let dialing = Box::pin(attempt(running, peer, addr, &mut last_connected));
        let dialing = async { Some(dialing.await) };
        let kicked = async {
            peer.kicked(kicks).await;
            None
        };
        let failures = match future::or(dialing, kicked).await {
            Some(Ok(connected)) => return Some(connected),
            Some(Err(failures)) => failures,
            None => continue,
        };
        let retry_after = failures.iter().filter_map(FailedAttempt::retry_after).max();
        let retry = next_delay(peer.back_off(&running.limits), retry_after);
        for failure in failures {
            report(running, peer, failure, Some(retry));
        }
        peer.wait_or_kick(retry, kicks).await;
    }
    None
}

/// The delay before the next dial: the longer of the back-off and the `retry_after` of the remote
/// node, which can therefore not make this node dial faster than its back-off allows.
pub(crate) fn next_delay(back_off: Duration, retry_after: Option<Duration>) -> Duration {
    back_off.max(retry_after.unwrap_or_default())
}

/// Dials once. Stores in `last_connected` the address that connected, and starts after the one that
/// connected last time: its handshake failed.
async fn attempt(
    running: &TaskRef,
    peer: &Arc<Peer>,
    dial: &PeerAddr,
    last_connected: &mut Option<SocketAddr>,
) -> Result<Established, Vec<FailedAttempt>> {
    let started = clock::now();
    let (stream, addr) = connect_any(running, peer, dial, *last_connected).await?;
    *last_connected = Some(addr);
    let connected_at = clock::now();
    let keys = acceptable_keys(peer, dial);
    let result = handshake(running, peer, stream, Some(addr), &keys).await;
    if result.is_ok() {
        peer.record_attempt(addr.to_string(), clock::since(started), None);
    }
    result.map_err(|error| {
        let reason = AttemptError::Handshake(error);
        vec![FailedAttempt { addr: addr.to_string(), reason, took: clock::since(connected_at) }]
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
    let (window, credit) = running.initial_window(Some(peer));
    let local = LocalHello::new(running.instance_id, credit)?;
    let session = peer.session();
    let session = session.as_ref().map(|session| (session, Progress::of(&peer.queue)));
    let limit = running.limits.handshake_bytes;
    let mut handshake = Handshake::new(stream, limit, Some(running), keys);
    let _dialing = DialGuard::begin(peer);
    let dialing = Box::pin(handshake.dial(&hello, &local, session));
    let result = within(running.limits.handshake_timeout, dialing).await;
    let (id, negotiated) = result.ok_or(HandshakeError::TimedOut)??;
    let key = handshake.key();
    key_exchange::check_claim(running, id, key, Some(peer))?;
    let is_extended = !matches!(negotiated, Negotiated::Plain);
    peer.set_coming_up(true);
    apply_terms(running, peer, id, negotiated, window)?;
    let (stream, ahead) = handshake.into_stream();
    let control_sender = is_extended.then(|| running.control_sender.clone());
    Ok((Link::new(stream, addr, ahead, control_sender, key), id))
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
    negotiated: Negotiated,
    window: WindowSize,
) -> Result<(), HandshakeError> {
    match negotiated {
        Negotiated::Resumed(Progress { received, credit }) => {
            let resumed = peer.queue.resume(received, credit);
            return resumed.map_err(|InvalidAck| HandshakeError::NotProved);
        }
        Negotiated::New(session, credit) => {
            running.start_session(peer, id, Some((session, window, credit)));
        }
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
    use crate::config::Limits;
    use crate::peer::{MemoryBudget, Origin, SendQueue};
    use crate::proto::PeerType;

    #[test]
    fn the_delay_is_the_longer_of_back_off_and_retry_after() {
        let [short, long] = [1, 600].map(Duration::from_secs);
        let next = |cap, retry_after| {
            let limits = Limits { redial_first: cap, redial_cap: cap, ..Limits::default() };
            let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
            let peer = Peer::linked(0.into(), PeerType::Standard, Origin::Accepted, queue);
            next_delay(peer.back_off(&limits), retry_after)
        };
        assert_eq!(next(Duration::ZERO, None), Duration::ZERO);
        assert_eq!(next(Duration::ZERO, Some(long)), long);
        // Whatever jitter is drawn, the delay is never shorter than without retry-after.
        assert!((0..20).any(|_| next(long, Some(short)) > short));
        assert!((0..20).all(|_| next(long, Some(short)) >= short));
    }
}
