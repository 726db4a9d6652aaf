//! The state that the handles of an endpoint share with its tasks.

mod capacity;
pub(crate) mod handshake_slots;
#[cfg(feature = "noise")]
mod id_claims;
#[cfg(feature = "noise")]
pub(crate) mod key_policy;
mod session_index;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use event_listener::Event as Signal;

#[cfg(feature = "noise")]
use crate::config::Encryption;
use crate::config::Limits;
use crate::config::Resolve;
use crate::config::Spawn;
use crate::config::{AcceptPolicy, Incoming};
use crate::error::{DownReason, SendErrorKind};
use crate::events::{Event, EventBus};
use crate::peer::{
    Admission, Closing, Enqueued, Inbound, InboundSender, MemoryBudget, OnNewSession, Origin, Peer,
    SendQueue, Session, cost,
};
use crate::proto::Target;
use crate::proto::{Bits, Frame, Id, staggered_retry_after};
use crate::routes::Routes;
use crate::transport::Connect;

use handshake_slots::HandshakeSlots;
#[cfg(feature = "noise")]
use key_policy::KeyPolicy;
use session_index::SessionIndex;

/// Peers by target. A merged peer leaves its target behind as an alias: an entry for the peer that
/// survived.
pub(crate) type Peers = BTreeMap<Target, Arc<Peer>>;

/// The shared state of an endpoint.
pub(crate) struct Shared {
    // Lock order: `policy` or `claims`, then `peers`, then the locks of `routes` and of a peer. Of
    // `sessions`, `disconnected` and `unconfirmed`, each is acquired with no other lock of this
    // struct held.
    pub(crate) id: Id,
    /// The same id, shared with the extended links, which send control frames under it.
    pub(crate) control_sender: Arc<Id>,
    /// Distinguishes this instance of the node from earlier and later ones.
    pub(crate) instance_id: Bits,
    pub(crate) limits: Limits,
    /// Whether queued frames are bound to a router id, rather than to any node at the address of a
    /// peer.
    frames_follow_id: bool,
    pub(crate) routes: Arc<Routes>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) inbound: Inbound,
    pub(crate) events: EventBus,
    pub(crate) resolver: Box<dyn Resolve>,
    pub(crate) connector: Box<dyn Connect>,
    pub(crate) handshake_slots: HandshakeSlots,
    pub(crate) policy: RwLock<AcceptPolicy>,
    /// The key policy. `None` if this node does not encrypt.
    #[cfg(feature = "noise")]
    pub(crate) key_policy: Option<KeyPolicy>,
    /// Serializes claims of router ids: held from the check of a claim until the link is up.
    #[cfg(feature = "noise")]
    pub(crate) claims: Mutex<()>,
    /// The port that a Hello advertises. 0 if this node does not listen.
    pub(crate) port: AtomicU16,
    /// Every peer, from the moment its target is reserved, and the aliases of merged peers.
    peers: RwLock<Peers>,
    /// The peers of extended nodes, by their resumable sessions.
    sessions: Mutex<SessionIndex>,
    /// Peers with a resumable session that are not dialed and have no link, the ones disconnected
    /// longest first.
    disconnected: Mutex<VecDeque<Arc<Peer>>>,
    /// Frames that peers returned and the router has not taken yet.
    unconfirmed: Mutex<Unconfirmed>,
    spawner: Box<dyn Spawn>,
    /// Set once the tasks should stop.
    stopping: AtomicBool,
    /// Set once all tasks have ended.
    stopped: AtomicBool,
    /// Notified whenever `stopping` or `stopped` is set.
    stop: Signal,
}

/// The configuration from which the builder makes a [`Shared`].
pub(crate) struct SharedConfig {
    pub(crate) id: Id,
    pub(crate) instance_id: Bits,
    pub(crate) limits: Limits,
    pub(crate) frames_follow_id: bool,
    pub(crate) resolver: Box<dyn Resolve>,
    pub(crate) connector: Box<dyn Connect>,
    pub(crate) policy: AcceptPolicy,
    #[cfg(feature = "noise")]
    pub(crate) encryption: Option<Encryption>,
    pub(crate) spawner: Box<dyn Spawn>,
}

