//! The outbound queue of one peer.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};

use event_listener::EventListener;

use crate::error::SendErrorKind;
use crate::peer::recv::permit::Permit;
use crate::peer::send::memory_budget::{
    MemoryBudget, Reservation, SLOT_COST, SharedReservation, cost,
};
use crate::peer::send::segment::{Segment, into_frames};
use crate::peer::send::send_buffer::SendBuffer;
use crate::peer::send::state::{Closing, SendState, wake_writer};
use crate::primitives::lock::Mutex;
use crate::primitives::notify::Notify;
use crate::proto::Frame;

/// The limits that apply when a frame is enqueued.
#[derive(Debug)]
pub(crate) enum Admission<'a> {
    /// Within the limits of the queue.
    Bounded,
    /// Only while the link is up. Within the limits of the queue, or beyond them while floods take
    /// a small part of it: a router whose announcements stand behind a stream for long is taken
    /// for gone. Comes with the reservation for the payload, which several queues share.
    Flood(Arc<SharedReservation>),
    /// Beyond the limits of the queue. The frame is forwarded, and keeps its part of the window of
    /// the peer that it came from: the permit is taken if the frame is accepted. While the link is
    /// down the frame takes memory of the budget instead, and what the permit covers is left: a peer
    /// that does not come back must not hold up those that feed it. So it does, as far as there is
    /// some, while strangers have used up their memory: their readers pause then, and would wait
    /// for acknowledgements that only they can read.
    Forwarded(&'a mut Option<Permit>),
    /// The same, unless half of that window waits for this peer already.
    ForwardedWithinHalf(&'a mut Option<Permit>),
}

impl Admission<'_> {
    fn is_forwarded(&self) -> bool {
        matches!(self, Admission::Forwarded(_) | Admission::ForwardedWithinHalf(_))
    }

    /// Whether the frame is forwarded, and its part of a window is not needed for others.
    fn may_keep_window(&self) -> bool {
        match self {
            Admission::Forwarded(permit) | Admission::ForwardedWithinHalf(permit) => {
                !permit.as_ref().is_some_and(Permit::is_scarce)
            }
            _ => false,
        }
    }
}

/// The part of a queue's limits that floods may always use, as a fraction: 128 KiB by default. With
/// `queue_frames` below 8 there is none.
const FLOOD_FRACTION: usize = 8;

/// The outbound queue of one peer.
///
/// It belongs to the peer, not to the link: while the link is down, frames are queued up to the
/// limits.
///
/// Lock order: of two queues, only [`transfer_to`](SendQueue::transfer_to) locks both. The lock of
/// a queue is taken before that of the write half of its link. Frames are dropped, and waiters of
/// [`room`](SendQueue::listen) notified, without any lock.
#[derive(Debug)]
pub(crate) struct SendQueue {
    state: Mutex<SendState>,
    /// Notified when queue space was freed, or the queue closed.
    room: Notify,
    budget: Arc<MemoryBudget>,
    /// Limit of what the queued frames cost, in bytes.
    pub(crate) max_bytes: usize,
    /// Limit of the number of queued frames.
    pub(crate) max_frames: usize,
}

impl SendQueue {
    pub(crate) fn new(budget: Arc<MemoryBudget>, max_bytes: usize, max_frames: usize) -> SendQueue {
        SendQueue { state: Mutex::default(), room: Notify::new(), budget, max_bytes, max_frames }
    }

