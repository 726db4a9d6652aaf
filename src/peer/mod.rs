//! A peer: its identity, its status and its outbound queue. A peer outlives its links.

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

/// A link on which the remote acknowledged at least this many bytes of frames resets the back-off.
/// A listener that only wants to provoke redials would not accept that much.
const GOOD_LINK: usize = 64 << 10;

/// A message about another link to the same node, received from the remote.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MergeMessage {
    /// The session `name` connects the same two nodes, as `proof` shows.
    Duplicate { name: [u8; 8], proof: Bits },
    /// The session `name` is to be merged into another. The remote has received `received` of its
    /// frames; `proof` authenticates the request.
    Request { name: [u8; 8], received: u64, proof: Bits },
    /// The reply to [`Request`](MergeMessage::Request), with the count of received frames.
    Ack { name: [u8; 8], received: u64 },
}

/// Callback for merge messages, which concern more than one peer.
pub(crate) type OnMergeMessage<'a> = &'a (dyn Fn(MergeMessage) + Sync);

/// A resumable session with a remote node that supports the extension.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) secret: SessionSecret,
    /// Identifies the present instance of the remote, as opposed to earlier or later runs.
    pub(crate) instance_id: Bits,
    /// The static key of the remote, if the links are encrypted. `secret` is not confidential then,
    /// because its inputs were exchanged in plaintext; key and instance id together identify the
    /// remote. Boxed, since most sessions have no key.
    key: Option<Box<PublicKey>>,
    /// When the session was established.
    pub(crate) since: Instant,
}

impl Session {
    pub(crate) fn new(secret: SessionSecret, instance_id: Bits, key: Option<PublicKey>) -> Session {
        Session { secret, instance_id, key: key.map(Box::new), since: clock::now() }
    }

