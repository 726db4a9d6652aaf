//! The direct-write fast path: a single frame is written by the task that sends it.
//!
//! Waking the writer task costs more than the write itself, so the sender performs the write while
//! the writer is parked. Of many frames in a row only the first goes this way; the others are left
//! to the writer, which batches them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::SendErrorKind;
use crate::peer::send::batch_source::stage_batch;
use crate::peer::send::memory_budget::SharedReservation;
use crate::peer::send::queue::{Admission, SendQueue, SendState, wake_writer};
use crate::peer::send::send_buffer::Segment;
use crate::peer::send::write_batch::WriteBatch;
use crate::primitives::clock;
use crate::proto::Frame;

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
    _plan: WriteBatch,
}

/// The result of enqueuing a frame. Must be dropped after all locks: dropping bytes that a user
/// owns may run code of the user.
#[derive(Debug)]
pub(crate) struct Enqueued {
    /// Whether the link is up.
    pub(crate) is_up: bool,
    /// The direct write, if there was one. Boxed, since for most frames there is none.
    pub(crate) direct: Option<Box<DirectWrite>>,
    /// The original frame, if the queue made a copy.
    _copied: Option<Frame>,
}

impl SendQueue {
    /// Enqueues a frame and, if it is likely to be a single one, writes it directly. Returns the
    /// frame with the reason if it is refused.
    ///
    /// `flood` is the reservation for the payload of a frame that is queued for several peers.
    pub(crate) fn push(
        &self,
        frame: Frame,
        flood: Option<Arc<SharedReservation>>,
        admission: Admission,
    ) -> Result<Enqueued, (SendErrorKind, Frame)> {
        let (mut state, copied) = self.append(frame, flood, admission)?;
        let is_up = state.up;
        let direct =
            state.parked_link.is_some().then(|| self.try_write_direct(&mut state)).flatten();
        // The write may have made it necessary to request an acknowledgement.
        let has_more = state.partial_batch.is_some() || !state.control.is_empty();
        match direct.is_some() && !has_more {
            true => drop(state),
            false => wake_writer(state),
        }
        if direct.as_ref().is_some_and(|direct| !direct.parts.is_empty()) {
            self.room_made();
        }
        Ok(Enqueued { is_up, direct, _copied: copied })
    }

    /// Writes the unwritten frames directly, if the writer is parked and they are likely to be all
    /// for now. The caller must wake up the writer on `None`, or if more is left to write.
    #[cold]
    pub(crate) fn try_write_direct(&self, state: &mut SendState) -> Option<Box<DirectWrite>> {
        // On an extended link, the liveness monitor must learn that an acknowledgement is owed.
        let is_watched = state.monitor_armed || !state.is_extended;
        let link = state.parked_link.take_if(|_| is_watched)?;
        let now = clock::now();
        if !state.is_latency_sensitive(now) {
            return None;
        }
        let mut plan = WriteBatch::default();
        plan.reset(None);
        stage_batch(&mut &mut plan, state, &link, now);
        let Ok(bytes) = plan.write(&link) else {
            // The writer will run into the same error. The control extensions are only in this
            // batch.
            state.partial_batch = (plan.unwritten() > 0).then(|| Box::new(plan));
            return None;
        };
        let (frames, bytes, parts) = self.advance_written(state, bytes, now);
        match plan.unwritten() {
            0 => state.parked_link = Some(link),
            // The writer completes the batch.
            _ => state.partial_batch = Some(Box::new(std::mem::take(&mut plan))),
        }
        Some(Box::new(DirectWrite { frames, bytes, parts, _plan: plan }))
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
    use crate::peer::send::writer::run_writer;
    use crate::peer::{Admission, MemoryBudget, Origin, Peer};
    use crate::proto::{CONTROL, Id, LENGTH_PREFIX, PeerType, Records, peek_len};
    use crate::testing::kit::manual_clock::Clock;
    use crate::testing::kit::pipe::{Pipe, TestWaker};
    use crate::transport::Link;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake};

    /// Length of a frame on the wire, with its length prefix.
    const LEN: usize = LENGTH_PREFIX + Frame::MIN_LEN + 9;

