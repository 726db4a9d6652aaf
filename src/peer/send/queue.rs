//! The outbound queue of one peer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use event_listener::EventListener;

use crate::error::SendErrorKind;
use crate::peer::send::memory_budget::{
    MemoryBudget, OVERHEAD, Reservation, SLOT_COST, SharedReservation, cost,
};
use crate::peer::send::send_buffer::{Segment, SendBuffer};
use crate::peer::send::write_batch::WriteBatch;
use crate::primitives::clock;
use crate::primitives::lazy_box::LazyBox;
use crate::primitives::notify::Notify;
use crate::proto::{
    ACK_BYTES, AckScheduler, Frame, InvalidAck, LENGTH_PREFIX, Records, SendCounter,
};
use crate::transport::Link;

/// The limits that apply when a frame is enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Within the limits of the queue.
    Bounded,
    /// Within the limits of the queue, and only while the link is up.
    WhileUp,
    /// Beyond the limits of the queue, as long as the memory budget of the endpoint suffices. For
    /// forwarded frames: they were accepted before, and their forwarder must not block.
    Unbounded,
}

/// What happens to the queued frames when a new session starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnNewSession {
    /// Frames that may have arrived are returned; the others are sent over the new session.
    ReturnUnacknowledged,
    /// All frames are sent; those that may have arrived are retransmitted.
    SendAgain,
    /// All frames are returned.
    ReturnAll,
}

/// How a queue closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Queued frames are sent first, as far as the drain timeout permits.
    Drain,
    /// Only a partially written frame is completed; the others are returned.
    Now,
}

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
    max_bytes: usize,
    /// Limit of the number of queued frames.
    max_frames: usize,
}

#[derive(Debug, Default)]
pub(crate) struct SendState {
    /// Frames to be written. On an extended link also those that were written and not acknowledged.
    pub(crate) buffer: SendBuffer,
    /// Whether a link is up.
    pub(crate) up: bool,
    /// Whether the present or last link supports the extension in the local direction.
    pub(crate) is_extended: bool,
    /// Counts the frames sent in this session.
    pub(crate) sent: SendCounter,
    /// Counts received frames and schedules their acknowledgement.
    pub(crate) acks: AckScheduler,
    /// Cost of the frames that were written and not acknowledged.
    unacked_bytes: usize,
    /// Cost of the frames that were acknowledged on the present or last link.
    acknowledged_here: usize,
    /// Whether an acknowledgement was requested since the last one arrived.
    ack_requested: bool,
    /// Whether the reader is blocked by back-pressure from the router.
    pub(crate) is_backpressured: bool,
    /// Whether the remote is suspected to be gone, and is being probed.
    pub(crate) is_probing: bool,
    /// Whether the remote sent its goodbye: it neither sends nor accepts frames any more.
    pub(crate) remote_closing: bool,
    /// Whether the liveness monitor of the link is running.
    pub(crate) monitor_armed: bool,
    /// The link, while its writer is parked with nothing to write.
    ///
    /// Invariant: `None` while `partial_batch` is set.
    pub(crate) parked_link: Option<Arc<Link>>,
    /// An unfinished direct write, to be completed by the writer.
    pub(crate) partial_batch: Option<Box<WriteBatch>>,
    /// Time of the last write of frames.
    pub(crate) last_write: Option<Instant>,
    /// Whether frames were received since the last write, so that the next frame is likely a reply.
    pub(crate) is_reply: bool,
    /// Pending control extensions. They are written before any frame.
    pub(crate) control: LazyBox<Records>,
    /// Set once the queue is closing: frames are not accepted any more.
    pub(crate) closing: Option<Closing>,
    /// Whether the queue has ended: it is drained, and accepts no frames any more.
    ended: bool,
    /// The parked writer task.
    pub(crate) writer: Option<Waker>,
}

impl SendQueue {
    pub(crate) fn new(budget: Arc<MemoryBudget>, max_bytes: usize, max_frames: usize) -> SendQueue {
        SendQueue { state: Mutex::default(), room: Notify::new(), budget, max_bytes, max_frames }
    }

