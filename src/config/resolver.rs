//! Name resolution.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_lock::Semaphore;

use crate::primitives::clock::within;
use crate::primitives::lock::Mutex;

/// The future returned by [`Resolve::resolve`].
///
/// ```
/// let addrs = vec![([192, 0, 2, 7], 9000).into()];
/// let found: netmod_inet::ResolveFuture = Box::pin(async { Ok(addrs) });
/// # assert_eq!(smol::block_on(found).unwrap().len(), 1);
/// ```
pub type ResolveFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Resolves the host name of a peer to socket addresses.
///
/// Called for every dial attempt, but never for an IP address. The addresses are tried in the given
/// order, with the address families alternating (RFC 8305). The future may be dropped at any time,
/// and is dropped after `Limits::resolve_timeout`. A panic is a failed lookup.
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
const MAX_LOOKUPS: usize = 4;

/// Maximum number of concurrent system lookups of one name and port. A lookup that was given up may
/// still hang, and its peer tries again: without this limit one dead name would take all lookups.
/// More than one, so that a kick on another network does not wait for the old name server.
const MAX_LOOKUPS_PER_NAME: usize = 2;

/// Maximum time that a lookup waits for a permit. Shorter than the default of
/// `Limits::resolve_timeout`, so that the error names the cause.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// The system's resolver, on the blocking thread pool.
#[derive(Debug)]
pub(crate) struct SystemResolver {
    /// One permit for each concurrent lookup.
    lookups: Arc<Semaphore>,
    pending: Pending,
    permit_timeout: Duration,
}

impl Default for SystemResolver {
    fn default() -> SystemResolver {
        SystemResolver {
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            pending: Pending::default(),
            permit_timeout: PERMIT_TIMEOUT,
        }
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> ResolveFuture {
        let host = host.to_owned();
        let (lookups, timeout) = (self.lookups.clone(), self.permit_timeout);
        let pending = PendingName::add(&self.pending, &host, port);
        Box::pin(async move {
            let pending = pending.ok_or_else(still_pending)?;
            let permit = within(timeout, lookups.acquire_arc()).await.ok_or_else(no_permit)?;
            blocking::unblock(move || {
                // The thread owns the permit and the entry: a stuck lookup counts even after its
                // future was dropped.
                let _owned = (permit, pending);
                Ok((host.as_str(), port).to_socket_addrs()?.collect())
            })
            .await
        })
    }
}

fn no_permit() -> io::Error {
    let reason = format!("{MAX_LOOKUPS} other lookups hang, and no more may run concurrently");
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

/// The lookups that run or wait, by name and port.
type Pending = Arc<Mutex<Vec<(String, u16)>>>;

/// The entry of one lookup. Dropping it removes the entry.
struct PendingName {
    all: Pending,
    name: (String, u16),
}

impl PendingName {
    /// Adds an entry. `None` if there are as many of this name as there may be.
    fn add(all: &Pending, host: &str, port: u16) -> Option<PendingName> {
        let name = (host.to_owned(), port);
        let mut entries = all.lock();
        if entries.iter().filter(|other| **other == name).count() >= MAX_LOOKUPS_PER_NAME {
            return None;
        }
        entries.push(name.clone());
        drop(entries);
        Some(PendingName { all: all.clone(), name })
    }
}

impl Drop for PendingName {
    fn drop(&mut self) {
        let mut entries = self.all.lock();
        let at = entries.iter().position(|other| *other == self.name);
        at.map(|at| entries.swap_remove(at));
    }
}

fn still_pending() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "earlier lookups of this name hang")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: one dead name, tried again while its lookups hung, took all of them.
    #[test]
    fn one_name_takes_no_more_than_its_share_of_lookups() {
        smol::block_on(async {
            let system = SystemResolver::default();
            // Never polled, as if they hung.
            let hanging = [(); 3].map(|()| system.resolve("localhost", 9));
            let error = system.resolve("localhost", 9).await.unwrap_err();
            assert!(error.to_string().contains("earlier lookups"), "{error}");
            assert!(!system.resolve("localhost", 10).await.unwrap().is_empty());
            drop(hanging);
            assert!(!system.resolve("localhost", 9).await.unwrap().is_empty());
            assert!(system.pending.lock().is_empty());
        });
    }

    #[test]
    fn a_lookup_behind_hanging_ones_times_out_and_can_be_retried() {
        smol::block_on(async {
            let system = SystemResolver {
                permit_timeout: Duration::from_millis(10),
                ..SystemResolver::default()
            };
            let hanging: Vec<_> =
                (0..MAX_LOOKUPS).map(|_| system.lookups.try_acquire_arc().unwrap()).collect();
            let error = system.resolve("localhost", 9).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().contains("4 other lookups hang"), "{error}");
            drop(hanging);
            assert!(!system.resolve("localhost", 9).await.unwrap().is_empty());
        });
    }
}
