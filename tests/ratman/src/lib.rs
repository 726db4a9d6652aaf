//! Ratman's driver trait over [`netmod_inet`].
//!
//! [`RatmanInet`] is what a Ratman builder hands to the router in place of Ratman's own `inet`
//! module: it implements [`EndpointExt`] over an [`InetEndpoint`]. [`Settings`] are the keys that
//! Ratman's configuration has for that module. The README has the whole recipe.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
//! use std::sync::Arc;
//!
//! use libratman::endpoint::EndpointExt;
//! use libratman::types::Ident32;
//! use netmod_inet_ratman::{RatmanInet, Settings};
//!
//! let mut settings = Settings::default();
//! settings.set("bind", "[::1]:0")?;
//! settings.set("add-peer", "inet:mynas.example:9000")?;
//!
//! let mut netmods: Vec<Arc<dyn EndpointExt + Send + Sync>> = Vec::new();
//! // Nothing if the settings say `enable false`.
//! if let Some(inet) = RatmanInet::open(&settings, Ident32::random()).await? {
//!     netmods.push(Arc::new(inet));
//! }
//! # assert!(netmods[0].identifier().starts_with("inet#[::1]:"));
//! # Ok(()) }) }
//! ```
//!
//! # Sending
//!
//! What the router makes itself waits for room, also while the link is being restored, at most for
//! `send_timeout`. What it forwards, which is the envelope that [`next`](EndpointExt::next) handed
//! out last, never waits, and neither does a flood: they are sent inside the loop that calls `next`,
//! and a router that waits there stops receiving. Anything else that the task of that loop sends while
//! frames wait for `next` waits for 500 ms. Other tasks wait however long the loop is busy: a stream
//! would be lost with the first frame that is given back.
//!
//! # Neighbours and their ids
//!
//! `netmod-inet` knows a neighbour by a number of its own, Ratman by the router id that the
//! neighbour claims, which anybody can claim. A claim on an id that nobody has, or whose holder has no
//! live link, gets it at once. If the holder has a live link, that is looked at for up to 2 s, in which
//! what the newcomer sends waits: the two may be one node, or the holder may be gone. If it is there and
//! another, the newcomer gets a random id, made here. An id whose holder has shown a key goes only to
//! that key.
//!
//! What was sent to a neighbour and may not have arrived is sent again as soon as there is a link to
//! its id, before anything newer, for up to 10 minutes. So a neighbour that restarts may receive some
//! envelopes twice.

#![forbid(unsafe_code)]

mod convert;
mod echoes;
mod meter;
mod neighbours;
mod receiving;
mod report;
mod returned;
mod sending;
mod settings;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use async_trait::async_trait;
use event_listener::Event as Signal;
use libratman::endpoint::{EndpointExt, NeighbourMetrics};
use libratman::types::{Ident32, InMemoryEnvelope, Neighbour};
use libratman::{NetmodError, NonfatalError, RatmanError, Result};
use netmod_inet::{
    AddPeersError, Builder, Closed, Events, InetEndpoint, Received, StartError, Target,
};
use smol::Timer;
use smol::future;

pub use convert::{to_envelope, to_frame};
pub use settings::Settings;

use echoes::Echoes;
use neighbours::{Neighbours, Sender};
use receiving::ReceiveLoop;
use report::TARGET;

/// The program of the README, so that it is tested too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// An [`InetEndpoint`] as Ratman's router uses one.
///
/// Clones are handles of the same endpoint. Give the router a clone, or an
/// `Arc<dyn EndpointExt + Send + Sync>`, rather than an `Arc<RatmanInet>`: libratman's own
/// implementation for `Arc<T>` forwards nothing but `send` and `next`, so that the rest of the
/// trait would seem unsupported.
///
/// Dropping the last handle says goodbye to the neighbours and closes the links, without sending what
/// is queued. [`shutdown`](RatmanInet::shutdown) sends it first.
#[derive(Debug, Clone)]
pub struct RatmanInet(Arc<Shared>);