impl Shared {
    pub(crate) fn new(parts: SharedConfig, inbound: Inbound) -> Shared {
        #[cfg(feature = "noise")]
        let trust = parts.encryption.map(|own| KeyPolicy::new(own, parts.limits.handshake_cpu));
        let SharedConfig { id, instance_id, limits, resolver, connector, policy, spawner, .. } =
            parts;
        Shared {
            frames_follow_id: parts.frames_follow_id,
            id,
            control_sender: Arc::new(id),
            instance_id,
            routes: Arc::new(Routes::new()),
            budget: MemoryBudget::new(limits.total_queue_bytes),
            inbound,
            events: EventBus::new(limits.events, limits.drop_events_per_sec),
            resolver,
            connector,
            handshake_slots: HandshakeSlots::new(
                limits.max_handshakes,
                limits.max_handshakes_per_addr,
            ),
            policy: RwLock::new(policy),
            #[cfg(feature = "noise")]
            key_policy: trust,
            #[cfg(feature = "noise")]
            claims: Mutex::default(),
            port: AtomicU16::new(0),
            peers: RwLock::default(),
            sessions: Mutex::default(),
            disconnected: Mutex::default(),
            unconfirmed: Mutex::default(),
            spawner,
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            stop: Signal::new(),
            limits,
        }
    }