    /// Appends a frame, or returns it with the reason for the refusal.
    ///
    /// Returns the lock, so that the caller can write the frame before another one is appended, and
    /// the frame itself if the queue made a copy. The caller must drop it after the lock.
    ///
    /// `flood` is the reservation for the payload of a frame that is queued for several peers.
    pub(crate) fn append(
        &self,
        frame: Frame,
        flood: Option<Arc<SharedReservation>>,
        admission: Admission,
    ) -> Result<(MutexGuard<'_, SendState>, Option<Frame>), (SendErrorKind, Frame)> {
        let is_copied = flood.is_none() && SendBuffer::should_coalesce(frame.len());
        // Copy a slice of a receive buffer, so that the queue does not keep all of the buffer
        // alive.
        let frame = if is_copied { frame } else { frame.compact() };
        let cost = cost(&frame);
        let mut state = self.lock();
        if let Some(refusal) = self.refusal(&state, cost, admission) {
            return Err((refusal, frame));
        }
        let own_cost = if flood.is_some() { SLOT_COST } else { cost };
        if !self.budget.try_reserve(own_cost) {
            return Err((SendErrorKind::EndpointFull, frame));
        }
        let copied = match is_copied {
            true => {
                state.buffer.append_coalesced(&frame, self.budget.buffers());
                Some(frame)
            }
            false => {
                state.buffer.push(frame, flood);
                None
            }
        };
        Ok((state, copied))
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
        let mut charge = Reservation::new(&self.budget);
        let mut state = self.lock();
        let (mut taken, mut refused) = (0, None);
        for frame in frames {
            let cost = cost(frame);
            refused = check(frame).or_else(|| self.refusal(&state, cost, Admission::Bounded));
            if refused.is_some() {
                break;
            }
            if !charge.try_use(cost) {
                refused = Some(SendErrorKind::EndpointFull);
                break;
            }
            match SendBuffer::should_coalesce(frame.len()) {
                true => state.buffer.append_coalesced(frame, self.budget.buffers()),
                false => state.buffer.push(frame.clone().compact(), None),
            }
            taken += 1;
        }
        let is_up = state.up;
        match taken {
            0 => drop(state),
            _ => wake_writer(state),
        }
        (taken, is_up, refused)
    }

    fn refusal(
        &self,
        state: &SendState,
        cost: usize,
        admission: Admission,
    ) -> Option<SendErrorKind> {
        if state.closing.is_some() || state.ended {
            return Some(SendErrorKind::UnknownTarget);
        }
        if admission == Admission::WhileUp && !state.up {
            return Some(SendErrorKind::LinkDown);
        }
        if cost > self.max_bytes || self.max_frames == 0 || !self.budget.can_hold(cost) {
            return Some(SendErrorKind::TooLarge);
        }
        if admission == Admission::Unbounded {
            return None;
        }
        let (frames, bytes) = state.buffer.size();
        let full = frames >= self.max_frames || bytes + cost > self.max_bytes;
        full.then_some(SendErrorKind::Full)
    }

    /// Whether a frame of this cost would be accepted, or refused for a reason other than lack of
    /// space, so that waiting for space would not help.
    pub(crate) fn is_ready(&self, cost: usize) -> bool {
        match self.refusal(&self.lock(), cost, Admission::Bounded) {
            None => self.budget.shortfall(cost).is_none_or(|missing| missing == 0),
            Some(refusal) => !refusal.is_temporary(),
        }
    }

    /// Cost of the frames that were acknowledged on the present or last link.
    pub(crate) fn acknowledged_bytes(&self) -> usize {
        self.lock().acknowledged_here
    }