/// What all handles share.
#[derive(Debug)]
struct Shared {
    endpoint: InetEndpoint,
    /// Taken under the lock of `neighbours` only, so that they are applied in their order.
    events: Events,
    neighbours: Mutex<Neighbours>,
    /// Notified when events were applied.
    applied: Signal,
    receive_loop: ReceiveLoop,
    echoes: Mutex<Echoes>,
}

impl RatmanInet {
    /// Starts an endpoint as the settings say, for the router with this id, and dials their peers.
    /// `None` if they do not enable it.
    ///
    /// # Errors
    ///
    /// [`NetmodError::InvalidBind`] says why it cannot listen, [`NetmodError::InvalidPeer`] which
    /// peer is there twice. Nothing is left running then.
    pub async fn open(settings: &Settings, router: Ident32) -> Result<Option<RatmanInet>> {
        if !settings.enable {
            return Ok(None);
        }
        let inet = RatmanInet::start(settings.builder(router)).await?;
        if let Err(error) = inet.endpoint().add_peers(settings.peers()).await {
            log::warn!(target: TARGET, "no peer of the settings is dialed: {error}");
            return Err(not_added(error));
        }
        Ok(Some(inet))
    }

    /// Starts an endpoint that the caller has described, for what [`Settings`] have no word for: keys,
    /// limits, several listeners, an executor.
    ///
    /// `frames_follow_router_id` is set on the builder here.
    ///
    /// # Errors
    ///
    /// [`NetmodError::InvalidBind`] says why it cannot start.
    pub async fn start(builder: Builder) -> Result<RatmanInet> {
        let started = builder.frames_follow_router_id(true).start().await;
        let endpoint = started.map_err(|error: StartError| {
            log::warn!(target: TARGET, "inet does not start: {error}");
            NetmodError::InvalidBind(error.to_string())
        })?;
        // Before the peers are looked at, so that none is missed in between.
        let events = endpoint.events();
        let neighbours = Mutex::new(Neighbours::new(&endpoint));
        let (applied, receive_loop) = (Signal::new(), ReceiveLoop::new());
        let echoes = Mutex::default();
        let shared = Shared { endpoint, events, neighbours, applied, receive_loop, echoes };
        Ok(RatmanInet(Arc::new(shared)))
    }

    /// The endpoint, for what the trait has no word for: `peers`, `events`.
    pub fn endpoint(&self) -> &InetEndpoint {
        &self.0.endpoint
    }

    /// Changes who may come in: everybody, or only those whose addresses are in the list of peers.
    /// Who is in stays.
    pub fn accept_unknown_peers(&self, accept: bool) {
        self.0.endpoint.set_accept_policy(settings::policy(accept));
    }

    /// Stops the netmod: links that are up send what is queued, say goodbye and close, at most for
    /// `Limits::drain_timeout` (2 s). Returns when all of it has ended; what could not be sent is
    /// counted in the log.
    ///
    /// # Cancel safety
    ///
    /// The netmod stops all the same; only the waiting is given up.
    pub async fn shutdown(&self) {
        self.0.endpoint.shutdown().await;
        self.0.neighbours().give_up_all();
    }

    /// The id by which the router knows the peer that [`start_peering`] returned.
    ///
    /// `None` until the peer was reached for the first time, while it is being found out whether it may
    /// have the id that it claims, and after its end.
    ///
    /// [`start_peering`]: EndpointExt::start_peering
    pub fn neighbour(&self, target: Target) -> Option<Ident32> {
        self.0.neighbours().name(target)
    }
}