    fn frame() -> Frame {
        Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![7; 9]).build().unwrap()
    }

    fn linked(shares_records: bool) -> (Peer, Arc<Link>, Arc<Pipe>) {
        linked_with(SendQueue::new(MemoryBudget::new(usize::MAX), usize::MAX, 99), shares_records)
    }

    fn linked_with(queue: SendQueue, shares_records: bool) -> (Peer, Arc<Link>, Arc<Pipe>) {
        let peer = Peer::linked(7, PeerType::Standard, Origin::Accepted, queue);
        let (line, other) = Pipe::pair();
        line.outgoing().room = usize::MAX;
        let id = Id::from_bytes([1; 32]);
        let link = Link::new(line, None, Vec::new(), shares_records.then_some(id));
        peer.link_up(id, &link);
        (peer, link, other)
    }

    fn written(other: &Pipe) -> usize {
        other.incoming().bytes.len() / LEN
    }

    #[test]
    fn a_lone_frame_is_written_by_who_sends_it_and_the_next_ones_by_the_writer() {
        let clock = Clock::install();
        let (peer, link, other) = linked(false);
        let mut writing = pin!(run_writer(&peer, &link));
        let wakes = TestWaker::new();
        let send = || peer.push(frame(), None, Admission::Bounded).unwrap();
        send();
        assert_eq!(written(&other), 0, "the writer has not begun");
        assert!(wakes.poll(writing.as_mut()).is_none());
        assert_eq!(written(&other), 1);
        send();
        assert_eq!(written(&other), 1, "it comes right after another one");
        assert!(wakes.poll(writing.as_mut()).is_none());
        clock.advance(IDLE_BEFORE_DIRECT);
        send();
        assert_eq!((written(&other), peer.queue.size().0), (3, 0));
        peer.count_received(1, LEN);
        send();
        assert_eq!(written(&other), 4, "it is an answer");
        assert_eq!(peer.info().frames_sent, 4);
    }

    #[test]
    fn the_writer_goes_on_where_a_short_write_stopped() {
        let _clock = Clock::install();
        let (peer, link, other) = linked(false);
        let mut writing = pin!(run_writer(&peer, &link));
        let wakes = TestWaker::new();
        assert!(wakes.poll(writing.as_mut()).is_none());
        other.incoming().room = LEN - 1;
        peer.push(frame(), None, Admission::Bounded).unwrap();
        assert_eq!(other.incoming().bytes.len(), LEN - 1);
        peer.push(frame(), None, Admission::Bounded).unwrap();
        assert!(wakes.poll(writing.as_mut()).is_none());
        other.incoming().room = usize::MAX;
        assert!(wakes.poll(writing.as_mut()).is_none());
        let bytes: Vec<u8> = other.incoming().bytes.iter().copied().collect();
        let message =
            [&crate::proto::encode_length(LEN - LENGTH_PREFIX)[..], frame().as_bytes()].concat();
        assert_eq!(bytes, message.repeat(2));
    }

    #[test]
    fn a_full_socket_is_left_to_the_writer() {
        let _clock = Clock::install();
        let (peer, link, other) = linked(false);
        let mut writing = pin!(run_writer(&peer, &link));
        let wakes = TestWaker::new();
        assert!(wakes.poll(writing.as_mut()).is_none());
        other.incoming().room = 0;
        peer.push(frame(), None, Admission::Bounded).unwrap();
        assert_eq!(peer.queue.size().0, 1);
        other.incoming().room = usize::MAX;
        assert!(wakes.poll(writing.as_mut()).is_none());
        assert_eq!((written(&other), peer.queue.size().0), (1, 0));
    }

    #[test]
    fn what_the_other_side_is_to_acknowledge_goes_this_way_only_while_that_is_watched() {
        let clock = Clock::install();
        let (peer, link, other) = linked(true);
        let mut writing = pin!(run_writer(&peer, &link));
        let wakes = TestWaker::new();
        assert!(wakes.poll(writing.as_mut()).is_none());
        peer.push(frame(), None, Admission::Bounded).unwrap();
        assert_eq!(written(&other), 0);
        assert!(wakes.poll(writing.as_mut()).is_none());
        assert!(peer.queue.arm_monitor().is_needed());
        clock.advance(IDLE_BEFORE_DIRECT);
        peer.push(frame(), None, Admission::Bounded).unwrap();
        assert_eq!((written(&other), peer.queue.size().0), (2, 2));
        peer.queue.acknowledge(2, None).unwrap();
        assert!(!peer.queue.arm_monitor().is_needed());
        clock.advance(IDLE_BEFORE_DIRECT);
        peer.push(frame(), None, Admission::Bounded).unwrap();
        assert_eq!(written(&other), 2);
    }

    /// The extensions that were sent.
    fn records(other: &Pipe) -> Vec<Records> {
        let bytes: Vec<u8> = other.incoming().bytes.iter().copied().collect();
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while let Some(len) = peek_len(rest).unwrap() {
            let frame = Frame::parse(rest[LENGTH_PREFIX..len].to_vec()).unwrap();
            if frame.modes() == CONTROL {
                found.push(Records::decode(frame.payload()).unwrap());
            }
            rest = &rest[len..];
        }
        found
    }

    /// Regression: they were taken from the queue for a write that failed, and were lost.
    #[test]
    fn records_survive_a_full_socket() {
        let clock = Clock::install();
        let (peer, link, other) = linked(true);
        let mut writing = pin!(run_writer(&peer, &link));
        let wakes = TestWaker::new();
        assert!(wakes.poll(writing.as_mut()).is_none());
        peer.push(frame(), None, Admission::Bounded).unwrap();
        assert!(wakes.poll(writing.as_mut()).is_none() && peer.queue.arm_monitor().is_needed());
        other.incoming().room = 0;
        peer.count_received(1, LEN);
        clock.advance(Duration::from_millis(50));
        peer.queue.queue_ping();
        peer.push(frame(), None, Admission::Bounded).unwrap();
        other.incoming().room = usize::MAX;
        assert!(wakes.poll(writing.as_mut()).is_none());
        let records = records(&other);
        assert!(records.iter().any(|records| records.probe.is_some()), "{records:?}");
        assert!(records.iter().any(|records| records.received == Some(1)), "{records:?}");
    }

    /// Regression: the queue stalled until the delayed acknowledgement, since nothing woke the
    /// writer to request one.
    #[test]
    fn an_acknowledgement_that_a_lone_frame_makes_due_is_asked_for() {
        let clock = Clock::install();
        let queue = SendQueue::new(MemoryBudget::new(usize::MAX), usize::MAX, 2);
        let (peer, link, other) = linked_with(queue, true);
        let mut writing = pin!(run_writer(&peer, &link));
        let wakes = TestWaker::new();
        assert!(wakes.poll(writing.as_mut()).is_none());
        for number in 1..=2 {
            peer.push(frame(), None, Admission::Bounded).unwrap();
            assert!(number == 1 || written(&other) > 0, "it waits for the writer");
            assert!(wakes.was_woken(), "nobody was woken after frame {number}");
            assert!(wakes.poll(writing.as_mut()).is_none() && peer.queue.arm_monitor().is_needed());
            let asked = records(&other).iter().filter(|records| records.probe.is_some()).count();
            assert_eq!(asked, number);
            peer.queue.acknowledge(number as u64, None).unwrap();
            clock.advance(IDLE_BEFORE_DIRECT);
        }
    }

    /// Regression: each cut of a link that only sends doubled the back-off, until sends timed out.
    #[test]
    fn a_link_that_had_much_acknowledged_was_a_good_one() {
        let _clock = Clock::install();
        let (peer, link, _other) = linked(true);
        let mut writing = pin!(run_writer(&peer, &link));
        let wakes = TestWaker::new();
        let large = Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![7; 40_000]);
        let large = large.build().unwrap();
        let stood = Duration::from_secs(10);
        for number in 1..=2 {
            peer.push(large.clone(), None, Admission::Bounded).unwrap();
            assert!(wakes.poll(writing.as_mut()).is_none());
            assert!(wakes.poll(writing.as_mut()).is_none());
            peer.queue.acknowledge(number, None).unwrap();
            assert_eq!(peer.should_reset_backoff(stood), number == 2);
        }
        peer.link_down(&crate::error::DownReason::Closed, None);
        peer.link_up(Id::from_bytes([1; 32]), &link);
        assert!(!peer.should_reset_backoff(stood), "nothing went over this one");
    }

    /// Tries to lock the queue when it is woken.
    struct Nosy(Arc<Peer>, AtomicBool);

    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {
            let is_free = self.0.queue.try_lock();
            self.1.fetch_or(!is_free, Ordering::Relaxed);
        }
    }

    #[test]
    fn nobody_is_woken_under_the_lock() {
        let _clock = Clock::install();
        for room in [LEN - 1, usize::MAX] {
            let (peer, link, other) = linked(false);
            let peer = Arc::new(peer);
            let nosy = Arc::new(Nosy(peer.clone(), false.into()));
            let waker = nosy.clone().into();
            let mut cx = Context::from_waker(&waker);
            let mut writing = pin!(run_writer(&peer, &link));
            assert!(writing.as_mut().poll(&mut cx).is_pending());
            let mut waiting = pin!(peer.queue.listen());
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
            other.incoming().room = room;
            peer.push(frame(), None, Admission::Bounded).unwrap();
            assert!(waiting.as_mut().poll(&mut cx).is_ready() == (room > LEN));
            assert!(!nosy.1.load(Ordering::Relaxed));
        }
    }
}