    /// Whether the present or last link supports the extension.
    pub(crate) fn is_extended(&self) -> bool {
        self.lock().is_extended
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

    /// Records that a link is up, and whether it supports the extension.
    pub(crate) fn link_up(&self, shares_records: bool) {
        let mut state = self.lock();
        state.up = true;
        state.is_extended = shares_records;
        state.control = LazyBox::default();
        state.is_backpressured = false;
        state.is_probing = false;
        state.remote_closing = false;
        state.monitor_armed = false;
        state.acknowledged_here = 0;
        state.acks.resume();
    }

    /// Records that the link ended.
    pub(crate) fn link_down(&self) {
        self.lock().up = false;
    }

    /// Resumes the session on a new link whose remote has received `count` frames. The others are
    /// to be retransmitted, ahead of frames that were never sent.
    pub(crate) fn resume(&self, count: u64) -> Result<(), InvalidAck> {
        let mut state = self.lock();
        let more = state.sent.resume(count)?;
        // Acknowledged frames are at the front. Some of them may count as unwritten here, if an
        // earlier resume was aborted after it had rewound the queue.
        let arrived = self.pop_acked(&mut state, more);
        state.buffer.rewind();
        (state.unacked_bytes, state.ack_requested) = (0, false);
        drop(state);
        if !arrived.is_empty() {
            drop(arrived);
            self.room_made();
        }
        Ok(())
    }

    /// Starts a new session. Returns the frames that must not be sent over it.
    pub(crate) fn reset_session(&self, frames: OnNewSession) -> Vec<Frame> {
        let mut state = self.lock();
        let returned = match frames {
            OnNewSession::ReturnUnacknowledged => {
                state.buffer.written() + state.sent.retransmit_count()
            }
            OnNewSession::SendAgain => 0,
            OnNewSession::ReturnAll => usize::MAX,
        };
        (state.sent, state.acks) = (SendCounter::default(), AckScheduler::default());
        let parts = self.pop_acked(&mut state, returned);
        state.buffer.rewind();
        (state.unacked_bytes, state.ack_requested) = (0, false);
        drop(state);
        if !parts.is_empty() {
            self.room_made();
        }
        into_frames(parts)
    }

    /// Handles an acknowledgement of `count` frames in total. `held` is the time by which the
    /// remote delayed it, or `None` if it is the reply to a ping.
    pub(crate) fn acknowledge(&self, count: u64, held: Option<Duration>) -> Result<(), InvalidAck> {
        let mut state = self.lock();
        let more = state.sent.acknowledge(count, held, clock::now())?;
        let arrived = self.pop_acked(&mut state, more);
        let cost = arrived.iter().map(Segment::cost).sum();
        state.unacked_bytes = state.unacked_bytes.saturating_sub(cost);
        state.acknowledged_here = state.acknowledged_here.saturating_add(cost);
        state.ack_requested = false;
        drop(state);
        drop(arrived);
        self.room_made();
        Ok(())
    }

    /// Wakes up those who wait for space in this queue, or in the memory budget. Must be called
    /// without the lock, which they are about to take.
    pub(crate) fn room_made(&self) {
        self.room.notify_all();
        self.budget.wake_waiters();
    }

    /// Removes the oldest `count` frames and releases their reservation. They must be dropped after
    /// the lock: dropping bytes that a user owns may run code of the user.
    fn pop_acked(&self, state: &mut SendState, mut count: usize) -> Vec<Segment> {
        let mut parts = Vec::new();
        while let Some(part) = state.buffer.pop(count) {
            count -= part.frames();
            parts.push(part);
        }
        self.release(&parts);
        parts
    }

    fn release(&self, parts: &[Segment]) {
        self.budget.release(parts.iter().map(Segment::queue_cost).sum());
    }

    /// Records that frames were delivered to the router, to be acknowledged later.
    pub(crate) fn received(&self, frames: usize, bytes: usize) {
        let mut state = self.lock();
        state.is_reply = true;
        if state.is_extended {
            state.acks.add(frames, bytes + frames * OVERHEAD, clock::now());
        }
    }

    /// Number of frames delivered to the router over all links of the session.
    pub(crate) fn received_total(&self) -> u64 {
        self.lock().acks.total()
    }

    /// The smoothed round-trip time, measured by acknowledgements.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.lock().sent.round_trip()
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
        state.buffer.append(&mut own.buffer);
        drop(own);
        wake_writer(state);
        self.room.notify_all();
        true
    }

    /// Records that `bytes` more bytes of frames were written. Returns the number of frames that
    /// this completed, and their bytes. On an extended link they are kept until they are
    /// acknowledged.
    pub(crate) fn on_written(&self, bytes: usize) -> (usize, usize) {
        let mut state = self.lock();
        let (frames, bytes, parts) = self.advance_written(&mut state, bytes, clock::now());
        drop(state);
        if !parts.is_empty() {
            drop(parts);
            self.room_made();
        }
        (frames, bytes)
    }

    /// Like [`on_written`](SendQueue::on_written), under the lock. Also returns the segments that
    /// need not be kept. The caller must drop them after the lock; if there are any, space was
    /// freed.
    pub(crate) fn advance_written(
        &self,
        state: &mut SendState,
        bytes: usize,
        now: Instant,
    ) -> (usize, usize, Vec<Segment>) {
        let (frames, bytes) = state.buffer.advance(bytes);
        (state.last_write, state.is_reply) = (Some(now), false);
        if !state.is_extended {
            return (frames, bytes, self.pop_acked(state, frames));
        }
        state.sent.add(frames, now);
        state.unacked_bytes += bytes + frames * (OVERHEAD - LENGTH_PREFIX);
        if !state.ack_requested && self.should_request_ack(state) {
            (state.ack_requested, state.control.probe) = (true, Some(()));
        }
        (frames, bytes, Vec::new())
    }

