//! A peer: its identity, its status and its outbound queue. A peer outlives its links.
//!
//! - `info`: what users see of a peer. `class`: how much of what all peers share it may use.
//!   `status`: the mutable part, behind one lock, with `byte_rate`.
//! - `dial`: the addresses to dial, the attempts and the back-off. `link_status`: a link comes up,
//!   or ends. `close`: the peer stops, or the remote does.
//! - `session`: what resumes on the next link. `merge_state`: two peers turn out to be one node.
//! - `lease`: which task serves the peer. `link_task`: that task, while there is a link, with
//!   `liveness`.
//! - `send` and `recv`: the two directions.

mod byte_rate;
mod class;
mod close;
mod dial;
mod info;
mod lease;
mod link_status;
mod link_task;
mod liveness;
mod merge_state;
pub(crate) mod recv;
pub(crate) mod send;
mod session;
mod status;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};

use event_listener::EventListener;

use crate::primitives::clock;
use crate::primitives::lock::Mutex;
use crate::primitives::notify::Notify;
use crate::proto::{AddrBlock, Frame, Id, PeerAddr, PeerType, PublicKey, Target};

pub(crate) use class::PeerClass;
pub use info::{AttemptInfo, Origin, PeerInfo, PeerState};
pub(crate) use lease::Lease;
pub(crate) use merge_state::{MergeGuard, MergeMessage, OnMergeMessage};
pub(crate) use recv::inbound_queue::{Inbound, InboundSender, inbound};
pub(crate) use recv::permit::Permit;
pub(crate) use recv::receive_pool::{ReceivePool, WindowSize};
pub(crate) use send::delivery::{InitialCredit, OnNewSession};
pub(crate) use send::enqueue::Enqueued;
pub(crate) use send::memory_budget::{MemoryBudget, SLOT_COST, SharedReservation, cost};
pub(crate) use send::queue::{Admission, SendQueue};
pub(crate) use send::state::Closing;
pub(crate) use session::Session;

use recv::inbox::Inbox;
use status::PeerStatus;

/// A peer: a neighbour of this node. [`Routes`](crate::Routes) gives access to it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::InetEndpoint;
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// for peer in endpoint.routes().get_all_valid().await {
///     println!("{} is {:?}", peer.target(), peer.id());
/// }
/// # Ok(()) }) }
/// ```
pub struct Peer {
    target: Target,
    peer_type: PeerType,
    /// The address to dial. `None` for an inbound peer, or one that was set up on a given stream.
    dial: Option<Box<PeerAddr>>,
    origin: Origin,
    pub(crate) queue: SendQueue,
    /// The received frames. Allocated with the first one.
    inbox: OnceLock<Arc<Inbox>>,
    status: Mutex<PeerStatus>,
    /// The session, if the remote supports the extension.
    session: Mutex<Option<Session>>,
    /// Notified by [`kick`](Peer::kick), by [`stop`](Peer::stop), when the link ends and when a
    /// [`Lease`] changes.
    signal: Notify,
    /// Number of calls of [`kick`](Peer::kick).
    kicks: AtomicU32,
    /// Number of acknowledgements received from the remote.
    acks: AtomicU32,
    /// Number of targets of inbound peers that are aliases of this one. Written under the lock of
    /// the table of peers.
    pub(crate) aliases: AtomicU8,
    /// Whether the key of the present or last link is listed or pinned.
    is_trusted: AtomicBool,
    /// Whether the peer has ended. Invariant: never reset once it is set.
    ended: AtomicBool,
}

impl Peer {
    pub(crate) fn dialed(target: Target, dial: PeerAddr, queue: SendQueue) -> Peer {
        let peer_type = dial.peer_type();
        Peer::new(target, peer_type, Origin::Dialed, Some(dial), queue)
    }

    /// Creates a peer without an address to dial. It lasts as long as its link.
    pub(crate) fn linked(
        target: Target,
        peer_type: PeerType,
        origin: Origin,
        queue: SendQueue,
    ) -> Peer {
        Peer::new(target, peer_type, origin, None, queue)
    }

