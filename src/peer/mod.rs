//! One neighbour: who it is, how it is, what waits for it. It outlives its links.

mod byte_rate;
mod lease;
mod link_task;
mod liveness;
mod merge_state;
pub(crate) mod recv;
pub(crate) mod send;
mod status;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::EventListener;
use futures_lite::future;

use crate::config::Limits;
use crate::error::{AttemptError, DownReason, Goodbye, GoodbyeReason, SendError, SendErrorKind};
use crate::primitives::clock::{self, Timer, within};
use crate::primitives::notify::Notify;
use crate::proto::Target;
use crate::proto::{
    Backoff, Bits, Frame, Id, PeerAddr, PeerType, PublicKey, Records, SessionSecret,
};
use crate::transport::{Link, Stream};

pub(crate) use lease::Lease;
pub(crate) use merge_state::MergeGuard;
pub(crate) use recv::inbound_queue::{Inbound, InboundSender, inbound};
pub(crate) use send::direct_write::Enqueued;
pub(crate) use send::memory_budget::{MemoryBudget, SLOT_COST, SharedReservation, cost};
pub(crate) use send::queue::{Admission, Closing, OnNewSession, SendQueue};
pub use status::{AttemptInfo, Origin, PeerInfo, PeerState};

use send::memory_budget::OVERHEAD;
use status::PeerStatus;

/// A link over which the remote node acknowledged this many bytes of frames resets the back-off: more
/// than a listener takes that only means to be dialed again and again.
const GOOD_LINK: usize = 64 << 10;

/// What the other side of a link says about another link.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MergeMessage {
    /// The pair called `name` is of the same two nodes, and here is the proof.
    Duplicate { name: [u8; 8], proof: Bits },
    /// The pair called `name` goes; the other side has so many frames of it. Here is the proof that
    /// it says so.
    Request { name: [u8; 8], received: u64, proof: Bits },
    /// The answer to that.
    Ack { name: [u8; 8], received: u64 },
}

/// Who is told of notices: what they are about concerns more than one peer.
pub(crate) type OnMergeMessage<'a> = &'a (dyn Fn(MergeMessage) + Sync);

/// What two nodes that share records know of each other.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) secret: SessionSecret,
    /// Tells the neighbour's present run from any other.
    pub(crate) instance_id: Bits,
    /// The neighbour's key, if they encrypt. The secret then is none, for everybody could hear what
    /// it was made of: key and run together tell the neighbour from any other. Boxed, since most
    /// have none.
    key: Option<Box<PublicKey>>,
    /// When they agreed on it.
    pub(crate) since: Instant,
}

impl Session {
    pub(crate) fn new(secret: SessionSecret, instance_id: Bits, key: Option<PublicKey>) -> Session {
        Session { secret, instance_id, key: key.map(Box::new), since: clock::now() }
    }

    /// The neighbour's key, if they encrypt.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.key.as_deref().copied()
    }

    /// Whether another pair is with the same run of the same node, as far as both say so.
    pub(crate) fn is_same_instance(&self, other: &Session) -> bool {
        self.instance_id == other.instance_id && self.key == other.key
    }
}

/// One neighbour. See [`Routes`](crate::Routes) for how to get at it.
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
    /// Where to dial it; `None` for one that dialed us, or that came as a stream.
    dial: Option<Box<PeerAddr>>,
    origin: Origin,
    pub(crate) queue: SendQueue,
    status: Mutex<PeerStatus>,
    /// What this node and the neighbour share, if it is one that shares records.
    session: Mutex<Option<Session>>,
    /// Notified on [`kick`](Peer::kick), [`stop`](Peer::stop), when the link ends and when a [`Lease`]
    /// changes.
    signal: Notify,
    kicks: AtomicU32,
    acks: AtomicU32,
    ended: AtomicBool,
}

impl Peer {
    pub(crate) fn dialed(target: Target, dial: PeerAddr, queue: SendQueue) -> Peer {
        let peer_type = dial.peer_type();
        Peer::new(target, peer_type, Origin::Dialed, Some(dial), queue)
    }

