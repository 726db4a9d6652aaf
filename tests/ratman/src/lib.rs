//! Ratman's driver trait over [`netmod_inet`].
//!
//! [`RatmanInet`] is what a Ratman builder hands to the router in place of Ratman's own `inet`
//! module: it implements [`EndpointExt`] over an [`InetEndpoint`]. [`Settings`] are the keys that
//! Ratman's configuration has for that module.
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
//! # Errors
//!
//! Whatever could not be sent comes back: [`NetmodError::ConnectionLost`] holds the envelope, for
//! the router's journal. What was taken for a neighbour that ended before it had it comes out of
//! [`take_lost`](RatmanInet::take_lost). libratman shows `InvalidPeer` and `InvalidBind` without
//! their reasons: log the text inside.
//!
//! # Neighbours and their ids
//!
//! `netmod-inet` knows a neighbour by a number of its own, Ratman by the router id that the
//! neighbour claims, which anybody can claim. So the first peer that claims an id is known to the
//! router by it for as long as the peer lives, cuts of its link included. A later peer that claims
//! the same id meanwhile gets a random id, made here, which it keeps for as long as it lives. What
//! is meant for one peer never goes to another because of what that one claims.

#![forbid(unsafe_code)]

mod convert;
mod meter;
mod names;
mod settings;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use libratman::endpoint::{EndpointExt, NeighbourMetrics};
use libratman::frame::carrier::CarrierFrameHeader;
use libratman::types::{Ident32, InMemoryEnvelope, Neighbour};
use libratman::{NetmodError, NonfatalError, RatmanError, Result};
use netmod_inet::{
    AddPeersError, Frame, Id, InetEndpoint, PeerInfo, PeerState, Refusal, SendError, StartError,
    Target,
};

pub use convert::{to_envelope, to_frame};
pub use settings::Settings;

use names::Names;

