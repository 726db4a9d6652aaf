//! The direct-write fast path: a single frame is written by the task that sends it.
//!
//! Waking the writer task costs more than the write itself, so the sender performs the write while
//! the writer is parked. Of many frames in a row only the first goes this way; the others are left
//! to the writer, which batches them.

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use crate::peer::send::batch_source::stage_batch;
use crate::peer::send::queue::SendQueue;
use crate::peer::send::segment::Segment;
use crate::peer::send::state::{SendState, wake_writer};
use crate::peer::send::write_batch::WriteBatch;
use crate::peer::send::writer::write_batch;
use crate::primitives::clock;

/// Time without a write after which a frame is considered latency-sensitive. Within a burst, writes
/// follow each other faster. A frame that follows a received one is considered a reply in any case.
const IDLE_BEFORE_DIRECT: Duration = Duration::from_micros(200);

/// The result of a direct write. Must be dropped after the lock of the queue: dropping bytes that a
/// user owns may run code of the user.
#[derive(Debug)]
pub(crate) struct DirectWrite {
    /// Number of frames that were completely written.
    pub(crate) frames: usize,
    /// Bytes of those frames, with their length prefixes.
    pub(crate) bytes: usize,
    /// Segments that need not be kept.
    pub(crate) parts: Vec<Segment>,
    _batch: WriteBatch,
}

impl SendQueue {
    /// Writes a frame that was just appended, if it is likely to be a single one, or else wakes up
    /// the writer.
    #[inline]
    pub(crate) fn write_or_wake(
        &self,
        mut state: MutexGuard<'_, SendState>,
    ) -> Option<Box<DirectWrite>> {
        let is_parked = state.parked_link.is_some() && state.buffer.has_unwritten();
        let direct = is_parked.then(|| self.try_write_direct(&mut state)).flatten();
        let is_left = is_parked && (direct.is_none() || state.partial_batch.is_some());
        // The frame, or its write, may have made it necessary to request an acknowledgement, also
        // while the writer awaits credit.
        match is_left || !state.control.is_empty() {
            true => wake_writer(state),
            false => drop(state),
        }
        if direct.as_ref().is_some_and(|direct| !direct.parts.is_empty()) {
            self.room_made();
        }
        direct
    }

    /// Writes the unwritten frames directly, if the writer is parked and they are likely to be all
    /// for now. The caller must wake up the writer on `None`, or if more is left to write.
    #[cold]
    pub(crate) fn try_write_direct(&self, state: &mut SendState) -> Option<Box<DirectWrite>> {
        // On an extended link, the liveness monitor must learn that an acknowledgement is owed.
        let is_monitored = state.monitor_armed || !state.is_extended;
        let can_send = state.credit_left() > 0;
        let link = state.parked_link.take_if(|_| is_monitored && can_send)?;
        let now = clock::now();
        if !state.is_latency_sensitive(now) {
            return None;
        }
        let mut batch = WriteBatch::default();
        stage_batch(|| &mut batch, state, &link, now);
        let Ok(bytes) = write_batch(&mut batch, &link) else {
            // The writer will run into the same error. The control extensions are only in this
            // batch.
            state.partial_batch = (batch.unwritten() > 0).then(|| Box::new(batch));
            return None;
        };
        let (frames, bytes, parts) = self.advance_written(state, bytes, now);
        match batch.unwritten() {
            0 => state.parked_link = Some(link),
            // The writer completes the batch.
            _ => state.partial_batch = Some(Box::new(std::mem::take(&mut batch))),
        }
        Some(Box::new(DirectWrite { frames, bytes, parts, _batch: batch }))
    }
}