    /// Appends a frame, or returns it with the reason for the refusal.
    ///
    /// Returns the lock, so that the caller can write the frame before another one is appended, and
    /// the frame itself if the queue made a copy. The caller must drop it after the lock.
    pub(crate) fn append(
        &self,
        frame: Frame,
        admission: Admission<'_>,
    ) -> Result<(MutexGuard<'_, SendState>, Option<Frame>), (SendErrorKind, Frame)> {
        let is_flood = matches!(admission, Admission::Flood(_));
        let is_copied = !is_flood && SendBuffer::should_coalesce(frame.len());
        // Copy a slice of a receive buffer, so that the queue does not keep all of the buffer
        // alive.
        let frame = if is_copied { frame } else { frame.compact() };
        let cost = cost(&frame);
        let mut state = self.lock();
        let error = match admission {
            // Inlined, since it is by far the most frequent case.
            Admission::Bounded => self.own_error(&state, cost, self.space(&state)),
            _ => self.admission_error(&state, cost, &admission),
        };
        if let Some(error) = error {
            // So much waits of one peer that its next frame must not wait for the delayed
            // acknowledgement.
            let is_forwarded = matches!(admission, Admission::ForwardedWithinHalf(_));
            if is_forwarded && error == SendErrorKind::Full && state.request_ack() {
                wake_writer(state);
            }
            return Err((error, frame));
        }
        let keeps_window = match self.reserve_for(&state, cost, &admission) {
            Ok(keeps_window) => keeps_window,
            Err(error) => return Err((error, frame)),
        };
        let (flood, permit) = match admission {
            Admission::Bounded if is_copied => {
                let buffer = state.buffer_for(false);
                buffer.append_coalesced(&frame, self.budget.buffers());
                state.fill_buffer();
                return Ok((state, Some(frame)));
            }
            Admission::Bounded => (None, None),
            Admission::Flood(reservation) => (Some(reservation), None),
            Admission::Forwarded(slot) | Admission::ForwardedWithinHalf(slot) => {
                let mut permit = slot.take();
                if !keeps_window {
                    // Dropped by the caller, after the lock.
                    *slot = permit.as_mut().map(Permit::take);
                }
                (None, permit)
            }
        };
        if let Some(permit) = permit.as_ref().filter(|permit| !permit.is_empty()) {
            state.count_forwarded(permit);
        }
        let buffer = state.buffer_for(permit.is_some());
        let copied = match permit {
            Some(permit) if is_copied => {
                buffer.append_coalesced_with(permit, &frame, self.budget.buffers());
                Some(frame)
            }
            permit => {
                buffer.push(frame, flood, permit);
                None
            }
        };
        // Lanes that wait for credit may have some for this frame.
        state.fill_buffer();
        Ok((state, copied))
    }

    /// Reserves what a frame takes of the budget. Returns whether it keeps its part of a window
    /// instead.
    #[inline]
    fn reserve_for(
        &self,
        state: &SendState,
        cost: usize,
        admission: &Admission<'_>,
    ) -> Result<bool, SendErrorKind> {
        let keeps_window = state.up && admission.may_keep_window();
        let queue_cost = match admission {
            Admission::Flood(_) => SLOT_COST,
            _ => cost,
        };
        if keeps_window || self.budget.try_reserve(queue_cost, state.is_stranger) {
            return Ok(keeps_window);
        }
        match state.up && admission.is_forwarded() {
            true => Ok(true),
            false => Err(SendErrorKind::EndpointFull),
        }
    }

    /// Appends frames in order, while there is queue space and `check` has no objection. Returns
    /// how many were accepted, whether the link is up, and why the next one was refused.
    ///
    /// The lock is taken once, and the memory budget is reserved in chunks.
    pub(crate) fn push_many(
        &self,
        frames: &VecDeque<Frame>,
        check: impl Fn(&Frame) -> Option<SendErrorKind>,
    ) -> (usize, bool, Option<SendErrorKind>) {
        let mut reservation = Reservation::new(&self.budget);
        let mut state = self.lock();
        let (mut taken, mut refused) = (0, None);
        let mut space = self.space(&state);
        for frame in frames {
            let cost = cost(frame);
            refused = check(frame).or_else(|| self.own_error(&state, cost, space));
            if refused.is_some() {
                break;
            }
            if !reservation.try_use(cost, state.is_stranger) {
                refused = Some(SendErrorKind::EndpointFull);
                break;
            }
            let buffer = state.buffer_for(false);
            match SendBuffer::should_coalesce(frame.len()) {
                true => buffer.append_coalesced(frame, self.budget.buffers()),
                false => buffer.push(frame.clone().compact(), None, None),
            }
            taken += 1;
            space = (space.0 - 1, space.1 - cost);
        }
        let is_up = state.up;
        state.fill_buffer();
        match state.parked_link.is_some() && state.buffer.has_unwritten() {
            true => wake_writer(state),
            false => drop(state),
        }
        (taken, is_up, refused)
    }