    fn new(
        target: Target,
        peer_type: PeerType,
        origin: Origin,
        dial: Option<PeerAddr>,
        queue: SendQueue,
    ) -> Peer {
        queue.set_stranger(origin == Origin::Accepted);
        Peer {
            target,
            peer_type,
            dial: dial.map(Box::new),
            origin,
            queue,
            inbox: OnceLock::new(),
            status: Mutex::new(PeerStatus::new()),
            session: Mutex::new(None),
            signal: Notify::new(),
            kicks: AtomicU32::new(0),
            acks: AtomicU32::new(0),
            aliases: AtomicU8::new(0),
            is_trusted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// The target number by which the local node addresses the peer.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) {
    /// if let Some(peer) = endpoint.routes().get_peer_by_id(0.into()).await {
    ///     assert_eq!(peer.target(), 0.into());
    /// }
    /// # }
    /// ```
    pub fn target(&self) -> Target {
        self.target
    }

    /// The peer type, from the point of view of the local node.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) {
    /// if let Some(peer) = endpoint.routes().get_peer_by_id(0.into()).await {
    ///     println!("a {} peer", peer.peer_type());
    /// }
    /// # }
    /// ```
    pub fn peer_type(&self) -> PeerType {
        self.peer_type
    }

    /// The router id that the remote claimed in its last handshake.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) {
    /// if let Some(peer) = endpoint.routes().get_peer_by_id(0.into()).await {
    ///     println!("it says that it is {:?}", peer.id());
    /// }
    /// # }
    /// ```
    pub fn id(&self) -> Option<Id> {
        self.status().id
    }

    /// The key with which the remote authenticated itself, if the present or last link is
    /// encrypted.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) {
    /// if let Some(peer) = endpoint.routes().get_peer_by_id(0.into()).await {
    ///     println!("its key is {:?}", peer.key());
    /// }
    /// # }
    /// ```
    pub fn key(&self) -> Option<PublicKey> {
        self.status().key.as_deref().copied()
    }

    /// A snapshot of the status and the statistics of the peer.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) {
    /// if let Some(peer) = endpoint.routes().get_peer_by_id(0.into()).await {
    ///     println!("{} frames wait for it", peer.info().queued_frames);
    /// }
    /// # }
    /// ```
    pub fn info(&self) -> PeerInfo {
        let status = self.status();
        let aliases = status.dial.aliases.iter().map(|alias| &alias.addr);
        let literal = self.dial.as_deref().into_iter().chain(aliases).filter_map(PeerAddr::literal);
        let resolved = literal.chain(status.dial.resolved.iter().copied()).collect();
        let (queued_frames, queued_bytes) = self.queue.size();
        let now = clock::now();
        PeerInfo {
            target: self.target,
            id: status.id,
            key: status.key.as_deref().copied(),
            addr: status.addr,
            dial: self.dial.as_deref().cloned(),
            resolved,
            state: status.state,
            since: clock::since(status.since),
            origin: self.origin,
            peer_type: self.peer_type,
            is_plain: !self.queue.is_extended(),
            frames_sent: status.sent.frames,
            bytes_sent: status.sent.bytes,
            send_rate: status.sent.rate.per_second(now),
            frames_received: status.received.frames,
            bytes_received: status.received.bytes,
            receive_rate: status.received.rate.per_second(now),
            frames_ignored: status.ignored,
            queued_frames,
            queued_bytes,
            links: status.links,
            round_trip: self.queue.round_trip(),
            last_error: status.close.last_error.clone(),
            next_retry: status.dial.next_retry.map(|at| at.saturating_duration_since(now)),
            attempts: status.dial.attempts.iter().cloned().collect(),
        }
    }

    /// Listens for the next change; see `signal`.
    pub(crate) fn listen(&self) -> EventListener {
        self.signal.listen()
    }

    /// The inbox, if the peer has sent anything.
    pub(crate) fn inbox(&self) -> Option<&Arc<Inbox>> {
        self.inbox.get()
    }

    /// The inbox, which is allocated if it was not.
    pub(crate) fn get_inbox(&self, pool: &Arc<ReceivePool>) -> &Arc<Inbox> {
        self.inbox
            .get_or_init(|| Inbox::new(self.target, pool.strangers().account(self.addr_block())))
    }

    /// The class of the peer. It rises when the peer adopts an address to dial, in a merge.
    pub(crate) fn class(&self) -> PeerClass {
        match () {
            () if self.origin == Origin::Dialed || self.is_dialed() => PeerClass::Dialed,
            () if self.is_trusted.load(Ordering::Relaxed) => PeerClass::Trusted,
            () => PeerClass::Stranger,
        }
    }

    /// The block of the address of the present or last link.
    pub(crate) fn addr_block(&self) -> AddrBlock {
        self.status().addr.into()
    }

    /// Applies the class to the memory of the outbound queue.
    pub(crate) fn apply_class(&self) {
        self.queue.set_stranger(self.class() == PeerClass::Stranger);
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// The session, if there is one.
    pub(crate) fn session(&self) -> Option<Session> {
        self.session.lock().clone()
    }

    /// Starts a new session, or with `None` continues without one. Returns the frames that must not
    /// be sent over it; see [`OnNewSession`].
    pub(crate) fn start_session(
        &self,
        session: Option<Session>,
        frames: OnNewSession,
        window: WindowSize,
        credit: InitialCredit,
    ) -> Vec<Frame> {
        *self.session.lock() = session;
        // The merge state belongs to the previous session.
        self.status().merge = Default::default();
        self.queue.reset_session(frames, window, credit)
    }

    fn status(&self) -> MutexGuard<'_, PeerStatus> {
        self.status.lock()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("target", &self.target)
            .field("peer_type", &self.peer_type)
            .field("dial", &self.dial)
            .finish_non_exhaustive()
    }
}
