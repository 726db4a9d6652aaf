//! Configuring and starting an endpoint.

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::config::AcceptPolicy;
#[cfg(feature = "noise")]
use crate::config::Encryption;
use crate::config::Limits;
use crate::config::{Global, Spawn};
use crate::config::{Resolve, SystemResolver};
use crate::endpoint::InetEndpoint;
use crate::endpoint::open::{open, prepare, register_stream};
use crate::error::StartError;
use crate::primitives::random;
use crate::proto::{Id, InstanceId, PeerType, shorten};
use crate::server::Server;
use crate::shared::SharedConfig;
use crate::transport::{Keepalive, TcpConnector};

/// Configures and starts an [`InetEndpoint`]; see [`InetEndpoint::builder`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// use netmod_inet::{AcceptPolicy, Id, InetEndpoint, Limits};
///
/// let mut limits = Limits::default();
/// limits.peers = 32;
/// let endpoint = InetEndpoint::builder()
///     .router_id(Id::from_bytes([7; 32]))
///     .bind("[::1]:0")
///     .limits(limits)
///     .accept(AcceptPolicy::known())
///     .start()
///     .await?;
/// assert_ne!(endpoint.port(), Some(0));
/// # endpoint.shutdown().await; Ok(()) }) }
/// ```
pub struct Builder {
    id: Option<Id>,
    binds: Vec<String>,
    listeners: Vec<TcpListener>,
    streams: Vec<(TcpStream, PeerType)>,
    limits: Limits,
    frames_follow_id: bool,
    policy: AcceptPolicy,
    resolver: Box<dyn Resolve>,
    spawner: Box<dyn Spawn>,
    #[cfg(feature = "noise")]
    encryption: Option<Encryption>,
}

impl InetEndpoint {
    /// Starts an endpoint that listens on `bind`, runs on smol's global executor, and has a random
    /// router id and the default limits. See [`Builder::bind`] for the format of the address.
    ///
    /// # Errors
    ///
    /// See [`Builder::start`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::InetEndpoint;
    ///
    /// let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert!(endpoint.port().is_some_and(|port| port > 0));
    /// # Ok(()) }) }
    /// ```
    pub async fn start(bind: impl AsRef<str>) -> Result<InetEndpoint, StartError> {
        InetEndpoint::builder().bind(bind).start().await
    }

    /// Returns a builder for an endpoint.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::InetEndpoint;
    ///
    /// let endpoint = InetEndpoint::builder().start().await?;
    /// assert_eq!(endpoint.port(), None, "it only dials");
    /// # Ok(()) }) }
    /// ```
    pub fn builder() -> Builder {
        InetEndpoint::builder_on(Global)
    }

    /// Returns a builder for an endpoint that runs on `spawner`. The same as
    /// [`builder`](Self::builder) with [`Builder::spawner`], but leaves smol's global executor out of
    /// the program, unless that uses it elsewhere: some 10 KB for a small box.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use netmod_inet::InetEndpoint;
    /// use smol::Executor;
    ///
    /// static EXECUTOR: Executor<'static> = Executor::new();
    ///
    /// smol::block_on(EXECUTOR.run(async {
    ///     let endpoint = InetEndpoint::builder_on(&EXECUTOR).bind("127.0.0.1:0").start().await?;
    ///     assert!(endpoint.port().is_some());
    ///     Ok(())
    /// }))
    /// # }
    /// ```
    pub fn builder_on(spawner: impl Spawn) -> Builder {
        Builder::new(Box::new(spawner))
    }
}

impl Builder {
    fn new(spawner: Box<dyn Spawn>) -> Builder {
        Builder {
            id: None,
            binds: Vec::new(),
            listeners: Vec::new(),
            streams: Vec::new(),
            limits: Limits::default(),
            frames_follow_id: false,
            policy: AcceptPolicy::all(),
            resolver: Box::new(SystemResolver::default()),
            spawner,
            #[cfg(feature = "noise")]
            encryption: None,
        }
    }