    fn admission_error(
        &self,
        state: &SendState,
        cost: usize,
        admission: &Admission<'_>,
    ) -> Option<SendErrorKind> {
        let own_error = || self.own_error(state, cost, self.space(state));
        match admission {
            Admission::Bounded => own_error(),
            _ if state.closing.is_some() || state.ended => Some(SendErrorKind::UnknownTarget),
            Admission::Flood(_) if !state.up => Some(SendErrorKind::LinkDown),
            Admission::Flood(_) => own_error().filter(|error| {
                let (frames, bytes) = state.flood_size();
                let has_space = frames < self.max_frames / FLOOD_FRACTION
                    && bytes + cost <= self.max_bytes / FLOOD_FRACTION;
                *error != SendErrorKind::Full || !has_space
            }),
            Admission::Forwarded(_) => None,
            Admission::ForwardedWithinHalf(permit) => {
                let is_clogged = permit.as_ref().is_some_and(|permit| state.is_clogged(permit));
                is_clogged.then_some(SendErrorKind::Full)
            }
        }
    }

    /// Why a frame of this cost that the router sends itself is refused, with so much space.
    #[inline]
    fn own_error(
        &self,
        state: &SendState,
        cost: usize,
        (frames, bytes): (usize, usize),
    ) -> Option<SendErrorKind> {
        if state.closing.is_some() || state.ended {
            return Some(SendErrorKind::UnknownTarget);
        }
        if frames > 0 && cost <= bytes && self.budget.can_hold(cost, state.is_stranger) {
            return None;
        }
        let can_fit = cost <= self.max_bytes && self.max_frames > 0;
        match can_fit && self.budget.can_hold(cost, state.is_stranger) {
            true => Some(SendErrorKind::Full),
            false => Some(SendErrorKind::TooLarge),
        }
    }

    /// The number and the cost of the frames for which there is space.
    #[inline]
    fn space(&self, state: &SendState) -> (usize, usize) {
        let (frames, bytes) = state.own_size();
        (self.max_frames.saturating_sub(frames), self.max_bytes.saturating_sub(bytes))
    }

    /// Whether a frame of this cost would be accepted, or refused for a reason other than lack of
    /// space, so that waiting for space would not help.
    pub(crate) fn is_ready(&self, cost: usize) -> bool {
        let state = self.lock();
        match self.admission_error(&state, cost, &Admission::Bounded) {
            None => self.budget.shortfall(cost, state.is_stranger) == 0,
            Some(error) => !error.is_temporary(),
        }
    }

    /// Sets whether the peer is a stranger, which cannot use the reserve of the memory budget.
    pub(crate) fn set_stranger(&self, is_stranger: bool) {
        self.lock().is_stranger = is_stranger;
    }

    /// Whether the present or last link supports the extension.
    pub(crate) fn is_extended(&self) -> bool {
        self.lock().is_extended
    }

    /// Reserves memory of the budget that the queues of the endpoint share.
    pub(crate) fn try_reserve(&self, bytes: usize, is_stranger: bool) -> bool {
        self.budget.try_reserve(bytes, is_stranger)
    }

    /// Listens for released memory of the budget that the queues of the endpoint share.
    pub(crate) fn listen_to_budget(&self) -> EventListener {
        self.budget.listen()
    }

    /// Whether the link is up.
    pub(crate) fn is_up(&self) -> bool {
        self.lock().up
    }

    /// Listens for freed queue space, or for the end of the queue.
    pub(crate) fn listen(&self) -> EventListener {
        self.room.listen()
    }

    /// Wakes up those who wait for space in this queue, or in the memory budget. Must be called
    /// without the lock, which they are about to take.
    pub(crate) fn room_made(&self) {
        self.room.notify_all();
        self.budget.wake_waiters();
    }