    /// Returns the peer with this target.
    pub(crate) fn peer(&self, target: Target) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&target).cloned()
    }

    /// Enqueues a frame for the peer with this target.
    ///
    /// Holds the read lock of the table meanwhile. A merge transfers a queue under the write lock,
    /// so the frame ends up in the queue of the surviving peer either way.
    pub(crate) fn push(&self, target: Target, frame: Frame) -> Result<(), (SendErrorKind, Frame)> {
        self.push_with(target, frame, |peer, frame| peer.push(frame, None, Admission::Bounded))
    }

    /// Enqueues a frame that must not wait, beyond the limits of the queue.
    pub(crate) fn forward(
        &self,
        target: Target,
        frame: Frame,
    ) -> Result<(), (SendErrorKind, Frame)> {
        let down_limit = self.limits.send_timeout;
        self.push_with(target, frame, |peer, frame| peer.forward(frame, down_limit))
    }

    fn push_with(
        &self,
        target: Target,
        frame: Frame,
        push: impl FnOnce(&Peer, Frame) -> Result<Enqueued, (SendErrorKind, Frame)>,
    ) -> Result<(), (SendErrorKind, Frame)> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let Some(peer) = peers.get(&target) else {
            return Err((SendErrorKind::UnknownTarget, frame));
        };
        let pushed = push(peer, frame)?;
        let is_absent = !pushed.is_up && peer.origin() == Origin::Accepted;
        drop(peers);
        // Dropped without the lock: it may release bytes that the caller lent, which may run its
        // code.
        drop(pushed);
        if is_absent {
            self.evict_disconnected();
        }
        Ok(())
    }

    /// Enqueues frames until the queue accepts no more, or `check` rejects one. Returns how many
    /// were enqueued, and why the next one was not.
    pub(crate) fn push_many(
        &self,
        target: Target,
        frames: &VecDeque<Frame>,
        check: impl Fn(&Frame) -> Option<SendErrorKind>,
    ) -> (usize, Option<SendErrorKind>) {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let Some(peer) = peers.get(&target) else { return (0, Some(SendErrorKind::UnknownTarget)) };
        let (taken, is_up, refused) = peer.push_many(frames, check);
        if taken > 0 && !is_up && peer.origin() == Origin::Accepted {
            drop(peers);
            self.evict_disconnected();
        }
        (taken, refused)
    }

    /// Whether no thread holds the lock of the table.
    #[cfg(test)]
    pub(crate) fn is_table_free(&self) -> bool {
        self.peers.try_write().is_ok()
    }

    /// Returns all peers, ordered by target.
    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        let mut peers = Vec::new();
        self.for_each_peer(|peer| peers.push(peer.clone()));
        peers
    }

    /// Calls `f` for each peer, ordered by target. Aliases are skipped.
    pub(crate) fn for_each_peer(&self, f: impl FnMut(&Arc<Peer>)) {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        // An alias is an entry under another target than the peer's own.
        let is_own = |(target, peer): &(&Target, &Arc<Peer>)| **target == peer.target();
        peers.iter().filter(is_own).map(|(_, peer)| peer).for_each(f);
    }

    /// Adds the peers that `make` returns. It is called with the current table under the write
    /// lock, so no other peer is added in between.
    pub(crate) fn add_peers<E>(
        &self,
        make: impl FnOnce(&Peers) -> Result<Vec<Arc<Peer>>, E>,
    ) -> Result<Vec<Arc<Peer>>, E> {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let new = make(&peers)?;
        peers.extend(new.iter().map(|peer| (peer.target(), peer.clone())));
        Ok(new)
    }

    /// Removes a peer, and all its aliases, from the table.
    pub(crate) fn forget_peer(&self, target: Target) -> Option<Arc<Peer>> {
        let peer = self.peer(target)?;
        self.remove_peer(&peer);
        Some(peer)
    }

    fn remove_peer(&self, peer: &Peer) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|target, other| {
            let is_it = std::ptr::eq(&**other, peer);
            // The peer's own target is retired when it ends.
            if is_it && *target != peer.target() {
                self.routes.retire(*target);
            }
            !is_it
        });
    }

    /// Whether this node was configured to dial this address.
    pub(crate) fn is_configured(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let mut is_configured = false;
        self.for_each_peer(|peer| is_configured = is_configured || peer.is_configured_at(ip));
        is_configured
    }

    /// Whether the accept policy lets a connection from this address start a handshake.
    pub(crate) fn admits_addr(&self, addr: SocketAddr) -> bool {
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner);
        policy.admits_addr(addr.ip(), |ip| self.is_configured(ip))
    }

    /// Whether the accept policy admits an inbound link after its Hello.
    pub(crate) fn admits(&self, incoming: &Incoming) -> bool {
        // Called without the lock: the callback is the caller's, and may change the policy.
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner).clone();
        policy.admits(incoming)
    }

    /// Returns the send queue for a new peer.
    pub(crate) fn new_queue(&self) -> SendQueue {
        SendQueue::new(self.budget.clone(), self.limits.queue_bytes, self.limits.queue_frames)
    }

    /// Ends a peer: removes it and its targets, and stores its unsent and unacknowledged frames.
    pub(crate) fn end_peer(&self, peer: &Peer) {
        // Already ended, possibly as an alias of another peer.
        let Some(frames) = peer.end_and_drain() else { return };
        let target = peer.target();
        self.routes.forget_ended(target);
        self.remove_peer(peer);
        self.forget_session(peer);
        self.store_unconfirmed(peer, frames);
        if peer.was_announced() {
            self.events.emit(Event::Removed { target });
        }
        self.routes.retire(target);
    }

    /// Makes the target of one peer an alias of another, and transfers the queued frames to it.
    /// Returns whether it did: not if the surviving peer has ended.
    pub(crate) fn make_alias(&self, goes: &Peer, stays: &Arc<Peer>) -> bool {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the next lookup of the target finds the surviving peer, and
        // frames enqueued earlier are sent first.
        if !goes.queue.transfer_to(&stays.queue) {
            return false;
        }
        for peer in peers.values_mut().filter(|peer| peer.target() == goes.target()) {
            *peer = stays.clone();
        }
        drop(peers);
        self.forget_session(goes);
        goes.mark_ended();
        true
    }

    /// Removes the session of a peer from the index, so that it cannot be resumed.
    fn forget_session(&self, peer: &Peer) {
        if let Some(pair) = peer.session() {
            self.lock(&self.sessions).remove(&(pair.instance_id, pair.secret.public_name()));
        }
    }

    /// Starts a new session with a remote node that claims to be `id`; `None` if that node is
    /// plain. Frames that may not have been received in the previous session are stored, or sent
    /// again.
    pub(crate) fn start_session(&self, peer: &Arc<Peer>, id: Id, pair: Option<Session>) {
        self.forget_session(peer);
        let key = pair.as_ref().map(|pair| (pair.instance_id, pair.secret.public_name()));
        let frames = match peer.id() {
            Some(before) if self.frames_follow_id && before != id => OnNewSession::ReturnAll,
            _ if self.frames_follow_id => OnNewSession::SendAgain,
            _ => OnNewSession::ReturnUnacknowledged,
        };
        self.store_unconfirmed(peer, peer.start_session(pair, frames));
        if let Some(key) = key {
            self.lock(&self.sessions).insert(key, peer.clone());
        }
    }

    /// Returns the other peers of the same remote instance whose links carry frames in the same
    /// direction. Peers that this node dials come first: anyone can claim an instance id on an
    /// inbound link.
    pub(crate) fn same_instance_peers(&self, peer: &Arc<Peer>) -> Vec<Arc<Peer>> {
        let Some(own) = peer.session() else { return Vec::new() };
        let instance_id = own.instance_id;
        let is_other = |other: &&Arc<Peer>| {
            let is_sound = !Arc::ptr_eq(other, peer) && !other.is_closing();
            let is_same = other.session().is_some_and(|other| other.is_same_instance(&own));
            is_sound && is_same && other.peer_type().same_direction(peer.peer_type())
        };
        let paired = self.lock(&self.sessions);
        let siblings: Vec<_> = paired.by_instance(instance_id).filter(is_other).cloned().collect();
        drop(paired);
        let (mut dialed, others): (Vec<_>, Vec<_>) =
            siblings.into_iter().partition(|peer| peer.is_dialed());
        dialed.extend(others);
        dialed
    }

    /// Returns the peer whose session has this public name, with the same remote instance.
    pub(crate) fn resumable_peer(&self, name: &[u8; 8], boot: &Bits) -> Option<Arc<Peer>> {
        self.lock(&self.sessions).get(&(*boot, *name)).cloned()
    }

    /// Registers a disconnected peer that may resume its session.
    pub(crate) fn track_disconnected(&self, peer: &Arc<Peer>) {
        let mut absent = self.lock(&self.disconnected);
        absent.retain(|other| !Arc::ptr_eq(other, peer));
        absent.push_back(peer.clone());
        drop(absent);
        self.evict_disconnected();
    }

    /// Stops the peers that have been disconnected the longest, while there are more than
    /// `resume_peers` of them, or more than `resume_bytes` bytes queued for them.
    fn evict_disconnected(&self) {
        let mut absent = self.lock(&self.disconnected);
        // A peer that was merged with a dialed one must not be evicted by other peers.
        absent.retain(|peer| peer.is_disconnected() && !peer.is_dialed());
        let mut bytes: usize = absent.iter().map(|peer| peer.queue.size().1).sum();
        while absent.len() > self.limits.resume_peers || bytes > self.limits.resume_bytes {
            let Some(oldest) = absent.pop_front() else { return };
            bytes -= oldest.queue.size().1.min(bytes);
            oldest.stop(Closing::Now, DownReason::Removed);
        }
    }

    /// Stores frames that a peer returned, for [`take_unconfirmed`](Shared::take_unconfirmed), and
    /// emits an event.
    fn store_unconfirmed(&self, peer: &Peer, frames: Vec<Frame>) {
        if frames.is_empty() {
            return;
        }
        let (target, count) = (peer.target(), frames.len());
        let is_stranger = peer.origin() == Origin::Accepted && !peer.is_dialed();
        let limit = self.limits.unconfirmed_bytes;
        let given_up = self.unconfirmed().push(target, is_stranger, frames, limit);
        // Dropped without the lock: bytes that the caller lent may run its code.
        drop(given_up);
        self.events.emit(Event::Unconfirmed { target, frames: count });
    }

    /// Takes all frames of a peer that has no link, returned ones first, and forgets its session. A
    /// peer that is not dialed is stopped. `None` if the peer does not exist, has a link, is about
    /// to have one or is being merged.
    pub(crate) fn take_queued(&self, target: Target) -> Option<Vec<Frame>> {
        let peer = self.peer(target)?;
        if peer.queue.is_up() || peer.is_coming_up() || peer.is_merging() {
            return None;
        }
        self.forget_session(&peer);
        let mut frames = self.take_unconfirmed(target);
        frames.extend(peer.start_session(None, OnNewSession::ReturnAll));
        if !peer.is_dialed() {
            peer.stop(Closing::Now, DownReason::Removed);
        }
        Some(frames)
    }

    /// Takes the frames that a peer returned.
    pub(crate) fn take_unconfirmed(&self, target: Target) -> Vec<Frame> {
        self.unconfirmed().take(target)
    }

    /// Frees `bytes` bytes of the memory budget, by returning queued frames of the peers that have
    /// been down the longest.
    pub(crate) fn reclaim(&self, bytes: usize) {
        let is_down = |peer: &Arc<Peer>| !peer.queue.is_up() && peer.queue.size().0 > 0;
        let down: Vec<_> = self.peers().into_iter().filter(is_down).collect();
        // A heap rather than a sort: the first few peers usually free enough.
        let since = |(at, peer): (usize, &Arc<Peer>)| (Reverse(peer.since()), Reverse(at));
        let mut oldest: BinaryHeap<_> = down.iter().enumerate().map(since).collect();
        while let Some((_, Reverse(at))) = oldest.pop() {
            let missing = match self.budget.shortfall(bytes) {
                None | Some(0) => return,
                Some(missing) => missing,
            };
            self.store_unconfirmed(&down[at], down[at].queue.shed(missing));
        }
    }

    /// Signals all tasks to stop. With [`Closing::Drain`], links send what is queued first.
    pub(crate) fn stop(&self, how: Closing) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stop.notify(usize::MAX);
        for peer in self.peers() {
            peer.stop(how, DownReason::ShuttingDown);
        }
    }

    /// Sends a goodbye over every link that is up, and closes it for writing, before this returns.
    pub(crate) fn close_links(&self) {
        self.peers().iter().for_each(|peer| peer.close_link());
    }

    /// Sets the retry-after that links announce when they close. The times are staggered from
    /// `time` on, so that the remote nodes come back one after the other.
    pub(crate) fn announce_retry_after(&self, time: Duration) {
        let peers = self.peers();
        for (peer, time) in peers.iter().zip(staggered_retry_after(peers.len(), time)) {
            peer.set_retry_after(time);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until the tasks are signalled to stop.
    pub(crate) async fn stopping(&self) {
        self.until(&self.stopping).await;
    }

    /// Waits until all tasks have ended.
    pub(crate) async fn stopped(&self) {
        self.until(&self.stopped).await;
    }

    async fn until(&self, flag: &AtomicBool) {
        loop {
            let changed = self.stop.listen();
            if flag.load(Ordering::SeqCst) {
                return;
            }
            changed.await;
        }
    }

    fn unconfirmed(&self) -> MutexGuard<'_, Unconfirmed> {
        self.lock(&self.unconfirmed)
    }

    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The reference to the shared state that every task of an endpoint holds, and no handle does.
///
/// It is dropped when the last task has ended, or was dropped with its executor. `next` and
/// `events` then return an error instead of waiting forever.
#[derive(Debug)]
pub(crate) struct TaskRef {
    context: Arc<Shared>,
    pub(crate) inbound: InboundSender,
}

impl TaskRef {
    pub(crate) fn new(context: Arc<Shared>, inbound: InboundSender) -> Arc<TaskRef> {
        Arc::new(TaskRef { context, inbound })
    }

    /// Spawns a background task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawner.spawn(Box::pin(task));
    }
}