impl Shared {
    /// The neighbours, after what happened up to now.
    fn neighbours(&self) -> MutexGuard<'_, Neighbours> {
        let mut neighbours = self.neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut has_changed = false;
        // What an event leads to may be another one, which has its turn next time.
        let events: Vec<_> = std::iter::from_fn(|| self.events.try_next().ok().flatten()).collect();
        for event in events {
            neighbours.apply(&self.endpoint, event, now);
            has_changed = true;
        }
        neighbours.tick(&self.endpoint, now);
        if has_changed {
            // They take the lock when they look.
            self.applied.notify(usize::MAX);
        }
        neighbours
    }

    /// Waits until there is an event to apply, or another task has applied one. Whoever was about to
    /// look listens to `applied` before.
    async fn changed(&self, applied: event_listener::EventListener) {
        let ready = async {
            match self.endpoint.is_closed() {
                // There will be no more.
                true => future::pending().await,
                false => self.events.ready().await,
            }
        };
        future::or(ready, applied).await;
    }

    /// Whether a frame is an announcement that this router flooded, sent back by a neighbour that
    /// cannot know where it had it from; see [`Echoes`].
    fn is_echo(&self, neighbours: &Neighbours, received: &Received) -> bool {
        let is_known = self.echoes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = is_known.is_known(received.frame());
        is_known && neighbours.is_plain_dialer(&self.endpoint, received.target())
    }

    /// Waits until one of these queues has room for the length that stands beside its target.
    async fn until_any_room(&self, blocked: Vec<(Target, usize)>) {
        let until_room = |(target, len)| {
            Box::pin(async move {
                if self.endpoint.until_room(target, len).await.is_err() {
                    // The event that says why is still to come.
                    future::pending::<()>().await;
                }
            })
        };
        let mut waits: Vec<_> = blocked.into_iter().map(until_room).collect();
        future::poll_fn(|cx| {
            let is_ready = waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready());
            if is_ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The next frame, and the name of who sent it.
    async fn recv(&self) -> std::result::Result<(Ident32, Received), Closed> {
        loop {
            let applied = self.applied.listen();
            let (due, blocked) = {
                let mut neighbours = self.neighbours();
                if let Some(ready) = neighbours.pop_ready() {
                    return Ok(ready);
                }
                (neighbours.due(), neighbours.blocked())
            };
            let received = async { Some(self.endpoint.recv().await) };
            let changed = async {
                self.changed(applied).await;
                None
            };
            let due = async {
                match due {
                    Some(due) => Timer::at(due).await,
                    None => future::pending().await,
                };
                None
            };
            let room = async {
                self.until_any_room(blocked).await;
                None
            };
            let found = future::or(received, future::or(changed, future::or(due, room))).await;
            match found {
                Some(Ok(received)) => {
                    let mut neighbours = self.neighbours();
                    if self.is_echo(&neighbours, &received) {
                        continue;
                    }
                    match neighbours.sender(received.target()) {
                        // What was held of the same neighbour goes before.
                        Sender::Named(name) if !neighbours.has_ready() => {
                            return Ok((name, received));
                        }
                        Sender::Named(name) => neighbours.push_ready(name, received),
                        Sender::Undecided => neighbours.hold(received),
                    }
                }
                Some(Err(Closed)) => {
                    let mut neighbours = self.neighbours();
                    neighbours.decide_all();
                    return neighbours.pop_ready().ok_or(Closed);
                }
                None => {}
            }
        }
    }
}

#[async_trait]
impl EndpointExt for RatmanInet {
    /// `inet#` and the address of the first listener, or what the router id begins with if there
    /// is none: several endpoints in one router can be told apart.
    fn identifier(&self) -> String {
        match self.endpoint().local_addrs().first() {
            Some(addr) => format!("inet#{addr}"),
            None => format!("inet#{:.8}", self.endpoint().router_id().to_string()),
        }
    }

    /// What the present link has been seen to carry: the most bytes per second, each way, of the last
    /// five to ten minutes. A quiet link says nothing about what it can carry, and does not look
    /// slow.
    ///
    /// [`NonfatalError::NoMetrics`] for a neighbour that is unknown, has no link or has carried
    /// nothing yet, and for anything but one neighbour.
    async fn metrics_for_neighbour(&self, neighbour: Neighbour) -> Result<NeighbourMetrics> {
        let mut neighbours = self.0.neighbours();
        let name = neighbour.maybe_single().ok_or(NonfatalError::NoMetrics)?;
        let peer = neighbours.target(&name).and_then(|target| self.endpoint().peer(target));
        let metrics = peer.and_then(|peer| neighbours.metrics(&peer));
        metrics.ok_or(NonfatalError::NoMetrics.into())
    }

    /// Adds a peer, which is dialed until it is reached, and again whenever its link ends.
    ///
    /// [`NetmodError::InvalidPeer`] says what is wrong with the address, or that it is a peer
    /// already; [`NetmodError::RecvSocketClosed`] after a shutdown. The log says so too.
    async fn start_peering(&self, addr: &str) -> Result<u16> {
        let added = self.endpoint().add_peers([addr]).await;
        let targets = added.map_err(|error| {
            log::warn!(target: TARGET, "cannot peer with `{addr}`: {error}");
            match error {
                AddPeersError::Malformed { source, .. } => {
                    NetmodError::InvalidPeer(format!("`{addr}`: {source}")).into()
                }
                error => not_added(error),
            }
        })?;
        targets.first().copied().ok_or_else(|| NetmodError::InvalidPeer(addr.to_owned()).into())
    }

    /// Sends an envelope to one neighbour or to all; see the crate's documentation for what waits.
    ///
    /// `exclude` is left out, whatever the target is. A flood reaches each neighbour once, whatever
    /// links there are to it; one whose queue is full misses it, and the router hears nothing of that,
    /// for it would send the envelope to all the others once more.
    ///
    /// [`NetmodError::ConnectionLost`] gives the envelope back where waiting did not help or cannot
    /// help: no room in time, nobody has the id, the endpoint was shut down. The other errors have no
    /// place for it, and it would be refused again: `NotSupported` tells of modes that belong to the
    /// netmod and of a link that is limited to the other direction, `FrameTooLarge` of the limit on
    /// frames, and an encoding error of an envelope whose buffer is no carrier frame. The log counts
    /// them all.
    ///
    /// Dropping the future either queued the envelope or did not.
    async fn send(
        &self,
        envelope: InMemoryEnvelope,
        target: Neighbour,
        exclude: Option<Ident32>,
    ) -> Result<()> {
        match target {
            Neighbour::Drop => Ok(()),
            Neighbour::Single(id) if exclude == Some(id) => Ok(()),
            Neighbour::Single(id) => self.0.send_to(id, envelope).await,
            Neighbour::Flood => self.0.flood(envelope, [None, exclude]),
            Neighbour::FloodExcept(id) => self.0.flood(envelope, [Some(id), exclude]),
        }
    }

    /// Waits for the next envelope from any neighbour.
    ///
    /// [`NetmodError::RecvSocketClosed`] once the endpoint was shut down and everything that had
    /// arrived was handed out. Cancel-safe: nothing is waited for once a frame was taken.
    async fn next(&self) -> Result<(InMemoryEnvelope, Neighbour)> {
        let _call = self.0.receive_loop.enter();
        future::poll_fn(|cx| {
            self.0.receive_loop.note_task(cx.waker());
            Poll::Ready(())
        })
        .await;
        loop {
            let next = self.0.recv().await;
            let (name, received) = next.map_err(|Closed| NetmodError::RecvSocketClosed)?;
            match to_envelope(received.frame().clone()) {
                Ok(envelope) => {
                    self.0.receive_loop.hand_out(received);
                    return Ok((envelope, Neighbour::Single(name)));
                }
                Err(error) => log::warn!(target: TARGET, "a frame from {name} is dropped: {error}"),
            }
        }
    }
}

fn not_added(error: AddPeersError) -> RatmanError {
    match error {
        AddPeersError::Closed => NetmodError::RecvSocketClosed,
        error => NetmodError::InvalidPeer(error.to_string()),
    }
    .into()
}