    /// Sets the endpoint's key and encryption policy. Default: no encryption.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::{Encryption, InetEndpoint, KeyPair};
    ///
    /// let encryption = Encryption::new(KeyPair::generate()?).required();
    /// let endpoint = InetEndpoint::builder().bind("[::1]:0").encrypt(encryption).start().await?;
    /// # Ok(()) }) }
    /// ```
    #[cfg(feature = "noise")]
    #[must_use]
    pub fn encrypt(mut self, encryption: Encryption) -> Builder {
        self.encryption = Some(encryption);
        self
    }

    /// Sets the router id that the endpoint claims. Default: 32 random bytes from the system.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::{Id, InetEndpoint};
    ///
    /// let id = Id::from_bytes([7; 32]);
    /// let endpoint = InetEndpoint::builder().router_id(id).start().await?;
    /// assert_eq!(endpoint.router_id(), id);
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn router_id(mut self, id: Id) -> Builder {
        self.id = Some(id);
        self
    }

    /// Adds an address to listen on, such as `[::]:9000`, `0.0.0.0:9000` or `[::1]:0`. Port 0
    /// selects any free port. Default: none, which makes an endpoint that only dials.
    ///
    /// `[::]` on its own also accepts IPv4 (dual stack). Together with an IPv4 address of the same
    /// port it accepts IPv6 only, and each address has its own socket.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::InetEndpoint;
    ///
    /// let builder = InetEndpoint::builder().bind("127.0.0.1:0").bind("[::1]:0");
    /// assert_eq!(builder.start().await?.local_addrs().len(), 2);
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn bind(mut self, addr: impl AsRef<str>) -> Builder {
        self.binds.push(addr.as_ref().to_owned());
        self
    }

    /// Adds a listener that the caller has already bound and set to listen.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::InetEndpoint;
    ///
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let port = listener.local_addr()?.port();
    /// let endpoint = InetEndpoint::builder().listener(listener).start().await?;
    /// assert_eq!(endpoint.port(), Some(port));
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn listener(mut self, listener: TcpListener) -> Builder {
        self.listeners.push(listener);
        self
    }

    /// Adds a stream that the caller has connected. The endpoint sends its Hello over it, as the
    /// dialer, and the peer ends with the stream.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::{Event, InetEndpoint, PeerType};
    ///
    /// let alice = InetEndpoint::start("127.0.0.1:0").await?;
    /// let stream = std::net::TcpStream::connect(alice.local_addrs()[0])?;
    /// let bob = InetEndpoint::builder().stream(stream, PeerType::Standard).start().await?;
    /// let Event::Up { id, .. } = bob.events().next().await? else { panic!() };
    /// assert_eq!(id, alice.router_id());
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn stream(mut self, stream: TcpStream, peer_type: PeerType) -> Builder {
        self.streams.push((stream, peer_type));
        self
    }

    /// Sets the limits. Default: [`Limits::default`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::{InetEndpoint, Limits};
    ///
    /// let mut limits = Limits::default();
    /// limits.peers = 32;
    /// let endpoint = InetEndpoint::builder().limits(limits).start().await?;
    /// assert_eq!(endpoint.limits().peers, 32);
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Builder {
        self.limits = limits;
        self
    }

    /// Sets the policy for inbound connections. Default: [`AcceptPolicy::all`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::{AcceptPolicy, InetEndpoint};
    ///
    /// let builder = InetEndpoint::builder().bind("[::1]:0").accept(AcceptPolicy::known());
    /// let endpoint = builder.start().await?;
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn accept(mut self, policy: AcceptPolicy) -> Builder {
        self.policy = policy;
        self
    }

