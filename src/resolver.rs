use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use async_lock::Semaphore;

/// What [`Resolve::resolve`] returns.
pub type Resolution = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Turns the name of a peer into socket addresses.
///
/// It is asked anew at every attempt, and never for an address in numbers. The addresses are tried
/// in the order given, the families taking turns. The future may be dropped at any time, and is
/// when it takes longer than `Limits::resolve_timeout`.
///
/// ```
/// use netmod_inet::{Resolution, Resolve};
///
/// /// A program's own table of names.
/// struct Hosts;
///
/// impl Resolve for Hosts {
///     fn resolve(&self, host: &str, port: u16) -> Resolution {
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
    /// Anything; the peer is tried again later.
    fn resolve(&self, host: &str, port: u16) -> Resolution;
}

/// Lookups of the system that may run at once: each takes a thread of the blocking pool, and a
/// dead name server can hold it for half a minute.
const LOOKUPS: usize = 4;

/// The system's own resolver, on the blocking pool.
#[derive(Debug)]
pub(crate) struct System {
    lookups: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> System {
        System { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Resolve for System {
    fn resolve(&self, host: &str, port: u16) -> Resolution {
        let host = host.to_owned();
        let lookups = self.lookups.clone();
        Box::pin(async move {
            let permit = lookups.acquire_arc().await;
            blocking::unblock(move || {
                // The permit goes with the thread: one that is stuck counts, even if nobody waits
                // for it any more.
                let _permit = permit;
                Ok((host.as_str(), port).to_socket_addrs()?.collect())
            })
            .await
        })
    }
}