    /// Removes the oldest `count` frames and releases their reservation. They must be dropped after
    /// the lock: dropping bytes that a user owns may run code of the user.
    pub(crate) fn pop_acked(&self, state: &mut SendState, mut count: usize) -> Vec<Segment> {
        let mut segments = Vec::new();
        while let Some(segment) = state.buffer.pop(count) {
            count -= segment.frames();
            state.count_popped(segment.credit_cost());
            segments.push(segment);
        }
        self.release(state, &segments);
        segments
    }

    /// Removes all frames that wait for credit. They must be dropped after the lock.
    pub(crate) fn pop_waiting(&self, state: &mut SendState) -> Vec<Segment> {
        let segments = state.pop_waiting();
        self.release(state, &segments);
        segments
    }

    fn release(&self, state: &mut SendState, segments: &[Segment]) {
        self.budget.release(segments.iter().map(Segment::queue_cost).sum());
        state.uncount_forwarded(segments);
    }

    /// Moves all frames to the end of another queue and ends this one. Returns `false`, and changes
    /// nothing, if the other one has ended.
    ///
    /// The limits of the other queue are not applied: frames that were accepted are not lost.
    pub(crate) fn transfer_to(&self, other: &SendQueue) -> bool {
        // No other code locks two queues, and a peer takes part in one merge at a time: no
        // deadlock.
        let mut state = other.lock();
        if state.ended {
            return false;
        }
        let mut own = self.lock();
        own.ended = true;
        state.append_all(&mut own);
        drop(own);
        wake_writer(state);
        self.room.notify_all();
        true
    }

    /// Number of queued frames, and their cost in bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.lock().size()
    }

    /// Number of the frames that count against the limits and the memory budget, and their cost:
    /// all but the forwarded ones.
    pub(crate) fn own_size(&self) -> (usize, usize) {
        self.lock().own_size()
    }

    /// Stops accepting frames and wakes up all waiters. `Now` overrides `Drain`.
    pub(crate) fn close(&self, how: Closing) {
        let mut state = self.lock();
        if state.closing != Some(Closing::Now) {
            state.closing = Some(how);
        }
        wake_writer(state);
        self.room.notify_all();
    }

    /// Completes when the queue is closing, or the remote is.
    pub(crate) fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        match state.closing.is_some() || state.remote_closing {
            true => Poll::Ready(()),
            false => {
                state.register_writer(cx);
                Poll::Pending
            }
        }
    }

    /// Ends the queue and drains it. No frame is accepted afterwards.
    pub(crate) fn end(&self) -> Vec<Frame> {
        let mut state = self.lock();
        state.ended = true;
        let mut segments = self.pop_acked(&mut state, usize::MAX);
        segments.extend(self.pop_waiting(&mut state));
        drop(state);
        // The queue may not have been closed: a task that is dropped ends its peer directly.
        self.room_made();
        into_frames(segments)
    }

    /// Evicts the oldest frames until `bytes` bytes of the budget were released, or none is left.
    ///
    /// A frame that is also queued for other peers releases no more than its slot. Frames that are
    /// being written stay, and so do unacknowledged ones, since the remote counts them.
    pub(crate) fn shed(&self, bytes: usize) -> Vec<Frame> {
        let mut state = self.lock();
        let kept = state.possibly_received();
        let mut segments = state.buffer.shed(kept, bytes);
        let freed: usize = segments.iter().map(Segment::freed_bytes).sum();
        segments.extend(state.shed_waiting(bytes.saturating_sub(freed)));
        self.release(&mut state, &segments);
        drop(state);
        if !segments.is_empty() {
            self.room_made();
        }
        into_frames(segments)
    }

    /// Whether the lock is free.
    #[cfg(test)]
    pub(crate) fn is_unlocked(&self) -> bool {
        self.state.is_free()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SendState> {
        self.state.lock()
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        let mut state = self.lock();
        let segments = (self.pop_acked(&mut state, usize::MAX), self.pop_waiting(&mut state));
        drop(state);
        drop(segments);
        self.budget.wake_waiters();
    }
}

#[cfg(test)]
mod tests;
