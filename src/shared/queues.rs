//! Operations on the queues of peers, by target.

use std::collections::VecDeque;

use crate::error::{DownReason, SendErrorKind};
use crate::events::Event;
use crate::peer::{Admission, Closing, Enqueued, OnNewSession, Origin, Peer, SendQueue};
use crate::proto::{Frame, Target};
use crate::shared::Shared;

impl Shared {
    /// Returns the send queue for a new peer.
    pub(crate) fn new_queue(&self) -> SendQueue {
        SendQueue::new(self.budget.clone(), self.limits.queue_bytes, self.limits.queue_frames)
    }

    /// Enqueues a frame for the peer with this target.
    ///
    /// Holds the read lock of the table meanwhile. A merge transfers a queue under the write lock,
    /// so the frame ends up in the queue of the surviving peer either way.
    pub(crate) fn push(&self, target: Target, frame: Frame) -> Result<(), (SendErrorKind, Frame)> {
        self.push_with(target, frame, |peer, frame| peer.push(frame, Admission::Bounded))
    }

    /// Enqueues a forwarded frame, which must not wait, and takes the permit in its admission.
    pub(crate) fn forward(
        &self,
        target: Target,
        frame: Frame,
        admission: Admission<'_>,
    ) -> Result<(), (SendErrorKind, Frame)> {
        let down_limit = self.limits.send_timeout;
        self.push_with(target, frame, |peer, frame| peer.forward(frame, admission, down_limit))
    }

    /// Frees memory of the budget for `bytes` bytes to this target, which were refused for lack of
    /// it.
    pub(crate) fn reclaim_for(&self, target: Target, bytes: usize) {
        if let Some(peer) = self.peer(target) {
            self.reclaim(peer.class(), Some(&peer), bytes);
        }
    }

    fn push_with(
        &self,
        target: Target,
        frame: Frame,
        push: impl FnOnce(&Peer, Frame) -> Result<Enqueued, (SendErrorKind, Frame)>,
    ) -> Result<(), (SendErrorKind, Frame)> {
        let peers = self.peers.read();
        let Some(peer) = peers.get(&target) else {
            return Err((SendErrorKind::UnknownTarget, frame));
        };
        let enqueued = push(peer, frame)?;
        let is_disconnected = !enqueued.is_up && peer.origin() == Origin::Accepted;
        drop(peers);
        // Dropped without the lock: it may release bytes that the caller lent, which may run its
        // code.
        drop(enqueued);
        if is_disconnected {
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
        let peers = self.peers.read();
        let Some(peer) = peers.get(&target) else { return (0, Some(SendErrorKind::UnknownTarget)) };
        let (taken, is_up, refused) = peer.push_many(frames, check);
        if taken > 0 && !is_up && peer.origin() == Origin::Accepted {
            drop(peers);
            self.evict_disconnected();
        }
        (taken, refused)
    }

    /// Stores frames that a peer returned, for [`take_unconfirmed`](Shared::take_unconfirmed), and
    /// emits an event.
    pub(super) fn store_unconfirmed(&self, peer: &Peer, frames: Vec<Frame>) {
        if frames.is_empty() {
            return;
        }
        let (target, count) = (peer.target(), frames.len());
        self.returned.push(target, peer.class(), frames);
        self.events.emit_about(peer, Event::Unconfirmed { target, frames: count });
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
        let (window, credit) = Default::default();
        frames.extend(peer.start_session(None, OnNewSession::ReturnAll, window, credit));
        if !peer.is_dialed() {
            peer.stop(Closing::Now, DownReason::Removed);
        }
        Some(frames)
    }

    /// Takes the frames that a peer returned.
    pub(crate) fn take_unconfirmed(&self, target: Target) -> Vec<Frame> {
        self.returned.take(target)
    }
}
