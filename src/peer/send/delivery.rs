//! The delivery of frames: from the write, over links that come and go, to the acknowledgement.

use std::time::{Duration, Instant};

use crate::peer::PeerClass;
use crate::peer::recv::batch::FRAME_OVERHEAD;
use crate::peer::recv::inbox::Held;
use crate::peer::recv::receive_pool::WindowSize;
use crate::peer::recv::receive_window::CreditExceeded;
use crate::peer::send::ack_progress::AckProgress;
use crate::peer::send::memory_budget::OVERHEAD;
use crate::peer::send::queue::SendQueue;
use crate::peer::send::segment::{Segment, into_frames};
use crate::peer::send::state::{SendState, wake_writer};
use crate::primitives::clock;
use crate::proto::{AckScheduler, Frame, InvalidAck, SendCounter};

/// The credit at the start of a session, in both directions. Zero for a plain node.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct InitialCredit {
    /// What the remote was given.
    pub(crate) granted: u64,
    /// What the remote gave.
    pub(crate) received: u64,
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

impl SendQueue {
    /// Records that a link is up, and whether it supports the extension.
    pub(crate) fn link_up(&self, is_extended: bool) {
        self.lock().link_up(is_extended);
    }

    /// Records that the link ended. From now on the forwarded frames take memory of the budget, as
    /// far as there is some, and nothing of the windows of the peers that they came from: these must
    /// not wait for a peer that may not come back.
    pub(crate) fn link_down(&self) {
        let mut state = self.lock();
        state.up = false;
        let is_stranger = state.is_stranger;
        let permits = state.take_permits(|cost| self.try_reserve(cost, is_stranger));
        drop(state);
        drop(permits);
    }

    /// Records that `bytes` more bytes of frames were written. Returns the number of frames that
    /// this completed, and their bytes. On an extended link they are kept until they are
    /// acknowledged.
    pub(crate) fn on_written(&self, bytes: usize) -> (usize, usize) {
        let mut state = self.lock();
        let (frames, bytes, segments) = self.advance_written(&mut state, bytes, clock::now());
        drop(state);
        if !segments.is_empty() {
            drop(segments);
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
        let (frames, bytes) = state.record_written(bytes, now);
        if !state.is_extended {
            return (frames, bytes, self.pop_acked(state, frames));
        }
        state.request_ack_if_half_full(self.max_bytes, self.max_frames);
        (frames, bytes, Vec::new())
    }

    /// Handles an acknowledgement of `count` frames in total. `ack_delay` is the time by which
    /// the remote delayed it, or `None` if it is the reply to a ping.
    pub(crate) fn acknowledge(
        &self,
        count: u64,
        ack_delay: Option<Duration>,
    ) -> Result<(), InvalidAck> {
        let mut state = self.lock();
        let more = state.sent.acknowledge(count, ack_delay, clock::now())?;
        let arrived = self.pop_acked(&mut state, more);
        state.record_acked(arrived.iter().map(Segment::cost).sum());
        drop(state);
        drop(arrived);
        self.room_made();
        Ok(())
    }

    /// Resumes the session on a new link whose remote has received `count` frames, and gives this
    /// credit. The other frames are to be retransmitted, ahead of frames that were never sent.
    pub(crate) fn resume(&self, count: u64, credit: u64) -> Result<(), InvalidAck> {
        let mut state = self.lock();
        let more = state.sent.resume(count)?;
        state.add_credit(credit);
        // Acknowledged frames are at the front. Some of them may count as unwritten here, if an
        // earlier resume was aborted after it had rewound the queue.
        let arrived = self.pop_acked(&mut state, more);
        state.rewind();
        drop(state);
        if !arrived.is_empty() {
            drop(arrived);
            self.room_made();
        }
        Ok(())
    }

    /// Raises the credit of the local node.
    pub(crate) fn add_credit(&self, credit: u64) {
        let mut state = self.lock();
        if state.add_credit(credit) {
            wake_writer(state);
        }
    }

    /// The credit that the remote was given.
    pub(crate) fn granted_credit(&self) -> u64 {
        self.lock().window.credit()
    }

    /// Starts a new session, with this receive window and credit. Returns the frames that must not
    /// be sent over it.
    pub(crate) fn reset_session(
        &self,
        frames: OnNewSession,
        window: WindowSize,
        credit: InitialCredit,
    ) -> Vec<Frame> {
        let mut state = self.lock();
        let returned = match frames {
            OnNewSession::ReturnUnacknowledged => state.possibly_received(),
            OnNewSession::SendAgain => 0,
            OnNewSession::ReturnAll => usize::MAX,
        };
        (state.sent, state.acks) = (SendCounter::default(), AckScheduler::default());
        let mut segments = self.pop_acked(&mut state, returned);
        if frames == OnNewSession::ReturnAll {
            segments.extend(self.pop_waiting(&mut state));
        }
        state.rewind();
        state.empty_buffer();
        state.reset_credit(credit.received);
        state.window.start_session(window, credit.granted);
        drop(state);
        if !segments.is_empty() {
            self.room_made();
        }
        into_frames(segments)
    }

    /// Cost of the frames that were acknowledged on the present or last link.
    pub(crate) fn acknowledged_bytes(&self) -> usize {
        self.lock().acknowledged_here
    }

    /// The progress of acknowledgements on the present link, from now on.
    pub(crate) fn ack_progress(&self) -> AckProgress {
        let state = self.lock();
        AckProgress::new(state.ack_sample(), state.ack_rate)
    }

    /// Samples the progress of acknowledgements after one more second.
    pub(crate) fn sample_progress(&self, progress: &mut AckProgress) {
        let mut state = self.lock();
        progress.sample(state.ack_sample());
        (state.ack_rate, state.hold_time) = (progress.rate(), progress.hold_time());
    }

    /// For how many seconds the remote has held, or will hold, unacknowledged frames.
    pub(crate) fn hold_time(&self) -> usize {
        self.lock().hold_time
    }

    /// The smoothed round-trip time, measured by acknowledgements.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.lock().sent.round_trip()
    }