    /// Sets the name resolver. Default: the system's, with a thread for each lookup, 128 at most.
    /// [`PoolResolver`](crate::PoolResolver) uses the thread pool of the crate `blocking` instead.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::{InetEndpoint, ResolveFuture, Resolve};
    ///
    /// /// Resolves no names, so that only numeric addresses are dialed.
    /// struct NoNames;
    ///
    /// impl Resolve for NoNames {
    ///     fn resolve(&self, _host: &str, _port: u16) -> ResolveFuture {
    ///         Box::pin(async { Err(std::io::ErrorKind::NotFound.into()) })
    ///     }
    /// }
    ///
    /// let endpoint = InetEndpoint::builder().resolver(NoNames).start().await?;
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolve) -> Builder {
        self.resolver = Box::new(resolver);
        self
    }

    /// Binds queued frames to the router id of a peer instead of to its target. Default: `false`.
    ///
    /// By default, frames queued for a dialed peer go to any node found at its address, and frames
    /// that a neighbour may not have received before it restarted come back through
    /// [`take_unconfirmed`](InetEndpoint::take_unconfirmed). With `true`, a neighbour that returns
    /// with the same router id is sent those frames again, in order and before newer ones, so it
    /// may receive some twice; if another router id is found at the address, all queued frames come
    /// back. A router id is only a claim, unless the link is encrypted.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::InetEndpoint;
    ///
    /// let endpoint = InetEndpoint::builder().frames_follow_router_id(true).start().await?;
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn frames_follow_router_id(mut self, follow: bool) -> Builder {
        self.frames_follow_id = follow;
        self
    }

    /// Sets the executor. Default: smol's global executor, which has its own threads.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    /// use netmod_inet::InetEndpoint;
    ///
    /// let executor = Arc::new(smol::Executor::new());
    /// smol::block_on(executor.run(async {
    ///     let spawner = Arc::downgrade(&executor);
    ///     let endpoint = InetEndpoint::builder().spawner(spawner).start().await?;
    ///     endpoint.shutdown().await;
    ///     Ok(())
    /// }))
    /// # }
    /// ```
    #[must_use]
    pub fn spawner(mut self, spawner: impl Spawn) -> Builder {
        self.spawner = Box::new(spawner);
        self
    }

    /// Opens the sockets and starts the tasks.
    ///
    /// # Errors
    ///
    /// [`StartError`] with the address or limit that cannot be used. Nothing is left running.
    ///
    /// # Cancel safety
    ///
    /// The future never suspends: it completes when first polled.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::InetEndpoint;
    ///
    /// let error = InetEndpoint::builder().bind("nowhere").start().await.unwrap_err();
    /// assert!(error.to_string().contains("nowhere"), "{error}");
    /// # Ok(()) }) }
    /// ```
    pub async fn start(self) -> Result<InetEndpoint, StartError> {
        self.limits.check().map_err(StartError::Limits)?;
        if self.streams.len() > self.limits.peers {
            return Err(StartError::TooManyStreams);
        }
        let id = match self.id {
            Some(id) => id,
            None => Id::random().map_err(StartError::Random)?,
        };
        let instance_id: InstanceId = random::array().map_err(StartError::Random)?.into();
        let mut servers = Server::bind(&parse_binds(&self.binds)?)?;
        for listener in self.listeners {
            servers.push(Server::from_std(listener)?);
        }
        let streams = prepare(self.streams, &self.limits)?;
        let keepalive = Keepalive::new(&self.limits);
        let config = SharedConfig {
            id,
            instance_id,
            limits: self.limits,
            frames_follow_id: self.frames_follow_id,
            resolver: self.resolver,
            connector: Box::new(TcpConnector { keepalive }),
            policy: self.policy,
            #[cfg(feature = "noise")]
            encryption: self.encryption,
            spawner: self.spawner,
        };
        let (endpoint, running) = open(config, &servers);
        for server in servers {
            server.run(&running);
        }
        streams.into_iter().for_each(|stream| register_stream(&running, stream));
        drop(running);
        match endpoint.is_closed() {
            true => Err(StartError::ExecutorGone),
            false => Ok(endpoint),
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("binds", &self.binds).finish_non_exhaustive()
    }
}

fn parse_binds(binds: &[String]) -> Result<Vec<SocketAddr>, StartError> {
    let parse = |text: &String| text.parse().map_err(|_| StartError::Address(shorten(text)));
    binds.iter().map(parse).collect()
}