impl Deref for TaskRef {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.context
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // The executor may have been dropped without a call to `stop`.
        self.context.stop(Closing::Now);
        for peer in self.context.peers() {
            self.context.end_peer(&peer);
        }
        // Peers hold no reference to the shared state; this only frees their memory early.
        self.context.lock(&self.context.disconnected).clear();
        self.context.stopped.store(true, Ordering::SeqCst);
        self.context.stop.notify(usize::MAX);
        self.context.events.close();
    }
}

/// Ends a peer if the task that serves it is dropped before it has done so itself.
#[derive(Debug)]
pub(crate) struct PeerGuard {
    running: Arc<TaskRef>,
    peer: Option<Arc<Peer>>,
}

impl PeerGuard {
    pub(crate) fn new(running: &Arc<TaskRef>, peer: &Arc<Peer>) -> PeerGuard {
        PeerGuard { running: running.clone(), peer: Some(peer.clone()) }
    }

    /// Disarms the guard: another task serves the peer.
    pub(crate) fn disarm(mut self) {
        self.peer = None;
    }
}

impl Drop for PeerGuard {
    fn drop(&mut self) {
        if let Some(peer) = self.peer.take() {
            self.running.end_peer(&peer);
        }
    }
}

/// Returned frames, in the order in which peers returned them first.
#[derive(Debug, Default)]
struct Unconfirmed {
    peers: VecDeque<ReturnedFrames>,
    /// Invariant: the sum of [`cost`] over all frames.
    bytes: usize,
}

