//! What the handles of an endpoint and its tasks share.

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

/// Neighbours by their targets, and by those of which they are an alias.
pub(crate) type Peers = BTreeMap<Target, Arc<Peer>>;

/// The state of an endpoint.
pub(crate) struct Shared {
    pub(crate) id: Id,
    /// The same, for the links that carry records of ours.
    pub(crate) control_sender: Arc<Id>,
    /// Tells this run of the node from any other.
    pub(crate) instance_id: Bits,
    pub(crate) limits: Limits,
    /// Whether frames are for a router id, and not for whoever is found at a peer's address.
    frames_follow_id: bool,
    pub(crate) routes: Arc<Routes>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) inbound: Inbound,
    pub(crate) events: EventBus,
    pub(crate) resolver: Box<dyn Resolve>,
    pub(crate) connector: Box<dyn Connect>,
    pub(crate) handshake_slots: HandshakeSlots,
    pub(crate) policy: RwLock<AcceptPolicy>,
    /// Whom this node trusts, if it encrypts.
    #[cfg(feature = "noise")]
    pub(crate) key_policy: Option<KeyPolicy>,
    /// Held while a router id is entered, so that two cannot claim one at once.
    #[cfg(feature = "noise")]
    pub(crate) claims: Mutex<()>,
    /// The port that a Hello names, 0 if this node listens on none.
    pub(crate) port: AtomicU16,
    /// Every neighbour from the moment that its target was reserved; under the targets of those
    /// that turned out to be the same as another, that one.
    peers: RwLock<Peers>,
    /// Neighbours that share records.
    sessions: Mutex<SessionIndex>,
    /// Those of them that have no link and may come back, oldest first.
    disconnected: Mutex<VecDeque<Arc<Peer>>>,
    unconfirmed: Mutex<Unconfirmed>,
    spawner: Box<dyn Spawn>,
    stopping: AtomicBool,
    stopped: AtomicBool,
    /// Notified on each of the two.
    stop: Signal,
}

