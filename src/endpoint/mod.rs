//! The endpoint: the handle that a program holds.

mod broadcast;
mod builder;
#[cfg(feature = "noise")]
mod keys;
pub(crate) mod open;
mod peers;
mod recv;
mod send;
#[cfg(feature = "sink")]
mod sink;
mod streams;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::AcceptPolicy;
use crate::config::Limits;
use crate::error::UnknownTarget;
use crate::events::Events;
use crate::peer::{Closing, Peer};
use crate::proto::Id;
use crate::proto::Target;
use crate::routes::Routes;
use crate::server::Server;
use crate::shared::{Shared, TaskRef};

pub use broadcast::FloodReport;
pub use builder::Builder;
pub use recv::{ForwardError, Received};
#[cfg(feature = "sink")]
pub use sink::PeerSink;
pub use streams::Frames;

/// The TCP endpoint of a mesh node: listens, dials, and carries frames between neighbours and the
/// router.
///
/// Clones are handles of the same endpoint. Dropping the last one stops it immediately: queued
/// frames are not sent, and frames that arrive are discarded without being acknowledged. Before the
/// drop returns, the write half of each link is shut down, and neighbours that run this crate have
/// been sent a goodbye, except on a link with a half-written frame. This does not block; it takes
/// at most three system calls for each link, so the process may exit right after. While the
/// executor keeps running, links linger for `Limits::drain_timeout` and read to the end, so that
/// the system does not reset them because of unread bytes. [`shutdown`](InetEndpoint::shutdown)
/// sends queued frames first.
///
/// All methods work under any executor; none blocks the thread.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// use netmod_inet::{Frame, InetEndpoint};
///
/// let alice = InetEndpoint::start("127.0.0.1:0").await?;
/// let bob = InetEndpoint::start("127.0.0.1:0").await?;
/// let targets = bob.add_peers([format!("127.0.0.1:{}", alice.port().unwrap())]).await?;
///
/// let frame = Frame::builder(8, bob.router_id()).payload("hello").build()?;
/// bob.send(targets[0], frame).await?;
/// let (_target, frame) = alice.next().await?;
/// assert_eq!(frame.payload(), b"hello");
/// # alice.shutdown().await; bob.shutdown().await; Ok(()) }) }
/// ```
#[derive(Clone)]
pub struct InetEndpoint {
    routes: Arc<Routes>,
    handle: Arc<Handle>,
}

/// State shared by all handles. Dropping it stops the endpoint.
struct Handle {
    shared: Arc<Shared>,
    /// Invariant: upgradable until the last task has ended.
    running: Weak<TaskRef>,
    addrs: Vec<SocketAddr>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // First: inbound frames have no consumer from now on, so they must not be acknowledged.
        self.shared.inbound.close();
        self.shared.stop(Closing::Now);
        // Here and not in a task: the process may exit after this, and the executor may be gone.
        self.shared.close_links();
    }
}

impl InetEndpoint {
    pub(crate) fn new(
        shared: Arc<Shared>,
        running: &Arc<TaskRef>,
        servers: &[Server],
    ) -> InetEndpoint {
        let addrs: Vec<_> = servers.iter().flat_map(Server::local_addrs).collect();
        shared.port.store(addrs.first().map_or(0, SocketAddr::port), Ordering::Relaxed);
        let running = Arc::downgrade(running);
        let routes = shared.routes.clone();
        InetEndpoint { routes, handle: Arc::new(Handle { shared, running, addrs }) }
    }

    /// Returns the router id that this endpoint claims.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// println!("{} listens on {:?}", endpoint.router_id(), endpoint.port());
    /// # Ok(()) }) }
    /// ```
    pub fn router_id(&self) -> Id {
        self.shared().id
    }

    /// Returns the port of the first listener, as assigned by the system; `None` without listeners.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert_ne!(endpoint.port(), Some(0));
    /// # Ok(()) }) }
    /// ```
    pub fn port(&self) -> Option<u16> {
        self.handle.addrs.first().map(SocketAddr::port)
    }

    /// Returns the addresses of all listeners, with their actual ports.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert_eq!(endpoint.local_addrs()[0].ip().to_string(), "::1");
    /// # Ok(()) }) }
    /// ```
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.handle.addrs.clone()
    }

    /// Returns the limits of the endpoint.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert_eq!(endpoint.limits().queue_frames, 8192);
    /// # Ok(()) }) }
    /// ```
    pub fn limits(&self) -> &Limits {
        &self.shared().limits
    }

    /// Subscribes to events. The first subscription receives all events since the start of the
    /// endpoint; any other those from now on. Subscriptions receive an event in the order in which
    /// they were made.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let events = endpoint.events();
    /// endpoint.shutdown().await;
    /// assert_eq!(events.next().await?.to_string(), "stopped");
    /// # Ok(()) }) }
    /// ```
    pub fn events(&self) -> Events {
        self.shared().events.subscribe()
    }

    /// Replaces the accept policy. It applies to new connections: existing peers stay.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{AcceptPolicy, InetEndpoint};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// endpoint.set_accept_policy(AcceptPolicy::none());
    /// # Ok(()) }) }
    /// ```
    pub fn set_accept_policy(&self, policy: AcceptPolicy) {
        *self.shared().policy.write() = policy;
    }

    /// Stops the endpoint gracefully: it stops dialing and accepting, and links that are up send
    /// what is queued and close, for at most `Limits::drain_timeout`. Returns when all tasks have
    /// ended.
    ///
    /// Frames that arrived before are still returned by [`next`](InetEndpoint::next), and unsent
    /// ones by [`take_unconfirmed`](InetEndpoint::take_unconfirmed). Before a restart use
    /// [`shutdown_for`](InetEndpoint::shutdown_for).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops the wait; the endpoint still shuts down.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// endpoint.shutdown().await;
    /// assert!(endpoint.is_closed());
    /// # Ok(()) }) }
    /// ```
    pub async fn shutdown(&self) {
        self.shared().stop(Closing::Drain);
        self.shared().stopped().await;
    }

    /// Shuts down for a restart: like [`shutdown`](InetEndpoint::shutdown), but neighbours are
    /// asked to dial again after `time`, instead of immediately and then with a growing back-off.
    ///
    /// The times are staggered by up to 30 ms for each neighbour, so that a handful returns at the
    /// same time, and ten thousand over half a minute. Neighbours obey up to 10 minutes, to which
    /// `time` is clamped. Plain Ratman nodes receive no such request; they dial on their own
    /// schedule.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops the wait; the endpoint still shuts down.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// // Back in a second: neighbours need not find out by trying.
    /// endpoint.shutdown_for(std::time::Duration::from_secs(1)).await;
    /// # Ok(()) }) }
    /// ```
    pub async fn shutdown_for(&self, time: Duration) {
        self.shared().announce_retry_after(time);
        self.shutdown().await;
    }

    /// Returns whether the endpoint has ended: it was shut down, or its executor is gone.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert!(!endpoint.is_closed());
    /// # Ok(()) }) }
    /// ```
    pub fn is_closed(&self) -> bool {
        self.handle.running.strong_count() == 0
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    fn known_peer(&self, target: Target) -> Result<Arc<Peer>, UnknownTarget> {
        self.shared().peer(target).ok_or(UnknownTarget(target))
    }
}

impl fmt::Debug for InetEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InetEndpoint")
            .field("router_id", &self.router_id())
            .field("local_addrs", &self.handle.addrs)
            .finish_non_exhaustive()
    }
}
