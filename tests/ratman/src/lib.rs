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
//! // `None` if the settings have `enable false`.
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
//! out last, never waits, and neither does a flood: they are sent inside the loop that calls
//! `next`, and a router that waits there stops receiving. Anything else that the task of that loop
//! sends while frames wait for `next` waits for 500 ms. Other tasks wait however long the loop is
//! busy: a stream would be lost with the first frame that is given back.
//!
//! # Neighbours and their ids
//!
//! `netmod-inet` knows a neighbour by a number of its own, Ratman by the router id that the
//! neighbour claims, which anybody can claim. A claim on an id that nobody has, or whose holder has
//! no live link, gets it at once. If the holder has a live link, that is looked at for up to 2 s,
//! in which what the newcomer sends waits: the two may be one node, or the holder may be gone. If
//! it is there and another, the newcomer gets a random id, made here. An id whose holder has shown
//! a key goes only to that key.
//!
//! What was sent to a neighbour and may not have arrived is sent again as soon as there is a link
//! to its id, before anything newer, for up to 10 minutes. So a neighbour that restarts may receive
//! some envelopes twice.

#![forbid(unsafe_code)]

mod blocks;
mod convert;
mod echoes;
mod meter;
mod neighbours;
mod receiving;
mod report;
mod returned;
mod sending;
mod settings;
mod shared;

use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use libratman::endpoint::{EndpointExt, NeighbourMetrics};
use libratman::types::{Ident32, InMemoryEnvelope, Neighbour};
use libratman::{NetmodError, NonfatalError, RatmanError, Result};
use netmod_inet::{AddPeersError, Builder, Closed, InetEndpoint, StartError, Target};
use smol::future;

pub use convert::{to_envelope, to_frame};
pub use settings::Settings;

use report::TARGET;
use shared::Shared;

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
/// Dropping the last handle sends the neighbours a goodbye and closes the links, without sending
/// what is queued. [`shutdown`](RatmanInet::shutdown) sends it first.
#[derive(Debug, Clone)]
pub struct RatmanInet(Arc<Shared>);

impl RatmanInet {
    /// Starts an endpoint with these settings, for the router with this id, and dials their peers.
    /// `None` if they do not enable it.
    ///
    /// # Errors
    ///
    /// [`NetmodError::InvalidBind`] names why it cannot listen, [`NetmodError::InvalidPeer`] which
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

    /// Starts an endpoint that the caller has described, for what [`Settings`] do not cover:
    /// keys, limits, several listeners, an executor.
    ///
    /// `frames_follow_router_id` is set on the builder here.
    ///
    /// # Errors
    ///
    /// [`NetmodError::InvalidBind`] names why it cannot start.
    pub async fn start(builder: Builder) -> Result<RatmanInet> {
        let started = builder.frames_follow_router_id(true).start().await;
        let endpoint = started.map_err(|error: StartError| {
            log::warn!(target: TARGET, "inet does not start: {error}");
            NetmodError::InvalidBind(error.to_string())
        })?;
        Ok(RatmanInet(Arc::new(Shared::new(endpoint))))
    }

    /// The endpoint, for what the trait does not cover: `peers`, `events`.
    pub fn endpoint(&self) -> &InetEndpoint {
        &self.0.endpoint
    }

    /// Changes who may come in: everybody, or only those whose addresses are in the list of peers.
    /// Who is in stays.
    pub fn accept_unknown_peers(&self, accept: bool) {
        self.0.endpoint.set_accept_policy(settings::policy(accept));
    }

    /// Stops the netmod: links that are up send what is queued and a goodbye, and close, at most
    /// for `Limits::drain_timeout` (2 s). Returns when all of it has ended; what could not be sent
    /// is counted in the log.
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
    /// `None` until the peer was reached for the first time, while it is being found out whether it
    /// may have the id that it claims, and after its end.
    ///
    /// [`start_peering`]: EndpointExt::start_peering
    pub fn neighbour(&self, target: impl Into<Target>) -> Option<Ident32> {
        self.0.neighbours().name(target.into())
    }
}

#[async_trait]
impl EndpointExt for RatmanInet {
    /// `inet#` and the address of the first listener, or what the router id begins with if there
    /// is none: several endpoints in one router have different ones.
    fn identifier(&self) -> String {
        match self.endpoint().local_addrs().first() {
            Some(addr) => format!("inet#{addr}"),
            None => format!("inet#{:.8}", self.endpoint().router_id().to_string()),
        }
    }

    /// What the present link has been seen to carry: the most bytes per second, each way, of the
    /// last five to ten minutes. A quiet link gives no measure of what it can carry, and does not
    /// look slow.
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
    /// [`NetmodError::InvalidPeer`] names what is wrong with the address, or that it is a peer
    /// already; [`NetmodError::RecvSocketClosed`] after a shutdown. The log names it too.
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
        let target = targets.first().copied().map(u16::from);
        target.ok_or_else(|| NetmodError::InvalidPeer(addr.to_owned()).into())
    }

    /// Sends an envelope to one neighbour or to all; see the crate's documentation for what waits.
    ///
    /// `exclude` is left out, whatever the target is. A flood reaches each neighbour once, whatever
    /// links there are to it; one with too many floods in its queue misses it, and the router gets
    /// no error for that: it would send the envelope to all the others once more.
    ///
    /// [`NetmodError::ConnectionLost`] gives the envelope back where waiting did not help or cannot
    /// help: no room in time, nobody has the id, the endpoint was shut down. The other errors have
    /// no place for it, and it would be refused again: `NotSupported` is for modes that belong to
    /// the netmod and for a link that is limited to the other direction, `FrameTooLarge` for a
    /// frame beyond the limit, and an encoding error for an envelope whose buffer is no carrier
    /// frame. The log counts them all.
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
            self.0.receive_loop.set_task(cx.waker());
            Poll::Ready(())
        })
        .await;
        loop {
            let next = self.0.recv().await;
            let (name, received) = next.map_err(|Closed| NetmodError::RecvSocketClosed)?;
            match to_envelope(received.frame().clone()) {
                Ok(_) if self.0.is_duplicate(&received) => self.0.neighbours().dropped_duplicate(),
                Ok(envelope) => {
                    self.0.receive_loop.set_last(received);
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
