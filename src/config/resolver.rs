use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_lock::Semaphore;

use crate::primitives::clock::within;

/// The future returned by [`Resolve::resolve`].
///
/// ```
/// let found: netmod_inet::ResolveFuture = Box::pin(async { Ok(vec![([192, 0, 2, 7], 9000).into()]) });
/// # assert_eq!(smol::block_on(found).unwrap().len(), 1);
/// ```
pub type ResolveFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Resolves the host name of a peer to socket addresses.
///
/// Called for every dial attempt, but never for an IP address. The addresses are tried in the given
/// order, with the address families alternating (RFC 8305). The future may be dropped at any time,
/// and is dropped after `Limits::resolve_timeout`.
///
/// ```
/// use netmod_inet::{ResolveFuture, Resolve};
///
/// /// A program's own table of names.
/// struct Hosts;
///
/// impl Resolve for Hosts {
///     fn resolve(&self, host: &str, port: u16) -> ResolveFuture {
///         let known = host == "mynas.example";
///         Box::pin(async move {
///             match known {
///                 true => Ok(vec![([192, 0, 2, 7], port).into()]),
///                 false => Err(std::io::ErrorKind::NotFound.into()),
///             }
///         })
///     }
/// }
/// ```
pub trait Resolve: Send + Sync + 'static {
    /// Looks up `host`, a name or an IPv6 address with a zone such as `fe80::1%eth0`.
    ///
    /// # Errors
    ///
    /// Any error; the peer is redialed later.
    ///
    /// ```
    /// # fn run(hosts: impl netmod_inet::Resolve) -> std::io::Result<()> {
    /// let addresses = smol::block_on(hosts.resolve("mynas.example", 9000))?;
    /// # Ok(()) }
    /// ```
    fn resolve(&self, host: &str, port: u16) -> ResolveFuture;
}

/// Maximum number of concurrent system lookups. Each blocks a thread of the blocking pool, and an
/// unresponsive name server can hold it for half a minute.
const LOOKUPS: usize = 4;

/// Maximum time that a lookup waits for a permit. Shorter than the default of
/// `Limits::resolve_timeout`, so that the error names the cause.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// The system's resolver, on the blocking thread pool.
#[derive(Debug)]
pub(crate) struct SystemResolver {
    lookups: Arc<Semaphore>,
    turn: Duration,
}

impl Default for SystemResolver {
    fn default() -> SystemResolver {
        SystemResolver { lookups: Arc::new(Semaphore::new(LOOKUPS)), turn: PERMIT_TIMEOUT }
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> ResolveFuture {
        let host = host.to_owned();
        let (lookups, turn) = (self.lookups.clone(), self.turn);
        Box::pin(async move {
            let permit = within(turn, lookups.acquire_arc()).await.ok_or_else(permit_timeout)?;
            blocking::unblock(move || {
                // The thread owns the permit: a stuck lookup counts even after its future was
                // dropped.
                let _permit = permit;
                Ok((host.as_str(), port).to_socket_addrs()?.collect())
            })
            .await
        })
    }
}

fn permit_timeout() -> io::Error {
    let reason = format!("{LOOKUPS} other lookups hang, which is as many as may run at once");
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_behind_lookups_that_hang_is_told_and_may_try_again() {
        smol::block_on(async {
            let system =
                SystemResolver { turn: Duration::from_millis(10), ..SystemResolver::default() };
            let hanging: Vec<_> =
                (0..LOOKUPS).map(|_| system.lookups.try_acquire_arc().unwrap()).collect();
            let error = system.resolve("localhost", 9).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().contains("4 other lookups hang"), "{error}");
            drop(hanging);
            assert!(!system.resolve("localhost", 9).await.unwrap().is_empty());
        });
    }
}