    /// Records that frames were delivered to the router, to be acknowledged later. Returns how
    /// little may be held in the inbox for the credit to be raised.
    pub(crate) fn received(&self, frames: usize, bytes: usize) -> Result<usize, CreditExceeded> {
        let mut state = self.lock();
        state.is_reply = true;
        if !state.is_extended {
            return Ok(0);
        }
        state.acks.add(frames, bytes + frames * OVERHEAD, clock::now());
        state.window.add(bytes + frames * FRAME_OVERHEAD)?;
        Ok(state.window.raise_below())
    }

    /// Raises the credit of the remote, while this is held of what it sent, and announces it.
    /// Returns how little may be held for the next time.
    pub(crate) fn raise_credit(&self, held: Held, class: PeerClass) -> usize {
        let mut state = self.lock();
        let credit = state.window.raise(held, class);
        state.control.get_or_allocate().credit = Some(credit);
        let raise_below = state.window.raise_below();
        wake_writer(state);
        raise_below
    }

    /// How little may be held in the inbox for the credit to be raised.
    pub(crate) fn raise_below(&self) -> usize {
        let state = self.lock();
        if state.is_extended { state.window.raise_below() } else { 0 }
    }

    /// The size of the receive window.
    pub(crate) fn window(&self) -> usize {
        self.lock().window.size()
    }

    /// Records that the reader resumes after a pause. The window of a plain node grows.
    pub(crate) fn resume_reading(&self, class: PeerClass) {
        let mut state = self.lock();
        state.is_backpressured = false;
        if !state.is_extended {
            state.window.grow(class);
        }
    }

    /// Number of frames delivered to the router over all links of the session.
    pub(crate) fn received_total(&self) -> u64 {
        self.lock().acks.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::send::batch_source::{BatchSource, Staged};
    use crate::peer::send::test_support::{numbers, plain_link as link, poll_stage, push, queue};
    use crate::proto::LENGTH_PREFIX;
    use std::task::Poll;

    const CREDIT: InitialCredit = InitialCredit { granted: 0, received: u64::MAX };

    #[test]
    fn a_queue_half_full_of_written_frames_requests_one_acknowledgement() {
        let (_, queue) = queue(usize::MAX, 4 * 228, 99);
        queue.link_up(true);
        let link = link();
        let mut source = BatchSource::new(&queue, &link);
        (1..=3).for_each(|number| push(&queue, number).unwrap());
        let requests_ack = |queue: &SendQueue| {
            let mut state = queue.lock();
            state.control.get_mut().is_some_and(|control| control.ping.take().is_some())
        };
        assert_eq!(poll_stage(&mut source), Poll::Ready(Staged::Batch));
        for expected in [false, true, false] {
            queue.on_written(LENGTH_PREFIX + 100);
            assert_eq!(requests_ack(&queue), expected);
        }
        queue.acknowledge(2, Some(Duration::ZERO)).unwrap();
        push(&queue, 4).unwrap();
        assert_eq!(poll_stage(&mut source), Poll::Ready(Staged::Batch));
        queue.on_written(LENGTH_PREFIX + 100);
        assert!(requests_ack(&queue));
    }

    #[test]
    fn a_new_session_retransmits_or_returns_frames_that_may_have_arrived() {
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
            let mut source = BatchSource::new(&queue, &link);
            assert_eq!(poll_stage(&mut source), Poll::Ready(Staged::Batch));
            assert_eq!(queue.on_written(2 * (LENGTH_PREFIX + 100)).0, 2);
            drop(source);
            queue.link_down();
            assert_eq!(
                numbers(queue.reset_session(frames, WindowSize::default(), CREDIT)),
                returned
            );
            assert!(queue.lock().buffer.written() == 0 && queue.size().0 == kept.len());
            assert_eq!(numbers(queue.end()), kept);
        }
    }
}