impl SendState {
    fn is_latency_sensitive(&self, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        self.is_reply || self.last_write.is_none_or(|at| since(at) >= IDLE_BEFORE_DIRECT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DownReason;
    use crate::peer::send::test_support::{FRAME_LEN, ID, LinkedPeer, frame};
    use crate::peer::{Admission, MemoryBudget, Peer};
    use crate::proto::{Extension, Frame, LENGTH_PREFIX, encode_length};
    use crate::testing::kit::manual_clock::Clock;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake};

    /// A peer whose writer is parked.
    fn parked(is_extended: bool) -> LinkedPeer {
        let mut linked = LinkedPeer::new(is_extended);
        assert!(!linked.run_writer());
        linked
    }

    #[test]
    fn the_sender_writes_a_lone_frame_and_the_writer_those_that_follow() {
        let clock = Clock::install();
        let mut linked = LinkedPeer::new(false);
        linked.send();
        assert_eq!(linked.written_frames(), 0, "the writer is not parked yet");
        assert!(!linked.run_writer());
        assert_eq!(linked.written_frames(), 1);
        linked.send();
        assert_eq!(linked.written_frames(), 1, "it follows another frame");
        assert!(!linked.run_writer());
        clock.advance(IDLE_BEFORE_DIRECT);
        linked.send();
        assert_eq!((linked.written_frames(), linked.peer.queue.size().0), (3, 0));
        linked.peer.count_received(1, FRAME_LEN).unwrap();
        linked.send();
        assert_eq!(linked.written_frames(), 4, "it is a reply");
        assert_eq!(linked.peer.info().frames_sent, 4);
    }

    #[test]
    fn the_writer_completes_a_short_direct_write() {
        let _clock = Clock::install();
        let mut linked = parked(false);
        linked.limit_writes(FRAME_LEN - 1);
        linked.send();
        assert_eq!(linked.written(), FRAME_LEN - 1);
        linked.send();
        assert!(!linked.run_writer());
        linked.limit_writes(usize::MAX);
        assert!(!linked.run_writer());
        let bytes: Vec<u8> = linked.remote.incoming().bytes.iter().copied().collect();
        let length = encode_length(FRAME_LEN - LENGTH_PREFIX);
        assert_eq!(bytes, [&length[..], frame().as_bytes()].concat().repeat(2));
    }

    #[test]
    fn the_writer_waits_for_a_full_socket() {
        let _clock = Clock::install();
        let mut linked = parked(false);
        linked.limit_writes(0);
        linked.send();
        assert_eq!(linked.peer.queue.size().0, 1);
        linked.limit_writes(usize::MAX);
        assert!(!linked.run_writer());
        assert_eq!((linked.written_frames(), linked.peer.queue.size().0), (1, 0));
    }

    #[test]
    fn direct_writes_on_an_extended_link_require_an_armed_monitor() {
        let clock = Clock::install();
        let mut linked = parked(true);
        linked.send();
        assert_eq!(linked.written_frames(), 0);
        assert!(!linked.run_writer());
        assert!(linked.peer.queue.arm_monitor().is_needed());
        clock.advance(IDLE_BEFORE_DIRECT);
        linked.send();
        assert_eq!((linked.written_frames(), linked.peer.queue.size().0), (2, 2));
        linked.peer.queue.acknowledge(2, None).unwrap();
        assert!(!linked.peer.queue.arm_monitor().is_needed());
        clock.advance(IDLE_BEFORE_DIRECT);
        linked.send();
        assert_eq!(linked.written_frames(), 2);
    }

    #[test]
    fn frames_beyond_the_credit_do_not_wake_the_writer() {
        let _clock = Clock::install();
        let mut linked = parked(true);
        linked.peer.queue.lock().reset_credit(1);
        linked.send();
        assert!(linked.waker.was_woken() && !linked.run_writer());
        linked.send();
        assert!(!linked.waker.was_woken() && !linked.run_writer());
        assert_eq!(linked.written_frames(), 1);
        linked.peer.queue.add_credit(u64::MAX);
        assert!(linked.waker.was_woken() && !linked.run_writer());
        assert_eq!(linked.written_frames(), 2);
    }

    /// Regression: they were taken from the queue for a write that failed, and were lost.
    #[test]
    fn control_extensions_survive_a_full_socket() {
        let clock = Clock::install();
        let mut linked = parked(true);
        linked.send();
        assert!(!linked.run_writer() && linked.peer.queue.arm_monitor().is_needed());
        linked.limit_writes(0);
        linked.peer.count_received(1, FRAME_LEN).unwrap();
        clock.advance(Duration::from_millis(50));
        linked.peer.queue.queue_ping();
        linked.send();
        linked.limit_writes(usize::MAX);
        assert!(!linked.run_writer());
        let written = linked.written_extensions();
        assert!(written.iter().any(|one| one.ping.is_some()), "{written:?}");
        assert!(written.iter().any(|one| one.ack == Some(1)), "{written:?}");
    }

    /// Regression: the queue stalled until the delayed acknowledgement, since nothing woke the
    /// writer to request one.
    #[test]
    fn a_direct_write_that_half_fills_the_queue_requests_an_acknowledgement() {
        let clock = Clock::install();
        let queue = SendQueue::new(MemoryBudget::new(usize::MAX), usize::MAX, 2);
        let mut linked = LinkedPeer::with_queue(queue, true);
        assert!(!linked.run_writer());
        for number in 1..=2 {
            linked.send();
            assert!(number == 1 || linked.written() > 0, "left to the writer");
            assert!(linked.waker.was_woken(), "no wake-up after frame {number}");
            assert!(!linked.run_writer() && linked.peer.queue.arm_monitor().is_needed());
            let is_ping = |extension: &Extension| extension.ping.is_some();
            assert_eq!(linked.written_extensions().into_iter().filter(is_ping).count(), number);
            linked.peer.queue.acknowledge(number as u64, None).unwrap();
            clock.advance(IDLE_BEFORE_DIRECT);
        }
    }

    /// Regression: each cut of a link that only sends doubled the back-off, until sends timed out.
    #[test]
    fn acknowledged_bytes_reset_the_back_off() {
        let _clock = Clock::install();
        let mut linked = parked(true);
        let large = Frame::builder(8, ID).payload(vec![7; 40_000]).build().unwrap();
        let stood = Duration::from_secs(10);
        for number in 1..=2 {
            linked.peer.push(large.clone(), Admission::Bounded).unwrap();
            assert!(!linked.run_writer() && !linked.run_writer());
            linked.peer.queue.acknowledge(number, None).unwrap();
            assert_eq!(linked.peer.should_reset_backoff(stood), number == 2);
        }
        linked.peer.link_down(&DownReason::Closed, None);
        linked.peer.link_up(ID, &linked.link);
        assert!(!linked.peer.should_reset_backoff(stood), "nothing was sent over this link");
        linked.peer.count_received(1, (64 << 10) - 1).unwrap();
        assert!(!linked.peer.should_reset_backoff(stood));
        linked.peer.count_received(1, 1).unwrap();
        assert!(linked.peer.should_reset_backoff(stood), "many links only receive");
    }

    /// A waker that checks whether the queue is locked.
    struct CheckLock {
        peer: Arc<Peer>,
        was_locked: AtomicBool,
    }

    impl Wake for CheckLock {
        fn wake(self: Arc<Self>) {
            let is_locked = !self.peer.queue.is_unlocked();
            self.was_locked.fetch_or(is_locked, Ordering::Relaxed);
        }
    }

    #[test]
    fn no_task_is_woken_under_the_lock() {
        let _clock = Clock::install();
        for room in [FRAME_LEN - 1, usize::MAX] {
            let mut linked = LinkedPeer::new(false);
            let peer = linked.peer.clone();
            let check = Arc::new(CheckLock { peer: peer.clone(), was_locked: false.into() });
            let waker = check.clone().into();
            let mut cx = Context::from_waker(&waker);
            assert!(linked.poll_writer(&mut cx).is_pending());
            let mut waiting = pin!(peer.queue.listen());
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
            linked.limit_writes(room);
            linked.send();
            assert!(waiting.as_mut().poll(&mut cx).is_ready() == (room > FRAME_LEN));
            assert!(!check.was_locked.load(Ordering::Relaxed));
        }
    }
}