    /// Whether half of the queue is unacknowledged, though that is too little for the remote to
    /// acknowledge by size: the queue would stall until the delayed acknowledgement.
    fn should_request_ack(&self, state: &SendState) -> bool {
        let frames = state.buffer.written();
        let is_half = state.unacked_bytes >= self.max_bytes / 2 || frames >= self.max_frames / 2;
        is_half && state.unacked_bytes < ACK_BYTES
    }

    /// Number of queued frames, and their cost in bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.lock().buffer.size()
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
                register_waker(&mut state.writer, cx);
                Poll::Pending
            }
        }
    }

    /// Ends the queue and drains it. No frame is accepted afterwards.
    pub(crate) fn end(&self) -> Vec<Frame> {
        let mut state = self.lock();
        state.ended = true;
        let parts = self.pop_acked(&mut state, usize::MAX);
        drop(state);
        // The queue may not have been closed: a task that is dropped ends its peer directly.
        self.room_made();
        into_frames(parts)
    }

    /// Evicts the oldest frames until `bytes` bytes of the budget were released, or none is left.
    ///
    /// A frame that is also queued for other peers releases no more than its slot. Frames that are
    /// being written stay, and so do unacknowledged ones, since the remote counts them.
    pub(crate) fn shed(&self, bytes: usize) -> Vec<Frame> {
        let mut state = self.lock();
        // Frames that await retransmission are counted by the remote, too.
        let counted = state.buffer.written() + state.sent.retransmit_count();
        let parts = state.buffer.shed(counted, bytes);
        self.release(&parts);
        drop(state);
        if !parts.is_empty() {
            self.room_made();
        }
        into_frames(parts)
    }

    /// Whether the lock is free.
    #[cfg(test)]
    pub(crate) fn try_lock(&self) -> bool {
        self.state.try_lock().is_ok()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SendState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        let mut state = self.lock();
        let parts = self.pop_acked(&mut state, usize::MAX);
        drop(state);
        drop(parts);
        self.budget.wake_waiters();
    }
}

/// Releases the lock and wakes up the writer.
pub(crate) fn wake_writer(mut state: MutexGuard<'_, SendState>) {
    let writer = state.writer.take();
    drop(state);
    if let Some(writer) = writer {
        writer.wake();
    }
}

fn into_frames(parts: Vec<Segment>) -> Vec<Frame> {
    let mut frames = Vec::new();
    for part in parts {
        part.into_frames(&mut frames);
    }
    frames
}