/// The frames that one peer returned.
#[derive(Debug)]
struct ReturnedFrames {
    target: Target,
    /// Whether the peer is inbound only: its frames are evicted first.
    is_stranger: bool,
    frames: VecDeque<Frame>,
}

impl Unconfirmed {
    /// Adds frames, and evicts others while the total cost exceeds `limit`. Returns the evicted
    /// frames.
    fn push(
        &mut self,
        target: Target,
        is_stranger: bool,
        frames: Vec<Frame>,
        limit: usize,
    ) -> Vec<Frame> {
        self.bytes += frames.iter().map(cost).sum::<usize>();
        match self.peers.iter_mut().find(|other| other.target == target) {
            Some(kept) => kept.frames.extend(frames),
            None => {
                self.peers.push_back(ReturnedFrames { target, is_stranger, frames: frames.into() })
            }
        }
        let mut given_up = Vec::new();
        while self.bytes > limit {
            given_up.extend(self.evict_oldest());
        }
        given_up
    }

    /// Evicts the oldest frame, of an inbound peer if there is one: anyone can dial this node, and
    /// must not displace frames for the peers that it dials itself.
    fn evict_oldest(&mut self) -> Option<Frame> {
        let at = self.peers.iter().position(|peer| peer.is_stranger).unwrap_or(0);
        let Some(oldest) = self.peers.get_mut(at) else {
            self.bytes = 0;
            return None;
        };
        let given_up = oldest.frames.pop_front();
        match &given_up {
            Some(frame) => self.bytes -= cost(frame),
            None => drop(self.peers.remove(at)),
        }
        given_up
    }

