//! Dialing a peer, and dialing it again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use futures_lite::future;

use super::connect::{Failure, open};
use super::handshake::{Fresh, Handshake, Terms};
use super::{link_down, link_up};
use crate::context::{EndOnDrop, Running};
use crate::error::{AttemptError, DownReason, HandshakeError};
use crate::events::Event;
use crate::link::{Link, Stream};
use crate::peer::Peer;
use crate::proto::{Backoff, Hello, Id, Impossible};
use crate::timer::within;

/// A stream that has shaken hands, and whom it leads to.
type Connected = (Link, Id);

/// A wait before a dial: for so long, unless the peer is kicked more often than this meanwhile.
type Wait = (Duration, usize);

/// Starts to dial a peer. After each of its links it is dialed again, until it is told to stop.
pub(crate) fn start_connection(running: &Arc<Running>, peer: Arc<Peer>) {
    let backoff = Backoff::new(running.limits.redial_first, running.limits.redial_cap);
    redial(running.clone(), peer, backoff, None);
}

fn redial(running: Arc<Running>, peer: Arc<Peer>, mut backoff: Backoff, wait: Option<Wait>) {
    let task = running.clone();
    running.spawn(async move {
        let end = EndOnDrop::new(&task, &peer);
        let dialing = async {
            if let Some((delay, seen)) = wait {
                peer.pause(delay, seen).await;
            }
            connect(&task, &peer, &mut backoff).await
        };
        // In a box of its own: what it needs is freed as a whole, and leaves no holes.
        let connected = Box::pin(unless_stopped(&peer, dialing)).await;
        if let Some(connected) = connected.flatten() {
            let restart = serve(&task, &peer, connected).await;
            setup_cleanuptask(task, peer, restart, Some(backoff));
            end.hand_over();
        }
    });
}

/// Starts to shake hands, as the dialer, over a stream that the caller opened. The peer lasts as
/// long as that stream.
pub(crate) fn start_stream(
    running: &Arc<Running>,
    peer: Arc<Peer>,
    stream: Arc<dyn Stream>,
    addr: Option<SocketAddr>,
) {
    let task = running.clone();
    running.spawn(async move {
        let end = EndOnDrop::new(&task, &peer);
        let started = Instant::now();
        let shaking = handshake(&task, &peer, stream, addr);
        match unless_stopped(&peer, shaking).await {
            Some(Ok(connected)) => {
                let restart = serve(&task, &peer, connected).await;
                setup_cleanuptask(task, peer, restart, None);
                end.hand_over();
            }
            Some(Err(error)) => {
                let addr = addr.map_or_else(|| "given stream".to_owned(), |addr| addr.to_string());
                let reason = AttemptError::Handshake(error);
                let failure = Failure { addr, reason, took: started.elapsed() };
                report(&task, &peer, failure, None);
            }
            None => {}
        }
    });
}

/// The result of `future`, unless the peer is told to stop first.
async fn unless_stopped<T>(peer: &Peer, future: impl Future<Output = T>) -> Option<T> {
    let stopped = async {
        peer.stopped().await;
        None
    };
    future::or(stopped, async { Some(future.await) }).await
}

/// Dials until the other side has answered as it should. `None` once the peer has no address.
async fn connect(running: &Running, peer: &Peer, backoff: &mut Backoff) -> Option<Connected> {
    loop {
        peer.connecting();
        let failures = match attempt(running, peer).await? {
            Ok(connected) => return Some(connected),
            Err(failures) => failures,
        };
        // A kick that answers the event must not be missed, so look before telling.
        let seen = peer.kicks();
        let asked = failures.iter().find_map(|failure| failure.retry_after());
        let retry = asked.unwrap_or(backoff.next(fastrand::u32(..)));
        for failure in failures {
            report(running, peer, failure, Some(retry));
        }
        peer.pause(retry, seen).await;
    }
}

/// Dials once. `None` if the peer has no address.
async fn attempt(running: &Running, peer: &Peer) -> Option<Result<Connected, Vec<Failure>>> {
    let (stream, addr) = match open(running, peer, peer.dial_addr()?).await {
        Ok(open) => open,
        Err(failures) => return Some(Err(failures)),
    };
    let started = Instant::now();
    let shaken = handshake(running, peer, stream, Some(addr)).await;
    Some(shaken.map_err(|error| {
        let reason = AttemptError::Handshake(error);
        vec![Failure { addr: addr.to_string(), reason, took: started.elapsed() }]
    }))
}