/// Stores the waker of the current task.
pub(crate) fn register_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::send::batch_source::{BatchSource, Staged};
    use crate::proto::{Id, LENGTH_PREFIX};
    use crate::testing::kit::pipe::Pipe;

    fn frame(number: u8) -> Frame {
        Frame::builder(8, Id::from_bytes([number; 32])).payload(vec![number; 59]).build().unwrap()
    }

    fn link() -> Arc<Link> {
        Link::new(Pipe::pair().0, None, Vec::new(), None)
    }

    fn poll_fill(outbox: &mut BatchSource<'_>) -> Poll<Staged> {
        outbox.poll_stage(&mut Context::from_waker(Waker::noop()))
    }

    fn senders(frames: Vec<Frame>) -> Vec<u8> {
        frames.iter().map(|frame| frame.sender().as_bytes()[0]).collect()
    }

    /// A frame of 100 bytes costs 228.
    fn queue(budget: usize, bytes: usize, frames: usize) -> (Arc<MemoryBudget>, SendQueue) {
        let budget = MemoryBudget::new(budget);
        (budget.clone(), SendQueue::new(budget, bytes, frames))
    }

    fn push(queue: &SendQueue, number: u8) -> Result<(), SendErrorKind> {
        queue
            .push(frame(number), None, Admission::Bounded)
            .map(drop)
            .map_err(|(refusal, _)| refusal)
    }

    #[test]
    fn every_bound_refuses_and_gives_back() {
        let (_, narrow) = queue(usize::MAX, 227, 9);
        assert_eq!(push(&narrow, 1), Err(SendErrorKind::TooLarge));
        let (_, bytes) = queue(usize::MAX, 2 * 228, 9);
        let (_, frames) = queue(usize::MAX, usize::MAX, 2);
        let (budget, shared) = queue(2 * 228, usize::MAX, 9);
        for (queue, refusal) in [
            (&bytes, SendErrorKind::Full),
            (&frames, SendErrorKind::Full),
            (&shared, SendErrorKind::EndpointFull),
        ] {
            assert_eq!(push(queue, 1), Ok(()));
            assert_eq!(push(queue, 2), Ok(()));
            assert_eq!(
                queue.push(frame(3), None, Admission::Bounded).unwrap_err(),
                (refusal, frame(3))
            );
            let refused = queue.push(frame(3), None, Admission::WhileUp).unwrap_err();
            assert_eq!(refused, (SendErrorKind::LinkDown, frame(3)));
        }
        drop(shared);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn frames_not_written_go_back_to_the_front() {
        let (budget, queue) = queue(usize::MAX, usize::MAX, 9);
        (1..=3).for_each(|number| push(&queue, number).unwrap());
        let link = link();
        let mut outbox = BatchSource::new(&queue, &link);
        assert_eq!(poll_fill(&mut outbox), Poll::Ready(Staged::Batch));
        assert_eq!(queue.on_written(LENGTH_PREFIX + 100 + 50), (1, LENGTH_PREFIX + 100));
        push(&queue, 4).unwrap();
        drop(outbox);
        assert_eq!(queue.size(), (3, 3 * 228));
        assert_eq!(senders(queue.end()), [2, 3, 4]);
        assert_eq!((queue.size(), budget.used()), ((0, 0), 0));
        assert_eq!(push(&queue, 5), Err(SendErrorKind::UnknownTarget));
    }

    #[test]
    fn a_flood_is_charged_once_and_its_place_in_each_queue() {
        let budget = MemoryBudget::new(228 + 2 * SLOT_COST);
        let queues = [0; 4].map(|_| SendQueue::new(budget.clone(), usize::MAX, 9));
        let charge = SharedReservation::new(&budget, &frame(1)).unwrap();
        let taken = queues.each_ref().map(|queue| {
            let pushed = queue.push(frame(1), Some(charge.clone()), Admission::Bounded);
            pushed.map(drop).map_err(|(refusal, _)| refusal)
        });
        assert_eq!(taken, [Ok(()), Ok(()), Ok(()), Err(SendErrorKind::EndpointFull)]);
        drop(charge);
        assert!(SharedReservation::new(&budget, &frame(2)).is_none());
        drop(queues);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn closing_drains_or_stops() {
        let (_, queue) = queue(usize::MAX, usize::MAX, 9);
        push(&queue, 1).unwrap();
        queue.close(Closing::Drain);
        assert_eq!(push(&queue, 2), Err(SendErrorKind::UnknownTarget));
        let link = link();
        let mut outbox = BatchSource::new(&queue, &link);
        assert_eq!(poll_fill(&mut outbox), Poll::Ready(Staged::Batch));
        queue.close(Closing::Now);
        queue.close(Closing::Drain);
        assert_eq!(poll_fill(&mut outbox), Poll::Ready(Staged::Closing), "one still waits");
    }

    #[test]
    fn a_queue_that_is_half_full_of_what_was_written_asks_once_for_an_acknowledgement() {
        let (_, queue) = queue(usize::MAX, 4 * 228, 99);
        queue.link_up(true);
        let link = link();
        let mut outbox = BatchSource::new(&queue, &link);
        (1..=3).for_each(|number| push(&queue, number).unwrap());
        let asks = |queue: &SendQueue| queue.lock().control.probe.take().is_some();
        assert_eq!(poll_fill(&mut outbox), Poll::Ready(Staged::Batch));
        for expected in [false, true, false] {
            queue.on_written(LENGTH_PREFIX + 100);
            assert_eq!(asks(&queue), expected);
        }
        queue.acknowledge(2, Some(Duration::ZERO)).unwrap();
        push(&queue, 4).unwrap();
        assert_eq!(poll_fill(&mut outbox), Poll::Ready(Staged::Batch));
        queue.on_written(LENGTH_PREFIX + 100);
        assert!(asks(&queue));
    }

    #[test]
    fn a_new_session_sends_again_or_returns_what_may_have_arrived() {
        let cases = [
            (OnNewSession::ReturnUnacknowledged, &[1, 2][..], &[3][..]),
            (OnNewSession::SendAgain, &[], &[1, 2, 3]),
            (OnNewSession::ReturnAll, &[1, 2, 3], &[]),
        ];
        for (frames, returned, kept) in cases {
            let (_, queue) = queue(usize::MAX, usize::MAX, 9);
            queue.link_up(true);
            (1..=3).for_each(|number| push(&queue, number).unwrap());
            let link = link();
            let mut outbox = BatchSource::new(&queue, &link);
            assert_eq!(poll_fill(&mut outbox), Poll::Ready(Staged::Batch));
            assert_eq!(queue.on_written(2 * (LENGTH_PREFIX + 100)).0, 2);
            drop(outbox);
            queue.link_down();
            assert_eq!(senders(queue.reset_session(frames)), returned);
            assert!(queue.lock().buffer.written() == 0 && queue.size().0 == kept.len());
            assert_eq!(senders(queue.end()), kept);
        }
    }

    #[test]
    fn shedding_frees_what_is_asked_for() {
        let (_, queue) = queue(usize::MAX, usize::MAX, 9);
        (1..=4).for_each(|number| push(&queue, number).unwrap());
        assert_eq!(senders(queue.shed(229)), [1, 2]);
        assert_eq!(queue.size().0, 2);
    }

    #[test]
    fn shedding_goes_on_until_the_budget_has_got_it_back() {
        let budget = MemoryBudget::new(usize::MAX);
        let [one, other] = [0, 1].map(|_| SendQueue::new(budget.clone(), usize::MAX, 9));
        let charge = SharedReservation::new(&budget, &frame(1)).unwrap();
        for queue in [&one, &other] {
            queue.push(frame(1), Some(charge.clone()), Admission::Bounded).unwrap();
        }
        drop(charge);
        push(&one, 2).unwrap();
        assert_eq!((senders(one.shed(SLOT_COST + 1)), budget.used()), (vec![1, 2], 228));
        assert_eq!((senders(other.shed(1)), budget.used()), (vec![1], 0));
    }

    #[test]
    fn what_waits_does_not_go_to_a_queue_that_ended() {
        let budget = MemoryBudget::new(usize::MAX);
        let [one, other] = [0, 1].map(|_| SendQueue::new(budget.clone(), usize::MAX, 9));
        push(&one, 1).unwrap();
        other.end();
        assert!(!one.transfer_to(&other));
        push(&one, 2).unwrap();
        assert_eq!(senders(one.end()), [1, 2]);
    }

    /// User-owned bytes that lock the queue when they are dropped.
    struct Nosy(Arc<SendQueue>, Vec<u8>);

    impl AsRef<[u8]> for Nosy {
        fn as_ref(&self) -> &[u8] {
            &self.1
        }
    }

    impl Drop for Nosy {
        fn drop(&mut self) {
            assert!(self.0.state.try_lock().is_ok(), "dropped under the lock");
        }
    }

    #[test]
    fn frames_are_dropped_outside_of_the_lock() {
        let (_, queue) = queue(usize::MAX, usize::MAX, 9);
        let queue = Arc::new(queue);
        for shares_records in [false, true] {
            queue.link_up(shares_records);
            let link = link();
            let mut outbox = BatchSource::new(&queue, &link);
            for payload in [9, 9000] {
                let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![1; payload]);
                let bytes = Nosy(queue.clone(), frame.build().unwrap().as_bytes().to_vec());
                let nosy = Frame::parse(bytes::Bytes::from_owner(bytes)).unwrap();
                queue.push(nosy, None, Admission::Bounded).unwrap();
                assert_eq!(poll_fill(&mut outbox), Poll::Ready(Staged::Batch));
                assert_eq!(queue.on_written(LENGTH_PREFIX + 41 + payload).0, 1);
            }
            queue.push(frame(1), None, Admission::Bounded).unwrap();
            assert_eq!(poll_fill(&mut outbox), Poll::Ready(Staged::Batch));
            queue.on_written(LENGTH_PREFIX + 100);
        }
        assert_eq!(queue.size().0, 3);
        queue.acknowledge(3, None).unwrap();
        assert_eq!(queue.size(), (0, 0));
    }
}
