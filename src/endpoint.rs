mod add;
#[cfg(feature = "noise")]
mod keys;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use crate::Target;
use crate::accept::AcceptPolicy;
use crate::builder::Builder;
use crate::context::{Context, Running};
use crate::error::{
    AddPeersError, Closed, DownReason, Refusal, SendError, StartError, UnknownTarget,
};
use crate::events::Events;
use crate::limits::Limits;
use crate::peer::{Closing, FloodCharge, PLACE, Peer, PeerInfo, Pushed, cost};
use crate::proto::{Frame, Id, is_peering};
use crate::routes::Routes;
use crate::server::Server;
use crate::session::{probe, start_connection};

/// A node's end of its TCP links: it listens, dials, and carries frames between neighbours and the
/// router.
///
/// Clones are handles of the same endpoint. Dropping the last one stops it: links close without
/// sending what is queued. [`shutdown`](InetEndpoint::shutdown) sends it first.
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

/// What all handles share; its end is the end of the endpoint.
struct Handle {
    context: Arc<Context>,
    /// Gone once the last task has ended.
    running: Weak<Running>,
    addrs: Vec<SocketAddr>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.context.stop(Closing::Now);
        self.context.inbound.close();
    }
}

impl InetEndpoint {
    /// Starts an endpoint that listens on `bind`, on smol's global executor, with a random router
    /// id and the default limits. See [`Builder::bind`] for the addresses.
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