    /// The static key of the remote, if the links are encrypted.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.key.as_deref().copied()
    }

    /// Whether another session is with the same instance of the same node, as far as both claim so.
    pub(crate) fn is_same_instance(&self, other: &Session) -> bool {
        self.instance_id == other.instance_id && self.key == other.key
    }
}

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

    /// The target number by which the local node addresses the peer.
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

    /// The peer type, from the point of view of the local node.
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

    /// The router id that the remote claimed in its last handshake.
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

    /// The key with which the remote authenticated itself, if the present or last link is
    /// encrypted.
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

    /// A snapshot of the status and the statistics of the peer.
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

    /// The addresses to dial: its own, and those of peers that were merged into it.
    pub(crate) fn dial_addrs(&self) -> Vec<PeerAddr> {
        let parked = &self.status().dial.aliases;
        self.dial.as_deref().into_iter().chain(parked.iter().map(|at| &at.addr)).cloned().collect()
    }

    /// The key that proved the peer at this address to be the same node, if the links were
    /// encrypted.
    pub(crate) fn proved_key_at(&self, addr: &PeerAddr) -> Option<PublicKey> {
        self.status().dial.aliases.iter().find(|at| at.addr == *addr)?.proved
    }

    /// Whether an address to dial is configured for the peer.
    pub(crate) fn is_dialed(&self) -> bool {
        self.dial.is_some() || !self.status().dial.aliases.is_empty()
    }

    /// The smallest value that `find` returns for the addresses to dial.
    pub(crate) fn min_dial_addr<T: Ord>(&self, find: impl Fn(&PeerAddr) -> Option<T>) -> Option<T> {
        let parked = &self.status().dial.aliases;
        self.dial
            .as_deref()
            .into_iter()
            .chain(parked.iter().map(|at| &at.addr))
            .filter_map(find)
            .min()
    }

    /// Whether one of the addresses to dial pins this key.
    #[cfg(feature = "noise")]
    pub(crate) fn is_pinned(&self, key: &PublicKey) -> bool {
        self.min_dial_addr(|addr| addr.keys().contains(key).then_some(())).is_some()
    }

    /// Aborts the present link. The peer itself goes on.
    #[cfg(feature = "noise")]
    pub(crate) fn abort_link(&self) {
        let link = self.status().link.clone();
        if let Some(link) = link {
            link.stream.abort();
        }
    }

    /// Listens for the next change; see `signal`.
    pub(crate) fn listen(&self) -> EventListener {
        self.signal.listen()
    }

    /// Sets whether an outbound handshake with the peer is running.
    pub(crate) fn set_dialing(&self, is_shaking: bool) {
        self.status().is_dialing = is_shaking;
    }

    /// Sets whether a handshake has succeeded and the link is about to come up.
    pub(crate) fn set_coming_up(&self, is_coming_up: bool) {
        self.status().is_coming_up = is_coming_up;
    }

    /// Whether a handshake with the peer is running, or its link is about to come up.
    pub(crate) fn is_coming_up(&self) -> bool {
        let history = self.status();
        history.is_dialing || history.is_coming_up
    }

    /// Whether an outbound handshake with the peer is running.
    pub(crate) fn is_dialing(&self) -> bool {
        self.status().is_dialing
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Enqueues a frame; see [`SendQueue::push`].
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

    /// Enqueues several frames; see [`SendQueue::push_many`].
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

    /// Enqueues a frame that cannot wait, beyond the limits of the queue. Fails with
    /// [`LinkDown`](SendErrorKind::LinkDown) if the peer has been down for longer than
    /// `down_limit`.
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

    /// Enqueues a frame. Waits until the deadline for queue space, whether the link is up or being
    /// re-established.
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
                // Memory may have been released before the listener was registered: try again.
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

    /// Waits until a frame of this length would be accepted, or refused for a reason other than
    /// lack of queue space.
    pub(crate) async fn until_room(&self, len: usize) {
        loop {
            let room = self.listen_for_room(true);
            if self.queue.is_ready(len + OVERHEAD) {
                return;
            }
            room.await;
        }
    }

    /// Listens for released queue space, and with `to_budget` also for released memory of the
    /// shared budget. The latter wakes up on the acknowledgements of all peers.
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

    /// Stops the peer: it accepts no more frames, closes its link and is not dialed again.
    pub(crate) fn stop(&self, how: Closing, reason: DownReason) {
        self.status().close.stopping.get_or_insert(reason);
        self.queue.close(how);
        self.signal.notify_all();
    }

    /// Sends a goodbye on the present link, if that supports the extension, and closes the write
    /// direction. Never blocks, neither on the writer nor on socket buffer space.
    pub(crate) fn close_link(&self) {
        let link = self.status().link.clone();
        if let Some(link) = link {
            self.queue.close_link(&link, self.close_record());
        }
    }

    /// Sets the time for which the remote is asked not to reconnect after the link was closed.
    pub(crate) fn set_retry_after(&self, time: Duration) {
        self.status().close.retry_after = Some(time);
    }

    /// The close record to send when the local node closes the link.
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

    /// Whether the session can be resumed on another link. `false` once the remote announced that
    /// it shuts down or has removed this node, since it has discarded the session then.
    pub(crate) fn is_resumable(&self) -> bool {
        let history = self.status();
        let is_gone = history.close.goodbye.is_some_and(|goodbye| {
            matches!(goodbye.reason, GoodbyeReason::ShuttingDown | GoodbyeReason::Removed)
        });
        !is_gone && history.close.stopping.is_none() && self.session().is_some()
    }

    /// Records that the remote sent its goodbye: the writer replies, and the reader reads to the
    /// end of the stream.
    fn on_remote_close(&self, goodbye: Goodbye) {
        self.status().close.goodbye = Some(goodbye);
        self.queue.on_remote_close();
    }

    /// The session, if there is one.
    pub(crate) fn session(&self) -> Option<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a new session, or with `None` continues without one. Returns the frames that must not
    /// be sent over it; see [`OnNewSession`].
    pub(crate) fn start_session(&self, pair: Option<Session>, frames: OnNewSession) -> Vec<Frame> {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = pair;
        // The merge state belongs to the previous session.
        self.status().merge = Default::default();
        self.queue.reset_session(frames)
    }

    /// Whether the peer was stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.status().close.stopping.is_some()
    }

    /// Waits until the peer is stopped.
    pub(crate) async fn stopped(&self) {
        loop {
            let signal = self.signal.listen();
            if self.is_stopping() {
                return;
            }
            signal.await;
        }
    }

    /// Cuts the redial delay short.
    pub(crate) fn kick(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
        self.signal.notify_all();
    }

    /// Number of kicks so far, for [`kicked`](Peer::kicked) and
    /// [`wait_or_kick`](Peer::wait_or_kick).
    pub(crate) fn kicks(&self) -> u32 {
        self.kicks.load(Ordering::Relaxed)
    }

    /// Waits until the number of kicks differs from `seen`.
    pub(crate) async fn kicked(&self, seen: u32) {
        loop {
            let signal = self.signal.listen();
            if self.kicks() != seen {
                return;
            }
            signal.await;
        }
    }

    /// Waits for `delay`, or until the number of kicks differs from `seen`, or the peer is stopped.
    pub(crate) async fn wait_or_kick(&self, delay: Duration, seen: u32) {
        within(delay, future::or(self.kicked(seen), self.stopped())).await;
    }

    /// Draws the delay before the next dial. It grows with each link that came to nothing, inbound
    /// or outbound.
    pub(crate) fn back_off(&self, limits: &Limits) -> Duration {
        let new = || Backoff::new(limits.redial_first, limits.redial_cap);
        self.status().dial.backoff.get_or_insert_with(new).next(fastrand::u32(..))
    }

    /// Resets the back-off.
    pub(crate) fn reset_backoff(&self) {
        let mut history = self.status();
        if history.dial.backoff.is_some() {
            history.dial.backoff = None;
        }
    }

    /// Records that a dial starts.
    pub(crate) fn connecting(&self) {
        let mut history = self.status();
        history.set_state(PeerState::Connecting);
        history.dial.next_retry = None;
    }

    /// Records the outcome of dialing one address.
    pub(crate) fn record_attempt(
        &self,
        addr: String,
        took: Duration,
        error: Option<&AttemptError>,
    ) {
        let error = error.map(AttemptError::to_string);
        self.status().record_attempt(AttemptInfo { addr, error, took });
    }

    /// Records that a dial failed, and the delay until the next one.
    pub(crate) fn attempt_failed(&self, reason: &AttemptError, retry: Option<Duration>) {
        let mut history = self.status();
        history.is_coming_up = false;
        history.on_down(reason.to_string(), retry);
    }

    /// Records that a link to the node `id` is up.
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
            // A ping sent over the previous link may have been lost with it.
            history.merge.pinged = None;
        }
        drop(history);
        self.queue.link_up(link.is_extended());
    }

    /// Records that the link ended, and the delay until the next dial. `None`: it is not redialed.
    pub(crate) fn link_down(&self, reason: &DownReason, retry: Option<Duration>) {
        self.queue.link_down();
        let mut history = self.status();
        history.link = None;
        history.on_down(reason.to_string(), retry);
        drop(history);
        self.signal.notify_all();
    }

    /// Starts to check whether the present link is still alive.
    ///
    /// On an extended link it sends a ping, whose timeout follows the measured round trip. A plain
    /// link is probed by TCP keepalive instead; its stream is returned, unless it is being probed
    /// already. Keepalive with its fixed timeout would declare a remote dead that is 2 s away.
    pub(crate) fn probe(&self) -> Option<Arc<dyn Stream>> {
        let link = self.status().link.clone()?;
        match self.queue.probe_now() {
            true => None,
            false => link.stream.start_keepalive_probe().then(|| link.stream.clone()),
        }
    }

    /// Whether the last link was good enough to reset the back-off.
    ///
    /// Only frames that *arrived* count, at either end: a listener that accepts and closes
    /// immediately would accept written bytes as well.
    pub(crate) fn should_reset_backoff(&self, stood: Duration) -> bool {
        let acknowledged = self.queue.acknowledged_bytes();
        let history = self.status();
        history.received.frames > history.received_before
            || acknowledged >= GOOD_LINK
            || clock::since(history.since) >= stood
    }

    /// Records the addresses to which the host name of the peer resolved.
    pub(crate) fn set_resolved(&self, addrs: &[SocketAddr]) {
        self.status().dial.resolved = addrs.to_vec();
    }

    /// The addresses to which the host name of the peer last resolved.
    pub(crate) fn last_resolved(&self) -> Vec<SocketAddr> {
        self.status().dial.resolved.clone()
    }

    /// Whether this IP address is one that the local node was configured to dial.
    pub(crate) fn is_configured_at(&self, ip: IpAddr) -> bool {
        let is = |addr: &SocketAddr| addr.ip().to_canonical() == ip;
        let is_literal = self.min_dial_addr(|dial| dial.literal().filter(is)).is_some();
        is_literal || self.status().dial.resolved.iter().any(is)
    }

    /// Marks the peer as ended, but leaves its frames in the queue. Returns `false` if it had ended
    /// before.
    pub(crate) fn mark_ended(&self) -> bool {
        let mut history = self.status();
        history.set_state(PeerState::Down);
        // Handles to the peer that are still around must not keep the socket open.
        history.link = None;
        drop(history);
        !self.ended.swap(true, Ordering::AcqRel)
    }

    /// Ends the peer and drains its queue. Returns `None` if it had ended before.
    pub(crate) fn end_and_drain(&self) -> Option<Vec<Frame>> {
        self.mark_ended().then(|| self.queue.end())
    }

    /// When the peer got its present link, or lost its last one.
    pub(crate) fn since(&self) -> Instant {
        self.status().since
    }

    /// Whether the peer has no link at present.
    pub(crate) fn is_disconnected(&self) -> bool {
        !self.has_ended() && !self.queue.is_up()
    }

    /// Whether the peer was announced to the user: an inbound peer is once its link is up.
    pub(crate) fn was_announced(&self) -> bool {
        self.origin == Origin::Dialed || self.status().links > 0
    }

    /// Whether the peer has ended or is stopping.
    pub(crate) fn is_closing(&self) -> bool {
        self.has_ended() || self.is_stopping()
    }

    /// Whether the peer has ended.
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