    /// Removes and returns the frames of one peer.
    fn take(&mut self, target: Target) -> Vec<Frame> {
        let at = self.peers.iter().position(|peer| peer.target == target);
        let Some(peer) = at.and_then(|at| self.peers.remove(at)) else { return Vec::new() };
        self.bytes -= peer.frames.iter().map(cost).sum::<usize>();
        peer.frames.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(count: usize) -> Vec<Frame> {
        vec![Frame::builder(8, Id::from_bytes([1; 32])).build().unwrap(); count]
    }

    #[test]
    fn what_comes_back_is_kept_within_the_bound_oldest_given_up_first() {
        let mut unconfirmed = Unconfirmed::default();
        let limit = 3 * cost(&frames(1)[0]);
        unconfirmed.push(1, false, frames(1), limit);
        unconfirmed.push(2, false, frames(1), limit);
        unconfirmed.push(1, false, frames(1), limit);
        unconfirmed.push(3, false, frames(1), limit);
        assert_eq!([1, 2, 3].map(|target| unconfirmed.take(target).len()), [1, 1, 1]);
        assert_eq!(unconfirmed.bytes, 0);
        unconfirmed.push(1, false, frames(4), limit);
        assert_eq!((unconfirmed.take(1).len(), unconfirmed.bytes), (3, 0));
    }

    #[test]
    fn what_strangers_left_is_given_up_before_what_was_for_own_peers() {
        let mut unconfirmed = Unconfirmed::default();
        let limit = 3 * cost(&frames(1)[0]);
        unconfirmed.push(1, false, frames(2), limit);
        unconfirmed.push(2, true, frames(1), limit);
        unconfirmed.push(3, true, frames(2), limit);
        assert_eq!([1, 2, 3].map(|target| unconfirmed.take(target).len()), [2, 0, 1]);
    }
}