/// An [`InetEndpoint`] as Ratman's router uses one.
///
/// Clones are handles of the same endpoint. Give the router a clone, or an
/// `Arc<dyn EndpointExt + Send + Sync>`, rather than an `Arc<RatmanInet>`: libratman's own
/// implementation for `Arc<T>` forwards nothing but `send` and `next`, so that the rest of the
/// trait would seem unsupported.
#[derive(Debug, Clone)]
pub struct RatmanInet {
    endpoint: InetEndpoint,
    names: Arc<Mutex<Names>>,
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
        let builder = InetEndpoint::builder().router_id(to_id(router)).bind(&settings.bind);
        let builder = builder.accept(settings::policy(settings.accept_unknown_peers));
        let inet = RatmanInet::new(builder.start().await.map_err(not_started)?);
        inet.endpoint.add_peers(settings.peers()).await.map_err(not_added)?;
        Ok(Some(inet))
    }

    /// Starts an endpoint that listens on `bind`, with a random id; see [`InetEndpoint::start`].
    ///
    /// # Errors
    ///
    /// [`NetmodError::InvalidBind`] says why it cannot.
    pub async fn start(bind: &str) -> Result<RatmanInet> {
        Ok(RatmanInet::new(InetEndpoint::start(bind).await.map_err(not_started)?))
    }

    /// Wraps an endpoint that was made with [`InetEndpoint::builder`], with the router's own id
    /// for one.
    ///
    /// Of a new peer this hears before all who listen to the endpoint's events from now on, and
    /// after those who did so before.
    pub fn new(endpoint: InetEndpoint) -> RatmanInet {
        let names = Arc::new(Mutex::new(Names::new(&endpoint)));
        RatmanInet { endpoint, names }
    }

    /// The endpoint, for what the trait has no word for: `shutdown`, `peers`, `events`.
    pub fn endpoint(&self) -> &InetEndpoint {
        &self.endpoint
    }

    /// Changes who may come in: everybody, or only those whose addresses are in the list of peers.
    /// Who is in stays.
    pub fn accept_unknown_peers(&self, accept: bool) {
        self.endpoint.set_accept_policy(settings::policy(accept));
    }

    /// Takes the envelopes that were taken for neighbours which ended before they were known to have
    /// arrived, and whom they were for: oldest first for each. Some may have arrived all the same.
    ///
    /// Few kinds of neighbours end: those that dialed this node and are gone, or stayed away for too
    /// long, and all of them at a shutdown. For others what was sent waits, and goes out later.
    pub fn take_lost(&self) -> Vec<(Ident32, InMemoryEnvelope)> {
        let lost = self.names().take_lost();
        let frames = lost.into_iter().flat_map(|(target, name)| {
            let frames = self.endpoint.take_unconfirmed(target);
            frames.into_iter().map(move |frame| (name, frame))
        });
        // All of them came from envelopes.
        frames.filter_map(|(name, frame)| Some((name, to_envelope(frame).ok()?))).collect()
    }

    /// The id by which the router knows the peer that [`start_peering`] returned.
    ///
    /// `None` until the peer was reached for the first time, and after its end.
    ///
    /// [`start_peering`]: EndpointExt::start_peering
    pub fn neighbour(&self, target: Target) -> Option<Ident32> {
        self.names().name(target)
    }

    /// The names, after what happened up to now.
    fn names(&self) -> MutexGuard<'_, Names> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.refresh(&self.endpoint);
        names
    }

    fn send_to(&self, id: Ident32, envelope: InMemoryEnvelope) -> Result<()> {
        let Some(target) = self.names().target(&id) else {
            return Err(NetmodError::ConnectionLost(envelope).into());
        };
        let header = envelope.header;
        let frame = to_frame(envelope)?;
        self.endpoint.try_send(target, frame).map_err(|error| refused(header, error))
    }

    /// Sends to whoever is up and not left out. An id that nobody has leaves nobody out.
    ///
    /// A neighbour whose queue is full misses the flood. The router hears nothing of that, for it
    /// would take the envelope back and send it to all the others once more.
    fn flood(&self, envelope: InMemoryEnvelope, except: [Option<Ident32>; 2]) -> Result<()> {
        let header = envelope.header;
        let frame = to_frame(envelope)?;
        let flooded = match self.targets(except)[..] {
            [] => self.endpoint.send_all(frame).map(drop),
            [one] => self.endpoint.send_all_except(frame, one).map(drop),
            ref several => self.flood_around(&frame, several),
        };
        flooded.map_err(|error| refused(header, error))
    }

    fn targets(&self, ids: [Option<Ident32>; 2]) -> Vec<Target> {
        let names = self.names();
        let mut targets: Vec<_> = ids.iter().flatten().filter_map(|id| names.target(id)).collect();
        targets.dedup();
        targets
    }

    /// The endpoint itself leaves out one peer at most.
    fn flood_around(&self, frame: &Frame, except: &[Target]) -> std::result::Result<(), SendError> {
        let wanted =
            |peer: &PeerInfo| peer.state == PeerState::Up && !except.contains(&peer.target);
        for peer in self.endpoint.peers().into_iter().filter(wanted) {
            match self.endpoint.try_send(peer.target, frame.clone()) {
                Err(error) if concerns_all(error.reason()) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl EndpointExt for RatmanInet {
    /// `inet#` and the address of the first listener, or what the router id begins with if there
    /// is none: several endpoints in one router can be told apart.
    fn identifier(&self) -> String {
        match self.endpoint.local_addrs().first() {
            Some(addr) => format!("inet#{addr}"),
            None => format!("inet#{:.8}", self.endpoint.router_id().to_string()),
        }
    }

    /// What the present link has been seen to carry: the most bytes per second, each way, of the last
    /// five to ten minutes. A quiet link says nothing about what it can carry, and does not look
    /// slow.
    ///
    /// [`NonfatalError::NoMetrics`] for a neighbour that is unknown, has no link or has carried
    /// nothing yet, and for anything but one neighbour.
    async fn metrics_for_neighbour(&self, neighbour: Neighbour) -> Result<NeighbourMetrics> {
        let target = neighbour.maybe_single().and_then(|id| self.names().target(&id));
        let peer = match target {
            Some(target) => self.endpoint.routes().get_peer_by_id(target).await,
            None => None,
        };
        let metrics = peer.and_then(|peer| self.names().metrics(&peer.info()));
        metrics.ok_or(NonfatalError::NoMetrics.into())
    }

    /// Adds a peer, which is dialed until it is reached, and again whenever its link ends.
    ///
    /// [`NetmodError::InvalidPeer`] says what is wrong with the address, or that it is a peer
    /// already; [`NetmodError::RecvSocketClosed`] after a shutdown.
    async fn start_peering(&self, addr: &str) -> Result<u16> {
        let added = self.endpoint.add_peers([addr]).await;
        let targets = added.map_err(|error| match error {
            AddPeersError::Malformed { source, .. } => {
                NetmodError::InvalidPeer(format!("`{addr}`: {source}")).into()
            }
            error => not_added(error),
        })?;
        targets.first().copied().ok_or_else(|| NetmodError::InvalidPeer(addr.to_owned()).into())
    }

    /// Queues an envelope for one neighbour or for all. Never waits: a router that waits here does
    /// not call `next` meanwhile, and two of them would hold each other up.
    ///
    /// `exclude` is left out, whatever the target is. [`NetmodError::ConnectionLost`] gives the
    /// envelope back if the neighbour's queue is full, nobody has the id, or the endpoint was shut
    /// down; the other errors have no place for it, and it would be refused again. `NotSupported`
    /// tells of modes that belong to the netmod and of a link that is limited to the other
    /// direction, `FrameTooLarge` of the limit on frames, and an encoding error of an envelope whose
    /// buffer is no carrier frame.
    async fn send(
        &self,
        envelope: InMemoryEnvelope,
        target: Neighbour,
        exclude: Option<Ident32>,
    ) -> Result<()> {
        match target {
            Neighbour::Drop => Ok(()),
            Neighbour::Single(id) if exclude == Some(id) => Ok(()),
            Neighbour::Single(id) => self.send_to(id, envelope),
            Neighbour::Flood => self.flood(envelope, [None, exclude]),
            Neighbour::FloodExcept(id) => self.flood(envelope, [Some(id), exclude]),
        }
    }

    /// Waits for the next envelope from any neighbour.
    ///
    /// [`NetmodError::RecvSocketClosed`] once the endpoint was shut down and everything that had
    /// arrived was handed out. Cancel-safe: nothing is waited for once a frame was taken.
    async fn next(&self) -> Result<(InMemoryEnvelope, Neighbour)> {
        let next = self.endpoint.next().await;
        let (target, frame) = next.map_err(|_| NetmodError::RecvSocketClosed)?;
        let neighbour = Neighbour::Single(self.names().name_of_sender(target));
        Ok((to_envelope(frame)?, neighbour))
    }
}

/// Whether a frame that one peer was refused for this reason would be refused for every other.
fn concerns_all(reason: Refusal) -> bool {
    matches!(
        reason,
        Refusal::Reserved | Refusal::TooLarge | Refusal::EndpointFull | Refusal::Closed
    )
}

/// Why the endpoint did not take a frame, in Ratman's words.
fn refused(header: CarrierFrameHeader, error: SendError) -> RatmanError {
    let reason = match error.reason() {
        Refusal::TooLarge => NetmodError::FrameTooLarge,
        Refusal::Reserved | Refusal::WrongDirection => NetmodError::NotSupported,
        // The router may keep it and try again.
        _ => {
            let buffer = error.into_frame().into_bytes().into();
            NetmodError::ConnectionLost(InMemoryEnvelope { header, buffer })
        }
    };
    reason.into()
}

fn not_started(error: StartError) -> RatmanError {
    NetmodError::InvalidBind(error.to_string()).into()
}

fn not_added(error: AddPeersError) -> RatmanError {
    let reason = match error {
        AddPeersError::Closed => NetmodError::RecvSocketClosed,
        error => NetmodError::InvalidPeer(error.to_string()),
    };
    reason.into()
}

fn to_id(id: Ident32) -> Id {
    Id::from_bytes(id.slice())
}
