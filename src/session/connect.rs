//! Name lookup and connection race: from the address of a peer to a connected stream.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_lite::future;

use crate::config::Resolve;
use crate::error::{AttemptError, HandshakeError};
use crate::peer::Peer;
use crate::primitives::callback::catch_panic;
use crate::primitives::clock::{self, within};
use crate::proto::PeerAddr;
use crate::shared::Shared;
use crate::transport::{Connect, ConnectFuture, Stream};

/// How many addresses of one name are tried. More are a mistake or an attack.
const MAX_ADDRESSES: usize = 16;

/// A failed dial: the address, the reason, and how long it took.
pub(crate) struct FailedAttempt {
    pub(crate) addr: String,
    pub(crate) reason: AttemptError,
    pub(crate) took: Duration,
}

impl FailedAttempt {
    /// The retry-after that the remote node requested, if it refused the handshake.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match &self.reason {
            AttemptError::Handshake(HandshakeError::Refused(goodbye)) => goodbye.retry_after,
            _ => None,
        }
    }
}

/// Resolves the address of a peer, and connects to the first address that answers. If `last` is one
/// of them, they are tried from the one after it on.
pub(crate) async fn connect_any(
    shared: &Shared,
    peer: &Peer,
    dial: &PeerAddr,
    last: Option<SocketAddr>,
) -> Result<(Arc<dyn Stream>, SocketAddr), Vec<FailedAttempt>> {
    let started = clock::now();
    let mut addrs = match look_up(shared, peer, dial).await {
        Ok(addrs) => addrs,
        Err(reason) => {
            let addr = format!("{}:{}", dial.host(), dial.port());
            return Err(vec![FailedAttempt { addr, reason, took: clock::since(started) }]);
        }
    };
    let last_at = addrs.iter().position(|addr| Some(*addr) == last);
    addrs.rotate_left(last_at.map_or(0, |at| at + 1));
    let limits = &shared.limits;
    let (stagger, timeout) = (limits.connect_stagger, limits.connect_timeout);
    let mut failures = Vec::new();
    match happy_eyeballs(&*shared.connector, addrs, stagger, timeout, &mut failures).await {
        Some(connected) => {
            for FailedAttempt { addr, reason, took } in failures {
                peer.record_attempt(addr, took, Some(&reason));
            }
            Ok(connected)
        }
        None => Err(failures),
    }
}

/// Resolves an address to the socket addresses to try, in order. If the lookup fails, uses the
/// result of the previous one.
async fn look_up(
    shared: &Shared,
    peer: &Peer,
    dial: &PeerAddr,
) -> Result<Vec<SocketAddr>, AttemptError> {
    if let Some(addr) = dial.literal() {
        return Ok(vec![addr]);
    }
    if let Some(zone) = dial.zone() {
        return with_zone(dial, zone);
    }
    let lookup = ask(&*shared.resolver, dial);
    let found = match within(shared.limits.resolve_timeout, lookup).await {
        Some(found) => found,
        None => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    };
    let reason = match found {
        Ok(addrs) if !addrs.is_empty() => {
            let addrs = interleave_families(addrs);
            peer.set_resolved(&addrs);
            return Ok(addrs);
        }
        Ok(_) => AttemptError::NoAddress,
        Err(error) => AttemptError::Resolve(Arc::new(error)),
    };
    match peer.last_resolved() {
        last if last.is_empty() => Err(reason),
        last => Ok(last),
    }
}

/// The socket address of an IPv6 address with a zone. The system asks no name server, and only looks
/// for the interface, whose number may have changed since.
fn with_zone(dial: &PeerAddr, zone: &str) -> Result<Vec<SocketAddr>, AttemptError> {
    let found = (dial.host(), dial.port()).to_socket_addrs();
    let addrs: Vec<_> = found.into_iter().flatten().collect();
    match addrs.is_empty() {
        false => Ok(addrs),
        true => {
            let reason = format!("there is no network interface `{zone}`");
            let error = io::Error::new(io::ErrorKind::NotFound, reason);
            Err(AttemptError::Resolve(Arc::new(error)))
        }
    }
}

/// Asks the resolver. If it panics, the lookup fails.
async fn ask(resolver: &dyn Resolve, dial: &PeerAddr) -> io::Result<Vec<SocketAddr>> {
    let resolve = || resolver.resolve(dial.host(), dial.port());
    let panicked = || io::Error::other("the resolver panicked");
    let mut lookup = catch_panic(resolve).ok_or_else(panicked)?;
    poll_fn(|cx| {
        let polled = catch_panic(|| lookup.as_mut().poll(cx));
        polled.unwrap_or_else(|| Poll::Ready(Err(panicked())))
    })
    .await
}