/// What a builder decides.
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

    /// The neighbour with this target.
    pub(crate) fn peer(&self, target: Target) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&target).cloned()
    }

    /// Puts a frame into the queue of the neighbour with this target.
    ///
    /// Two neighbours become one under the lock that is held here, so that the frame goes to the
    /// queue of the one or of the other.
    pub(crate) fn push(&self, target: Target, frame: Frame) -> Result<(), (SendErrorKind, Frame)> {
        self.push_with(target, frame, |peer, frame| peer.push(frame, None, Admission::Bounded))
    }

    /// Puts a frame there that must not wait, beyond the bounds of the queue.
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
        drop(pushed);
        if is_absent {
            self.evict_disconnected();
        }
        Ok(())
    }

    /// Puts frames into that queue for as long as it takes them and `check` finds nothing wrong: how
    /// many, and why no more.
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

    /// Whether nobody holds the lock of the table.
    #[cfg(test)]
    pub(crate) fn is_table_free(&self) -> bool {
        self.peers.try_write().is_ok()
    }

    /// All neighbours, ordered by target.
    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        let mut peers = Vec::new();
        self.for_each_peer(|peer| peers.push(peer.clone()));
        peers
    }

    /// Calls `f` for each neighbour, in the order of targets.
    pub(crate) fn for_each_peer(&self, f: impl FnMut(&Arc<Peer>)) {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        // An alias is an entry under another target than the peer's own.
        let is_own = |(target, peer): &(&Target, &Arc<Peer>)| **target == peer.target();
        peers.iter().filter(is_own).map(|(_, peer)| peer).for_each(f);
    }

    /// Adds the neighbours that `make` returns. It sees those that there are, and cannot be
    /// overtaken by another who adds.
    pub(crate) fn add_peers<E>(
        &self,
        make: impl FnOnce(&Peers) -> Result<Vec<Arc<Peer>>, E>,
    ) -> Result<Vec<Arc<Peer>>, E> {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let new = make(&peers)?;
        peers.extend(new.iter().map(|peer| (peer.target(), peer.clone())));
        Ok(new)
    }

    /// Takes a neighbour out, so that none of its targets names anybody.
    pub(crate) fn forget_peer(&self, target: Target) -> Option<Arc<Peer>> {
        let peer = self.peer(target)?;
        self.remove_peer(&peer);
        Some(peer)
    }

    fn remove_peer(&self, peer: &Peer) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|target, other| {
            let is_it = std::ptr::eq(&**other, peer);
            // Its own target is free when it has ended.
            if is_it && *target != peer.target() {
                self.routes.retire(*target);
            }
            !is_it
        });
    }

    /// Whether this node was told to dial this address.
    pub(crate) fn is_configured(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let mut is_configured = false;
        self.for_each_peer(|peer| is_configured = is_configured || peer.is_configured_at(ip));
        is_configured
    }

    /// Whether the accept policy lets a connection from here say who it is.
    pub(crate) fn admits_addr(&self, addr: SocketAddr) -> bool {
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner);
        policy.admits_addr(addr.ip(), |ip| self.is_configured(ip))
    }

    /// Whether the accept policy lets a stranger in that has said who it is.
    pub(crate) fn admits(&self, incoming: &Incoming) -> bool {
        // Outside of the lock, since the callback is the caller's and may change the policy.
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner).clone();
        policy.admits(incoming)
    }

    /// The queue of a new peer.
    pub(crate) fn new_queue(&self) -> SendQueue {
        SendQueue::new(self.budget.clone(), self.limits.queue_bytes, self.limits.queue_frames)
    }

    /// Brings a peer to its end: its target names nobody, and what it was not sent comes back.
    pub(crate) fn end_peer(&self, peer: &Peer) {
        // It has ended before, or as another peer's alias.
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

    /// Makes the target of one peer an alias of another, which gets the frames that wait for it.
    /// Not if the other one has ended.
    pub(crate) fn make_alias(&self, goes: &Peer, stays: &Arc<Peer>) -> bool {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that whoever looks the target up again finds the other peer, and
        // what was sent before goes first.
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

    fn forget_session(&self, peer: &Peer) {
        if let Some(pair) = peer.session() {
            self.lock(&self.sessions).remove(&(pair.instance_id, pair.secret.public_name()));
        }
    }

    /// Starts to share a secret with a neighbour that claims to be `id`, or with `None` nothing. What
    /// it may not have received under the terms before comes back, or is sent again.
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

    /// Other peers that are the same run of a node as this one says it is, and whose links carry
    /// frames the same ways. Those that this node dials come first: anybody can claim a run, and
    /// of two links to one node either side dialed one at least.
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

    /// The neighbour that shares a secret of this name, in the same run as then.
    pub(crate) fn resumable_peer(&self, name: &[u8; 8], boot: &Bits) -> Option<Arc<Peer>> {
        self.lock(&self.sessions).get(&(*boot, *name)).cloned()
    }

    /// Enters a neighbour that may come back.
    pub(crate) fn track_disconnected(&self, peer: &Arc<Peer>) {
        let mut absent = self.lock(&self.disconnected);
        absent.retain(|other| !Arc::ptr_eq(other, peer));
        absent.push_back(peer.clone());
        drop(absent);
        self.evict_disconnected();
    }

    /// Ends the neighbours that have been away the longest, if too many are or too much waits for
    /// them.
    fn evict_disconnected(&self) {
        let mut absent = self.lock(&self.disconnected);
        // One that became the same as a peer which this node dials is not for others to push out.
        absent.retain(|peer| peer.is_disconnected() && !peer.is_dialed());
        let mut bytes: usize = absent.iter().map(|peer| peer.queue.size().1).sum();
        while absent.len() > self.limits.resume_peers || bytes > self.limits.resume_bytes {
            let Some(oldest) = absent.pop_front() else { return };
            bytes -= oldest.queue.size().1.min(bytes);
            oldest.stop(Closing::Now, DownReason::Removed);
        }
    }

    /// Keeps frames that a peer was not sent, for whoever asks.
    fn store_unconfirmed(&self, peer: &Peer, frames: Vec<Frame>) {
        if frames.is_empty() {
            return;
        }
        let (target, count) = (peer.target(), frames.len());
        let is_stranger = peer.origin() == Origin::Accepted && !peer.is_dialed();
        let limit = self.limits.unconfirmed_bytes;
        let given_up = self.unconfirmed().push(target, is_stranger, frames, limit);
        // Not under the lock: bytes that the caller lent may run code of his.
        drop(given_up);
        self.events.emit(Event::Unconfirmed { target, frames: count });
    }

    /// Takes all that waits for a peer that has no link, what came back from it first, and forgets
    /// what was shared with it. One that is not dialed ends. `None`: it has a link, is about to have
    /// one, or there is no such peer.
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

    /// Takes the frames that a peer was not sent.
    pub(crate) fn take_unconfirmed(&self, target: Target) -> Vec<Frame> {
        self.unconfirmed().take(target)
    }

    /// Makes room in the budget of all queues for so many bytes, at the cost of the peers that are
    /// down the longest.
    pub(crate) fn reclaim(&self, bytes: usize) {
        let is_down = |peer: &Arc<Peer>| !peer.queue.is_up() && peer.queue.size().0 > 0;
        let down: Vec<_> = self.peers().into_iter().filter(is_down).collect();
        // The first few make room enough, so the rest need not be in order.
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

    /// Tells all tasks to stop. `Drain` lets links send what is queued.
    pub(crate) fn stop(&self, how: Closing) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stop.notify(usize::MAX);
        for peer in self.peers() {
            peer.stop(how, DownReason::ShuttingDown);
        }
    }

    /// Says goodbye over every link that is up, and closes it for writing, before this returns.
    pub(crate) fn close_links(&self) {
        self.peers().iter().for_each(|peer| peer.close_link());
    }

    /// Has neighbours be told, when their links close, to stay away for so long, one after the other.
    pub(crate) fn announce_retry_after(&self, time: Duration) {
        let peers = self.peers();
        for (peer, time) in peers.iter().zip(staggered_retry_after(peers.len(), time)) {
            peer.set_retry_after(time);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until the tasks are told to stop.
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

/// What every task of an endpoint holds, and no handle does.
///
/// When the last task has ended, or was dropped with its executor, this is dropped: `next` and
/// `events` then return an error instead of waiting for ever.
#[derive(Debug)]
pub(crate) struct TaskRef {
    context: Arc<Shared>,
    pub(crate) inbound: InboundSender,
}

impl TaskRef {
    pub(crate) fn new(context: Arc<Shared>, inbound: InboundSender) -> Arc<TaskRef> {
        Arc::new(TaskRef { context, inbound })
    }

    /// Runs a task in the background.
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
        // The executor may be gone without anybody having said stop.
        self.context.stop(Closing::Now);
        for peer in self.context.peers() {
            self.context.end_peer(&peer);
        }
        // Neighbours hold nothing of the context, but let go of them all the same.
        self.context.lock(&self.context.disconnected).clear();
        self.context.stopped.store(true, Ordering::SeqCst);
        self.context.stop.notify(usize::MAX);
        self.context.events.close();
    }
}

/// Brings a peer to its end if the task that serves it is dropped before it has done so itself.
#[derive(Debug)]
pub(crate) struct PeerGuard {
    running: Arc<TaskRef>,
    peer: Option<Arc<Peer>>,
}

impl PeerGuard {
    pub(crate) fn new(running: &Arc<TaskRef>, peer: &Arc<Peer>) -> PeerGuard {
        PeerGuard { running: running.clone(), peer: Some(peer.clone()) }
    }

    /// Leaves the peer to another task.
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

/// Frames that came back, oldest peers first.
#[derive(Debug, Default)]
struct Unconfirmed {
    peers: VecDeque<ReturnedFrames>,
    bytes: usize,
}

/// Frames that came back from one peer.
#[derive(Debug)]
struct ReturnedFrames {
    target: Target,
    /// Whether that peer had dialed this node.
    is_stranger: bool,
    frames: VecDeque<Frame>,
}

impl Unconfirmed {
    /// Returns what is given up for it.
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

    /// Gives up the oldest frame, as long as there are any one of a stranger: whoever likes can
    /// dial this node, and must not cost it what was for its own peers.
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