    /// Starts to build an endpoint.
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
        Builder::new()
    }

    pub(crate) fn new(
        context: Arc<Context>,
        running: &Arc<Running>,
        servers: &[Server],
    ) -> InetEndpoint {
        let addrs: Vec<_> = servers.iter().flat_map(Server::local_addrs).collect();
        context.port.store(addrs.first().map_or(0, SocketAddr::port), Ordering::Relaxed);
        let running = Arc::downgrade(running);
        let routes = context.routes.clone();
        InetEndpoint { routes, handle: Arc::new(Handle { context, running, addrs }) }
    }

    /// The router id that this endpoint claims.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// println!("{} listens on {:?}", endpoint.router_id(), endpoint.port());
    /// # Ok(()) }) }
    /// ```
    pub fn router_id(&self) -> Id {
        self.context().id
    }

    /// The port of the first listener, as the system gave it; `None` without listeners.
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

    /// The addresses of all listeners, with their real ports.
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

    /// The bounds that the endpoint keeps.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert_eq!(endpoint.limits().queue_frames, 8192);
    /// # Ok(()) }) }
    /// ```
    pub fn limits(&self) -> &Limits {
        &self.context().limits
    }

    /// Adds peers and starts to dial them. Returns their targets, in the order of the list, at
    /// once: frames may be sent from now on, and wait until the peer is reached.
    ///
    /// The entries are texts or [`PeerAddr`](crate::PeerAddr)s. All are checked before any is added. A
    /// name need not resolve now; it is tried again.
    ///
    /// # Errors
    ///
    /// [`AddPeersError`] names the first entry that cannot be added; none is then.
    ///
    /// # Cancel safety
    ///
    /// It does not wait for anything, so it is done when first polled.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000", "mynas.example:9000X"]).await?;
    /// assert_eq!(targets, [0, 1]);
    /// let error = endpoint.add_peers(["192.0.2.8:9000", "192.0.2.7:9000"]).await.unwrap_err();
    /// assert_eq!(error.to_string(), "entry 2: `192.0.2.7:9000` is peer 0 already");
    /// # Ok(()) }) }
    /// ```
    pub async fn add_peers<I>(&self, peers: I) -> Result<Vec<Target>, AddPeersError>
    where
        I: IntoIterator,
        I::Item: fmt::Display,
    {
        let addrs = add::parse_all(peers)?;
        let context = self.context();
        add::check_keys(context, &addrs)?;
        let running = self.handle.running.upgrade().filter(|_| !context.is_stopping());
        let running = running.ok_or(AddPeersError::Closed)?;
        let new = context.add_peers(|known| {
            add::check_new(&addrs, known)?;
            add::reserve(context, addrs, context.room_to_dial(known))
        })?;
        // A handle that stops the endpoint right now may have missed them.
        if context.is_stopping() {
            new.iter().for_each(|peer| peer.stop(Closing::Now, DownReason::ShuttingDown));
        }
        let targets = new.iter().map(|peer| peer.target()).collect();
        new.into_iter().for_each(|peer| start_connection(&running, peer));
        Ok(targets)
    }

    /// Removes a peer: its link closes, nobody dials it again, its target names nobody any more.
    ///
    /// Frames that arrived from it before are still handed out by [`next`](InetEndpoint::next),
    /// under its target. Frames that wait for it come back through
    /// [`take_unconfirmed`](InetEndpoint::take_unconfirmed) once its link has closed, which is when
    /// [`Event::Removed`](crate::Event::Removed) comes.
    ///
    /// # Errors
    ///
    /// [`UnknownTarget`] if there is no such peer.
    ///
    /// # Cancel safety
    ///
    /// The peer is removed when this is first polled.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// endpoint.remove_peer(targets[0]).await?;
    /// assert!(endpoint.peers().is_empty());
    /// # Ok(()) }) }
    /// ```
    pub async fn remove_peer(&self, target: Target) -> Result<(), UnknownTarget> {
        let peer = self.context().forget_peer(target).ok_or(UnknownTarget(target))?;
        peer.stop(Closing::Now, DownReason::Removed);
        self.routes.remove_peer(peer.target()).await;
        Ok(())
    }

    /// Dials one peer, or with `None` every peer, now instead of when its time comes. A link that is
    /// up has to show within some seconds that it still lives, or is dialed anew. For after a
    /// suspend, or when the network changed.
    ///
    /// # Errors
    ///
    /// [`UnknownTarget`] if there is no such peer.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// // The network is another one now.
    /// endpoint.kick(None)?;
    /// assert!(endpoint.kick(Some(7)).is_err(), "there is no such peer");
    /// # Ok(()) }) }
    /// ```
    pub fn kick(&self, target: Option<Target>) -> Result<(), UnknownTarget> {
        let peers = match target {
            Some(target) => vec![self.peer(target)?],
            None => self.context().peers(),
        };
        peers.iter().for_each(|peer| peer.kick());
        if let Some(running) = self.handle.running.upgrade() {
            probe(&running, &peers);
        }
        Ok(())
    }

    /// Puts a frame into a peer's queue.
    ///
    /// While the peer's link is up and its queue is full, this waits for room, at most for
    /// `Limits::send_timeout`. While the link is down it never waits. A frame that was taken goes
    /// out whole and in order; if the link ends first it waits for the next one.
    ///
    /// # Errors
    ///
    /// [`SendError`] says why the frame was not taken, and gives it back.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future either queued the frame or did not.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint, Refusal};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// endpoint.send(targets[0], frame.clone()).await?;
    /// let error = endpoint.send(7, frame.clone()).await.unwrap_err();
    /// assert_eq!((error.reason(), error.into_frame()), (Refusal::UnknownTarget, frame));
    /// # Ok(()) }) }
    /// ```
    pub async fn send(&self, target: Target, frame: Frame) -> Result<(), SendError> {
        let error = match self.try_send(target, frame) {
            Err(error) if error.reason() == Refusal::Full => error,
            done => return done,
        };
        let Ok(peer) = self.peer(target) else {
            return self.push(target, error.into_frame());
        };
        match peer.send(error.into_frame(), self.limits().send_timeout).await {
            // The peer went while this waited: it became another's alias, or ended.
            Err(error) if error.reason() == Refusal::UnknownTarget => {
                self.try_send(target, error.into_frame())
            }
            done => done,
        }
    }

    /// Puts a frame into a peer's queue if there is room now.
    ///
    /// This is the one to use inside a router's loop: one that waits in
    /// [`send`](InetEndpoint::send) before it calls [`next`](InetEndpoint::next) may hold itself up.
    /// Frames keep their room until they are acknowledged, and the word of that comes behind the
    /// frames that the router does not take meanwhile.
    ///
    /// # Errors
    ///
    /// [`SendError`] says why the frame was not taken, and gives it back.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// match endpoint.try_send(targets[0], frame) {
    ///     Ok(()) => println!("it goes out as soon as it can"),
    ///     Err(error) => println!("{} bytes are back: {error}", error.frame().len()),
    /// }
    /// # Ok(()) }) }
    /// ```
    pub fn try_send(&self, target: Target, frame: Frame) -> Result<(), SendError> {
        match self.refusal(&frame) {
            None => self.push(target, frame),
            Some(refusal) => Err(SendError::new(refusal, frame)),
        }
    }

    /// Puts many frames into a peer's queue, in their order, for as long as there is room now. Those
    /// that the queue took are gone from `frames`.
    ///
    /// It does the same as [`try_send`](InetEndpoint::try_send) for each of them, but looks the peer
    /// up and locks its queue once for all: small frames go nearly twice as fast.
    ///
    /// # Errors
    ///
    /// Why the frame that is now the first of `frames` was not taken. The rest was not tried.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use std::collections::VecDeque;
    /// use netmod_inet::{Frame, InetEndpoint, Refusal};
    ///
    /// let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("hello").build()?;
    /// let mut frames = VecDeque::from(vec![frame; 10_000]);
    /// let refusal = endpoint.try_send_many(targets[0], &mut frames).unwrap_err();
    /// assert_eq!((refusal, frames.len()), (Refusal::Full, 10_000 - endpoint.peers()[0].queued_frames));
    /// # Ok(()) }) }
    /// ```
    pub fn try_send_many(
        &self,
        target: Target,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), Refusal> {
        let context = self.context();
        let mut has_shed = false;
        while let Some(first) = frames.front() {
            let least = cost(first);
            let (taken, refused) = context.push_many(target, frames, |frame| self.refusal(frame));
            // After the locks: bytes that the caller lent may run code of his when they are let go.
            frames.drain(..taken);
            match refused {
                // Once for each frame that needs it.
                Some(Refusal::EndpointFull) if taken > 0 || !has_shed => {
                    has_shed = true;
                    context.shed(frames.front().map_or(least, cost));
                }
                Some(Refusal::UnknownTarget) if context.is_stopping() => {
                    return Err(Refusal::Closed);
                }
                Some(refusal) => return Err(refusal),
                None => {}
            }
        }
        Ok(())
    }

    fn push(&self, target: Target, frame: Frame) -> Result<(), SendError> {
        let context = self.context();
        let pushed = match context.push(target, frame) {
            Err((Refusal::EndpointFull, frame)) => {
                context.shed(cost(&frame));
                context.push(target, frame)
            }
            done => done,
        };
        match pushed {
            Ok(()) => Ok(()),
            Err((Refusal::UnknownTarget, frame)) if context.is_stopping() => {
                Err(SendError::new(Refusal::Closed, frame))
            }
            Err((refusal, frame)) => Err(SendError::new(refusal, frame)),
        }
    }

    /// Puts a frame into the queue of every peer whose link is up. Never waits.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the frame can go to no peer at all: it is too large, its modes are
    /// reserved, or the endpoint is closed or has no room left in its budget.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint, Refusal};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(4, endpoint.router_id()).build()?;
    /// let report = endpoint.send_all(frame)?;
    /// assert_eq!(report.refused, [(targets[0], Refusal::LinkDown)]);
    /// # Ok(()) }) }
    /// ```
    pub fn send_all(&self, frame: Frame) -> Result<FloodReport, SendError> {
        self.flood(frame, None)
    }

    /// The same as [`send_all`](InetEndpoint::send_all), leaving one peer out: the one that the
    /// frame came from.
    ///
    /// # Errors
    ///
    /// See [`send_all`](InetEndpoint::send_all).
    ///
    /// ```
    /// use netmod_inet::InetEndpoint;
    ///
    /// /// Floods what arrives, and not back to where it came from.
    /// async fn flood(endpoint: &InetEndpoint) -> Result<(), Box<dyn std::error::Error>> {
    ///     let (from, frame) = endpoint.next().await?;
    ///     for (target, reason) in endpoint.send_all_except(frame, from)?.refused {
    ///         println!("not for {target}: {reason}");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn send_all_except(&self, frame: Frame, target: Target) -> Result<FloodReport, SendError> {
        self.flood(frame, Some(target))
    }

    fn flood(&self, frame: Frame, except: Option<Target>) -> Result<FloodReport, SendError> {
        let context = self.context();
        // Once, and not for every peer.
        if let Some(refusal) = self.refusal(&frame) {
            return Err(SendError::new(refusal, frame));
        }
        let frame = frame.compact();
        let charge = FloodCharge::new(&context.budget, &frame).or_else(|| {
            context.shed(cost(&frame));
            FloodCharge::new(&context.budget, &frame)
        });
        let Some(charge) = charge else {
            return Err(SendError::new(Refusal::EndpointFull, frame));
        };
        // An alias stands for the peer.
        let except = except.and_then(|target| context.peer(target)).map(|peer| peer.target());
        let mut report = FloodReport::default();
        let mut short_of_room = Vec::new();
        context.for_each_peer(|peer| {
            if Some(peer.target()) == except {
                return;
            }
            match peer.push(frame.clone(), Some(charge.clone()), true) {
                Err((Refusal::EndpointFull, _)) => short_of_room.push(peer.clone()),
                pushed => report.note(peer, pushed),
            }
        });
        if !short_of_room.is_empty() {
            context.shed(PLACE * short_of_room.len());
        }
        for peer in short_of_room {
            report.note(&peer, peer.push(frame.clone(), Some(charge.clone()), true));
        }
        Ok(report)
    }

    /// Waits for the next frame from any peer. Frames of one peer come in order.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the endpoint was shut down, or its executor is gone, and every frame that
    /// had arrived was handed out.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no frame.
    ///
    /// ```
    /// # async fn route(endpoint: netmod_inet::InetEndpoint) {
    /// while let Ok((from, frame)) = endpoint.next().await {
    ///     println!("{} bytes from {from}", frame.len());
    /// }
    /// # }
    /// ```
    pub async fn next(&self) -> Result<(Target, Frame), Closed> {
        self.context().inbound.next().await
    }

    /// The next frame from any peer, if there is one now. While somebody waits in
    /// [`next`](InetEndpoint::next) there is none: it would be theirs.
    ///
    /// # Errors
    ///
    /// See [`next`](InetEndpoint::next).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert_eq!(endpoint.try_next()?, None, "nobody is there");
    /// # Ok(()) }) }
    /// ```
    pub fn try_next(&self) -> Result<Option<(Target, Frame)>, Closed> {
        self.context().inbound.try_next()
    }

    /// Takes the frames that a peer was not sent: those that waited when it ended, oldest first.
    /// [`Event::Unconfirmed`](crate::Event::Unconfirmed) tells that there are some.
    ///
    /// At most `Limits::unconfirmed_bytes` are kept for all peers together, the latest frames.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// endpoint.try_send(targets[0], frame.clone())?;
    /// endpoint.shutdown().await;
    /// assert_eq!(endpoint.take_unconfirmed(targets[0]), [frame]);
    /// # Ok(()) }) }
    /// ```
    pub fn take_unconfirmed(&self, target: Target) -> Vec<Frame> {
        self.context().take_unconfirmed(target)
    }

    /// How every neighbour is, and why: those that are down too. Ordered by target.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// for peer in endpoint.peers() {
    ///     println!("{} is {}: {:?}", peer.target, peer.state, peer.last_error);
    /// }
    /// # Ok(()) }) }
    /// ```
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.context().peers().iter().map(|peer| peer.info()).collect()
    }

    /// The neighbours that this node has shaken hands with.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert!(endpoint.routes().get_all_valid().await.is_empty());
    /// # Ok(()) }) }
    /// ```
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// Listens for events: the first listener from the start of the endpoint on, so that it misses
    /// nothing, any other from now on. Listeners hear of an event in the order in which they began.
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
        self.context().events.subscribe()
    }

    /// Changes who may come in. Peers that are in stay.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{AcceptPolicy, InetEndpoint};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// endpoint.set_accept_policy(AcceptPolicy::none());
    /// # Ok(()) }) }
    /// ```
    pub fn set_accept_policy(&self, policy: AcceptPolicy) {
        *self.context().policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Stops the endpoint: no peer is dialed or let in any more, links that are up send what is
    /// queued and close, at most for `Limits::drain_timeout`. Returns when all tasks have ended.
    ///
    /// What arrived before is still handed out by [`next`](InetEndpoint::next), and what was not
    /// sent by [`take_unconfirmed`](InetEndpoint::take_unconfirmed). Before a restart use
    /// [`shutdown_for`](InetEndpoint::shutdown_for).
    ///
    /// # Cancel safety
    ///
    /// The endpoint stops all the same; only the waiting is given up.
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
        self.context().stop(Closing::Drain);
        self.context().until_stopped().await;
    }

    /// Does the same as [`shutdown`](InetEndpoint::shutdown) for a restart: neighbours are told to
    /// dial again after `time`, instead of at once and then ever more rarely.
    ///
    /// Each is told to wait up to 30 ms longer than the one before, so that a handful comes back at
    /// the same time and ten thousand over half a minute. They obey up to 10 minutes, to which `time`
    /// is bounded. Plain Ratman nodes are not told; they dial when they see fit.
    ///
    /// # Cancel safety
    ///
    /// The endpoint stops all the same; only the waiting is given up.
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
        self.context().ask_away(time);
        self.shutdown().await;
    }

    /// Whether the endpoint has come to its end: it was shut down, or its executor is gone.
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

    fn context(&self) -> &Arc<Context> {
        &self.handle.context
    }

    fn peer(&self, target: Target) -> Result<Arc<Peer>, UnknownTarget> {
        self.context().peer(target).ok_or(UnknownTarget(target))
    }

    /// Why the router may not send this frame to anybody.
    fn refusal(&self, frame: &Frame) -> Option<Refusal> {
        match () {
            () if self.context().is_stopping() => Some(Refusal::Closed),
            () if is_peering(frame.modes()) => Some(Refusal::Reserved),
            () if frame.len() > self.limits().frame_bytes => Some(Refusal::TooLarge),
            () => None,
        }
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

/// What became of a flooded frame.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{Frame, InetEndpoint};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let report = endpoint.send_all(Frame::builder(4, endpoint.router_id()).build()?)?;
/// println!("{} took it, {} did not", report.sent.len(), report.refused.len());
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FloodReport {
    /// The peers whose queues took it.
    pub sent: Vec<Target>,
    /// The peers whose queues did not, and why.
    pub refused: Vec<(Target, Refusal)>,
}

impl FloodReport {
    fn note(&mut self, peer: &Peer, pushed: Result<Pushed, (Refusal, Frame)>) {
        match pushed {
            Ok(_) => self.sent.push(peer.target()),
            Err((refusal, _)) => self.refused.push((peer.target(), refusal)),
        }
    }
}