    /// A peer without an address to dial, which lasts as long as its link.
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
        Peer {
            target,
            peer_type,
            dial: dial.map(Box::new),
            origin,
            queue,
            status: Mutex::new(PeerStatus::new()),
            session: Mutex::new(None),
            signal: Notify::new(),
            kicks: AtomicU32::new(0),
            acks: AtomicU32::new(0),
            ended: AtomicBool::new(false),
        }
    }

    /// The local name of the neighbour.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) {
    /// if let Some(peer) = endpoint.routes().get_peer_by_id(0).await {
    ///     assert_eq!(peer.target(), 0);
    /// }
    /// # }
    /// ```
    pub fn target(&self) -> Target {
        self.target
    }

    /// What kind of neighbour it is, as this node sees it.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) {
    /// if let Some(peer) = endpoint.routes().get_peer_by_id(0).await {
    ///     println!("a {} peer", peer.peer_type());
    /// }
    /// # }
    /// ```
    pub fn peer_type(&self) -> PeerType {
        self.peer_type
    }

    /// The router id that it claimed in its last handshake.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) {
    /// if let Some(peer) = endpoint.routes().get_peer_by_id(0).await {
    ///     println!("it says that it is {:?}", peer.id());
    /// }
    /// # }
    /// ```
    pub fn id(&self) -> Option<Id> {
        self.status().id
    }

    /// The key that it has shown to have, if its link, or the last that it had, is encrypted.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) {
    /// if let Some(peer) = endpoint.routes().get_peer_by_id(0).await {
    ///     println!("its key is {:?}", peer.key());
    /// }
    /// # }
    /// ```
    pub fn key(&self) -> Option<PublicKey> {
        self.status().key.as_deref().copied()
    }

    /// How the neighbour is, and why.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) {
    /// if let Some(peer) = endpoint.routes().get_peer_by_id(0).await {
    ///     println!("{} frames wait for it", peer.info().queued_frames);
    /// }
    /// # }
    /// ```
    pub fn info(&self) -> PeerInfo {
        let history = self.status();
        let parked = history.dial.aliases.iter().map(|at| &at.addr);
        let literal = self.dial.as_deref().into_iter().chain(parked).filter_map(PeerAddr::literal);
        let resolved = literal.chain(history.dial.resolved.iter().copied()).collect();
        let (queued_frames, queued_bytes) = self.queue.size();
        let now = clock::now();
        PeerInfo {
            target: self.target,
            id: history.id,
            key: history.key.as_deref().copied(),
            addr: history.addr,
            dial: self.dial.as_deref().cloned(),
            resolved,
            state: history.state,
            since: clock::since(history.since),
            origin: self.origin,
            peer_type: self.peer_type,
            is_plain: !self.queue.is_extended(),
            frames_sent: history.sent.frames,
            bytes_sent: history.sent.bytes,
            send_rate: history.sent.rate.per_second(now),
            frames_received: history.received.frames,
            bytes_received: history.received.bytes,
            receive_rate: history.received.rate.per_second(now),
            frames_ignored: history.ignored,
            queued_frames,
            queued_bytes,
            links: history.links,
            round_trip: self.queue.round_trip(),
            last_error: history.close.last_error.clone(),
            next_retry: history.dial.next_retry.map(|at| at.saturating_duration_since(now)),
            attempts: history.dial.attempts.iter().cloned().collect(),
        }
    }

    /// Where to dial it: at its own address, and at those of peers that turned out to be the same.
    pub(crate) fn dial_addrs(&self) -> Vec<PeerAddr> {
        let parked = &self.status().dial.aliases;
        self.dial.as_deref().into_iter().chain(parked.iter().map(|at| &at.addr)).cloned().collect()
    }

    /// The key by which the peer at this address turned out to be the same as this one.
    pub(crate) fn proved_key_at(&self, addr: &PeerAddr) -> Option<PublicKey> {
        self.status().dial.aliases.iter().find(|at| at.addr == *addr)?.proved
    }

    /// Whether this node is told to dial it.
    pub(crate) fn is_dialed(&self) -> bool {
        self.dial.is_some() || !self.status().dial.aliases.is_empty()
    }

    /// The least that `find` makes of the addresses where this node is told to dial the peer.
    pub(crate) fn min_dial_addr<T: Ord>(&self, find: impl Fn(&PeerAddr) -> Option<T>) -> Option<T> {
        let parked = &self.status().dial.aliases;
        self.dial
            .as_deref()
            .into_iter()
            .chain(parked.iter().map(|at| &at.addr))
            .filter_map(find)
            .min()
    }

    /// Whether an address where this node is told to dial the peer names this key.
    #[cfg(feature = "noise")]
    pub(crate) fn is_pinned(&self, key: &PublicKey) -> bool {
        self.min_dial_addr(|addr| addr.keys().contains(key).then_some(())).is_some()
    }

    /// Ends the link that the peer has, and nothing else.
    #[cfg(feature = "noise")]
    pub(crate) fn abort_link(&self) {
        let link = self.status().link.clone();
        if let Some(link) = link {
            link.stream.abort();
        }
    }

    /// Hears of the next change.
    pub(crate) fn listen(&self) -> EventListener {
        self.signal.listen()
    }

    /// Notes whether this node shakes hands with the peer as the dialer now.
    pub(crate) fn set_dialing(&self, is_shaking: bool) {
        self.status().is_dialing = is_shaking;
    }

    /// Notes whether a handshake has gone on with the peer, and its link is about to be up.
    pub(crate) fn set_coming_up(&self, is_coming_up: bool) {
        self.status().is_coming_up = is_coming_up;
    }

    /// Whether a handshake with the peer is under way, or its link about to be up.
    pub(crate) fn is_coming_up(&self) -> bool {
        let history = self.status();
        history.is_dialing || history.is_coming_up
    }

    /// Whether this node shakes hands with the peer as the dialer now.
    pub(crate) fn is_dialing(&self) -> bool {
        self.status().is_dialing
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Puts a frame into the queue; see [`SendQueue::push`].
    pub(crate) fn push(
        &self,
        frame: Frame,
        flood: Option<Arc<SharedReservation>>,
        admission: Admission,
    ) -> Result<Enqueued, (SendErrorKind, Frame)> {
        if !self.peer_type.may_send() {
            return Err((SendErrorKind::WrongDirection, frame));
        }
        let pushed = self.queue.push(frame, flood, admission)?;
        if let Some(written) = &pushed.direct {
            self.count_sent(written.frames, written.bytes);
        }
        Ok(pushed)
    }

    /// Puts frames into the queue; see [`SendQueue::push_many`].
    pub(crate) fn push_many(
        &self,
        frames: &VecDeque<Frame>,
        check: impl Fn(&Frame) -> Option<SendErrorKind>,
    ) -> (usize, bool, Option<SendErrorKind>) {
        match self.peer_type.may_send() {
            true => self.queue.push_many(frames, check),
            false => (0, self.queue.is_up(), Some(SendErrorKind::WrongDirection)),
        }
    }

    /// Puts a frame into the queue that must not wait, beyond the bounds of the queue. A peer that
    /// has been down for longer than `down_limit` does not take it.
    pub(crate) fn forward(
        &self,
        frame: Frame,
        down_limit: Duration,
    ) -> Result<Enqueued, (SendErrorKind, Frame)> {
        if !self.queue.is_up() && clock::since(self.since()) > down_limit {
            return Err((SendErrorKind::LinkDown, frame));
        }
        self.push(frame, None, Admission::Unbounded)
    }

    /// Puts a frame into the queue; waits for room until the deadline, whether the link is up or being
    /// restored.
    pub(crate) async fn send(&self, frame: Frame, deadline: &mut Timer) -> Result<(), SendError> {
        let mut frame = frame;
        let mut lacks_budget = false;
        loop {
            let room = self.listen_for_room(lacks_budget);
            let refusal = match self.push(frame, None, Admission::Bounded) {
                Ok(_) => return Ok(()),
                Err((refusal, back)) => {
                    frame = back;
                    refusal
                }
            };
            if !refusal.is_temporary() {
                return Err(SendError::new(refusal, frame));
            }
            let listens =
                std::mem::replace(&mut lacks_budget, refusal == SendErrorKind::EndpointFull);
            if lacks_budget && !listens {
                // Room may have been made before this began to listen.
                continue;
            }
            let waited = async {
                room.await;
                true
            };
            let gave_up = async {
                (&mut *deadline).await;
                false
            };
            if !future::or(waited, gave_up).await {
                return Err(SendError::new(SendErrorKind::TimedOut, frame));
            }
        }
    }

    /// Waits until a frame of this length would be taken, or refused for another reason than want of
    /// room.
    pub(crate) async fn until_room(&self, len: usize) {
        loop {
            let room = self.listen_for_room(true);
            if self.queue.is_ready(len + OVERHEAD) {
                return;
            }
            room.await;
        }
    }

    /// Listens for the next time that the queue may have more room, or the budget that it shares if
    /// that is asked for: everybody's acknowledgements wake those who listen to it.
    fn listen_for_room(&self, to_budget: bool) -> impl Future<Output = ()> + Send + use<> {
        let queue = self.queue.listen();
        let budget = to_budget.then(|| self.queue.listen_to_budget());
        let budget = async {
            match budget {
                Some(budget) => budget.await,
                None => future::pending().await,
            }
        };
        future::or(queue, budget)
    }

    /// Ends the peer: no frame is taken any more, its link closes, nobody dials again.
    pub(crate) fn stop(&self, how: Closing, reason: DownReason) {
        self.status().close.stopping.get_or_insert(reason);
        self.queue.close(how);
        self.signal.notify_all();
    }

    /// Says goodbye over the link that is up, if it carries records, and closes its writing half.
    /// Does not wait, neither for the writer nor for room.
    pub(crate) fn close_link(&self) {
        let link = self.status().link.clone();
        if let Some(link) = link {
            self.queue.close_link(&link, self.close_record());
        }
    }

    /// Has the neighbour be told, when this node closes its link, to stay away for so long.
    pub(crate) fn set_retry_after(&self, time: Duration) {
        self.status().close.retry_after = Some(time);
    }

    /// What to tell the neighbour when its link closes, because this node wants it to.
    fn close_record(&self) -> Records {
        let history = self.status();
        let reason = match history.close.stopping {
            Some(DownReason::ShuttingDown) => GoodbyeReason::ShuttingDown,
            Some(_) => GoodbyeReason::Removed,
            None => GoodbyeReason::Answered,
        };
        let goodbye = Goodbye { reason, retry_after: history.close.retry_after };
        Records { end: Some(goodbye.into()), ..Records::default() }
    }

    /// Whether the neighbour can go on with this peer over another link. Not if it said that it
    /// shuts down or does not want to: what it knew of the pair is gone.
    pub(crate) fn is_resumable(&self) -> bool {
        let history = self.status();
        let is_gone = history.close.goodbye.is_some_and(|goodbye| {
            matches!(goodbye.reason, GoodbyeReason::ShuttingDown | GoodbyeReason::Removed)
        });
        !is_gone && history.close.stopping.is_none() && self.session().is_some()
    }

    /// Notes that the other side said goodbye: the writer answers it, and the reader reads to the
    /// end.
    fn on_remote_close(&self, goodbye: Goodbye) {
        self.status().close.goodbye = Some(goodbye);
        self.queue.on_remote_close();
    }

    /// What this node and the neighbour share.
    pub(crate) fn session(&self) -> Option<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts to share a secret, or with `None` nothing. Returns the frames that are not to be sent
    /// on these terms.
    pub(crate) fn start_session(&self, pair: Option<Session>, frames: OnNewSession) -> Vec<Frame> {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = pair;
        // Whoever is there now has shown and answered nothing.
        self.status().merge = Default::default();
        self.queue.reset_session(frames)
    }

    /// Whether the peer was told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.status().close.stopping.is_some()
    }

    /// Waits until the peer was told to stop.
    pub(crate) async fn stopped(&self) {
        loop {
            let signal = self.signal.listen();
            if self.is_stopping() {
                return;
            }
            signal.await;
        }
    }

    /// Dials again now instead of later.
    pub(crate) fn kick(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
        self.signal.notify_all();
    }

    /// How often the peer was kicked; for [`kicked`](Peer::kicked) and [`pause`](Peer::pause).
    pub(crate) fn kicks(&self) -> u32 {
        self.kicks.load(Ordering::Relaxed)
    }

    /// Waits until the peer was kicked more often than `seen`.
    pub(crate) async fn kicked(&self, seen: u32) {
        loop {
            let signal = self.signal.listen();
            if self.kicks() != seen {
                return;
            }
            signal.await;
        }
    }

    /// Waits for so long, or until the peer was kicked more often than `seen`, or told to stop.
    pub(crate) async fn wait_or_kick(&self, delay: Duration, seen: u32) {
        within(delay, future::or(self.kicked(seen), self.stopped())).await;
    }

    /// Draws how long to wait before the next dial: ever longer, over all links that came to
    /// nothing, whoever dialed them.
    pub(crate) fn back_off(&self, limits: &Limits) -> Duration {
        let new = || Backoff::new(limits.redial_first, limits.redial_cap);
        self.status().dial.backoff.get_or_insert_with(new).next(fastrand::u32(..))
    }

    /// Has the next waits be short again.
    pub(crate) fn reset_backoff(&self) {
        let mut history = self.status();
        if history.dial.backoff.is_some() {
            history.dial.backoff = None;
        }
    }

    /// Notes that a dial begins.
    pub(crate) fn connecting(&self) {
        let mut history = self.status();
        history.set_state(PeerState::Connecting);
        history.dial.next_retry = None;
    }

    /// Notes what became of dialing an address.
    pub(crate) fn record_attempt(
        &self,
        addr: String,
        took: Duration,
        error: Option<&AttemptError>,
    ) {
        let error = error.map(AttemptError::to_string);
        self.status().record_attempt(AttemptInfo { addr, error, took });
    }

    /// Notes that a dial failed, and when the next is due.
    pub(crate) fn attempt_failed(&self, reason: &AttemptError, retry: Option<Duration>) {
        let mut history = self.status();
        history.is_coming_up = false;
        history.on_down(reason.to_string(), retry);
    }

    /// Notes that a link is up: the other side is `id`.
    pub(crate) fn link_up(&self, id: Id, link: &Arc<Link>) {
        let mut history = self.status();
        history.set_state(PeerState::Up);
        history.is_coming_up = false;
        history.links += 1;
        if history.close.goodbye.is_some() {
            history.close.goodbye = None;
        }
        history.received_before = history.received.frames;
        history.id = Some(id);
        history.key = link.key().map(Box::new);
        history.addr = link.addr;
        history.link = Some(link.clone());
        if history.merge.pinged.is_some() {
            // What was asked over the link before may have gone with it.
            history.merge.pinged = None;
        }
        drop(history);
        self.queue.link_up(link.is_extended());
    }

    /// Notes that the link ended, and when the next dial is due. `None`: there is none.
    pub(crate) fn link_down(&self, reason: &DownReason, retry: Option<Duration>) {
        self.queue.link_down();
        let mut history = self.status();
        history.link = None;
        history.on_down(reason.to_string(), retry);
        drop(history);
        self.signal.notify_all();
    }

    /// Finds out at once whether the link that the peer has is still alive. Returns its stream if it
    /// is a plain one, of which the kernel finds out, and did not do so already.
    ///
    /// The other side of a link that carries records is asked, and its round trip is known: the
    /// kernel would take one that is 2 s away for dead.
    pub(crate) fn probe(&self) -> Option<Arc<dyn Stream>> {
        let link = self.status().link.clone()?;
        match self.queue.probe_now() {
            true => None,
            false => link.stream.start_keepalive_probe().then(|| link.stream.clone()),
        }
    }

    /// Whether the last link was good enough to start the retries anew.
    ///
    /// What *arrived* is what counts, here or at the neighbour: a listener that accepts and closes at
    /// once would take what we write.
    pub(crate) fn should_reset_backoff(&self, stood: Duration) -> bool {
        let acknowledged = self.queue.acknowledged_bytes();
        let history = self.status();
        history.received.frames > history.received_before
            || acknowledged >= GOOD_LINK
            || clock::since(history.since) >= stood
    }

    /// Notes the addresses that the peer's name stands for.
    pub(crate) fn set_resolved(&self, addrs: &[SocketAddr]) {
        self.status().dial.resolved = addrs.to_vec();
    }

    /// The last addresses that the peer's name stood for.
    pub(crate) fn last_resolved(&self) -> Vec<SocketAddr> {
        self.status().dial.resolved.clone()
    }

    /// Whether this node was told to dial this address.
    pub(crate) fn is_configured_at(&self, ip: IpAddr) -> bool {
        let is = |addr: &SocketAddr| addr.ip().to_canonical() == ip;
        let is_literal = self.min_dial_addr(|dial| dial.literal().filter(is)).is_some();
        is_literal || self.status().dial.resolved.iter().any(is)
    }

    /// Notes that the peer ended, though its frames did not. Says whether it had not before.
    pub(crate) fn mark_ended(&self) -> bool {
        let mut history = self.status();
        history.set_state(PeerState::Down);
        // Whoever holds the peer on must not hold the socket open.
        history.link = None;
        drop(history);
        !self.ended.swap(true, Ordering::AcqRel)
    }

    /// Ends the peer and its queue, and takes what was left in it. `None` if it has ended before.
    pub(crate) fn end_and_drain(&self) -> Option<Vec<Frame>> {
        self.mark_ended().then(|| self.queue.end())
    }

    /// Since when the peer has had its link, or been without one.
    pub(crate) fn since(&self) -> Instant {
        self.status().since
    }

    /// Whether the peer has no link now.
    pub(crate) fn is_disconnected(&self) -> bool {
        !self.has_ended() && !self.queue.is_up()
    }

    /// Whether anybody knows of the peer: a stranger is told of once it is up.
    pub(crate) fn was_announced(&self) -> bool {
        self.origin == Origin::Dialed || self.status().links > 0
    }

    /// Whether the peer came to its end, or is about to.
    pub(crate) fn is_closing(&self) -> bool {
        self.has_ended() || self.is_stopping()
    }

    /// Whether the peer came to its end.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn count_sent(&self, frames: usize, bytes: usize) {
        self.status().sent.add(frames, bytes);
    }

    fn count_received(&self, frames: usize, bytes: usize) {
        self.queue.received(frames, bytes);
        self.status().received.add(frames, bytes);
    }

    fn count_ignored(&self, frames: usize) {
        self.status().ignored += frames as u64;
    }

    fn status(&self) -> MutexGuard<'_, PeerStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
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