/// Interleaves the two address families, beginning with that of the first address (RFC 8305,
/// section 4): a family that does not work must not delay one that does.
fn interleave_families(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        addrs.into_iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    first.reverse();
    second.reverse();
    let mut ordered = Vec::new();
    while let Some(addr) = first.pop() {
        ordered.push(addr);
        ordered.extend(second.pop());
    }
    second.reverse();
    ordered.append(&mut second);
    ordered.truncate(MAX_ADDRESSES);
    ordered
}

/// A connection attempt in progress.
struct Attempt {
    addr: SocketAddr,
    started: Instant,
    connecting: ConnectFuture,
}

/// Happy Eyeballs (RFC 8305): connects to the first address that answers, and adds attempts that
/// failed before to `failures`. Each attempt starts `stagger` after the previous one, or
/// immediately when one fails.
async fn happy_eyeballs(
    connector: &dyn Connect,
    addrs: Vec<SocketAddr>,
    stagger: Duration,
    timeout: Duration,
    failures: &mut Vec<FailedAttempt>,
) -> Option<(Arc<dyn Stream>, SocketAddr)> {
    let mut remaining = addrs.into_iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    let deadline = clock::now() + timeout;
    loop {
        if let Some(addr) = remaining.next() {
            let connecting = connector.connect(addr);
            attempts.push(Attempt { addr, started: clock::now(), connecting });
        }
        let until = match remaining.len() {
            0 => deadline,
            _ => deadline.min(clock::now() + stagger),
        };
        let timer = async {
            clock::at(until).await;
            None
        };
        match future::or(async { Some(first_done(&mut attempts).await) }, timer).await {
            Some((addr, _, Ok(stream))) => return Some((stream, addr)),
            Some((addr, started, Err(error))) => failures.push(failure(addr, started, error)),
            None if clock::now() >= deadline => {
                let timed_out = |attempt: Attempt| {
                    failure(attempt.addr, attempt.started, io::ErrorKind::TimedOut.into())
                };
                failures.extend(attempts.drain(..).map(timed_out));
                return None;
            }
            None => {}
        }
        if attempts.is_empty() && remaining.len() == 0 {
            return None;
        }
    }
}

fn failure(addr: SocketAddr, started: Instant, error: io::Error) -> FailedAttempt {
    let reason = AttemptError::Connect(Arc::new(error));
    FailedAttempt { addr: addr.to_string(), reason, took: clock::since(started) }
}

/// Waits until one of `attempts` succeeds or fails, and removes it.
async fn first_done(
    attempts: &mut Vec<Attempt>,
) -> (SocketAddr, Instant, io::Result<Arc<dyn Stream>>) {
    poll_fn(|cx| {
        for at in 0..attempts.len() {
            if let Poll::Ready(result) = attempts[at].connecting.as_mut().poll(cx) {
                let done = attempts.swap_remove(at);
                return Poll::Ready((done.addr, done.started, result));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::transport::{Keepalive, TcpConnector};

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_are_interleaved() {
        let (a, b, c) = ("[::1]:1", "[::2]:1", "[::3]:1");
        let (x, y) = ("1.1.1.1:1", "2.2.2.2:1");
        assert_eq!(interleave_families(addrs(&[a, b, c, x, y])), addrs(&[a, x, b, y, c]));
        assert_eq!(interleave_families(addrs(&[x, y, a])), addrs(&[x, a, y]));
        assert_eq!(interleave_families(addrs(&[x, a, b, c])), addrs(&[x, a, b, c]));
        assert_eq!(interleave_families(vec![addrs(&[x])[0]; 99]).len(), MAX_ADDRESSES);
    }

    #[test]
    fn a_refused_address_does_not_delay_the_next() {
        smol::block_on(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let good = listener.local_addr().unwrap();
            // Systems hand out no port below 1024.
            let closed = SocketAddr::from(([127, 0, 0, 1], 1));
            let long = Duration::from_secs(30);
            let tcp = TcpConnector { keepalive: Keepalive::new(&Limits::default()) };
            for addrs in [vec![closed, good], vec![closed]] {
                let mut failures = Vec::new();
                let connected =
                    happy_eyeballs(&tcp, addrs.clone(), long, long, &mut failures).await;
                let connected = connected.map(|(_, addr)| addr);
                assert_eq!(connected, addrs.contains(&good).then_some(good));
                assert_eq!((failures.len(), &failures[0].addr), (1, &closed.to_string()));
            }
        });
    }
}