/// Shakes hands as the dialer.
async fn handshake(
    running: &Running,
    peer: &Peer,
    stream: Arc<dyn Stream>,
    addr: Option<SocketAddr>,
) -> Result<Connected, HandshakeError> {
    let port = running.port.load(Ordering::Relaxed);
    let hello = Hello { id: running.id, peer_type: peer.peer_type(), port };
    let fresh = Fresh::new(running.boot)?;
    let pair = peer.pair();
    let pair = pair.as_ref().map(|pair| (&pair.secret, peer.queue.received_total()));
    let mut handshake = Handshake::new(&*stream, running.limits.handshake_bytes);
    let shaking = handshake.dial(&hello, &fresh, pair);
    let shaken = within(running.limits.handshake_timeout, shaking).await;
    let (id, terms) = shaken.ok_or(HandshakeError::TimedOut)??;
    let shares_records = !matches!(terms, Terms::Plain);
    agree(running, peer, terms)?;
    let ahead = handshake.into_rest();
    Ok((Link::new(stream, addr, ahead, shares_records.then_some(running.id)), id))
}

/// Goes on with a peer on the terms of its new link.
fn agree(running: &Running, peer: &Peer, terms: Terms) -> Result<(), HandshakeError> {
    let returned = match terms {
        Terms::Resumed { received } => {
            let resumed = peer.queue.resume(received);
            return resumed.map_err(|Impossible| HandshakeError::NotProved);
        }
        Terms::New(pair) => peer.pair_anew(Some(pair)),
        Terms::Plain => peer.pair_anew(None),
    };
    running.keep_unconfirmed(peer.target(), returned);
    Ok(())
}

fn report(running: &Running, peer: &Peer, failure: Failure, retry: Option<Duration>) {
    let Failure { addr, reason, took } = failure;
    peer.attempt_failed(addr.clone(), took, &reason, retry);
    running.events.emit(Event::Attempt { target: peer.target(), addr, reason, retry });
}

/// Enters a peer's link and starts the task that serves it. The channel tells when it ended, and
/// why.
async fn serve(
    running: &Arc<Running>,
    peer: &Arc<Peer>,
    (link, id): Connected,
) -> Receiver<DownReason> {
    link_up(running, peer, &link, id).await;
    let (ended, restart) = async_channel::bounded(1);
    let (task, peer) = (running.clone(), peer.clone());
    running.spawn(async move {
        let reason = peer.run(&link, &task.inbound, task.limits.drain_timeout).await;
        // It fails only if the cleanup task was dropped, and with it the executor.
        let _ = ended.try_send(reason);
    });
    restart
}

/// Starts the task that waits for the end of a link, and then dials again, or ends the peer if
/// there is no back-off to dial by.
fn setup_cleanuptask(
    running: Arc<Running>,
    peer: Arc<Peer>,
    restart: Receiver<DownReason>,
    backoff: Option<Backoff>,
) {
    let task = running.clone();
    running.spawn(async move {
        let end = EndOnDrop::new(&task, &peer);
        let reason = restart.recv().await.unwrap_or(DownReason::Failed);
        let seen = peer.kicks();
        let asked = match &reason {
            DownReason::Farewell(farewell) => farewell.retry_after,
            _ => None,
        };
        let next = backoff.filter(|_| !peer.is_stopping()).map(|mut backoff| {
            if peer.had_good_link(task.limits.redial_reset) {
                backoff.reset();
            }
            let delay = backoff.next(fastrand::u32(..));
            (backoff, asked.unwrap_or(delay))
        });
        link_down(&task, &peer, reason, next.as_ref().map(|(_, delay)| *delay));
        match next {
            Some((backoff, delay)) => {
                end.hand_over();
                redial(task, peer, backoff, Some((delay, seen)));
            }
            None => {
                task.routes.remove_peer(peer.target()).await;
            }
        }
    });
}
