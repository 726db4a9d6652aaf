//! The send buffer: the frames of a queue, oldest first. Frames that are written and unacknowledged
//! come before those that are unwritten.
//!
//! Small frames are coalesced in wire format, so that each costs little more than one copy, without
//! an allocation or a queue slot of its own. Large frames, and those that are shared by several
//! queues, are kept as they are.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::peer::send::memory_budget::{OVERHEAD, SLOT_COST, SharedReservation};
use crate::peer::send::write_batch::WriteBatch;
use crate::primitives::buffer_pool::{BufferPool, PooledBuf};
use crate::proto::{Frame, LENGTH_PREFIX, encode_length, peek_len};

/// Frames up to this size are coalesced; larger ones are written from their own allocation. An
/// additional slice costs the kernel about as much as copying a few hundred bytes.
const COALESCE_MAX: usize = 2048;

/// Maximum size of a coalesced segment, in bytes.
const SEGMENT_MAX: usize = 64 << 10;

/// Maximum capacity of the first segment after the writer has caught up. It doubles for each
/// segment that follows.
const SEGMENT_INITIAL: usize = 4 << 10;

/// Frames in order, and the write position of the link's writer.
#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    /// Frozen segments. Invariant: none is empty.
    segments: VecDeque<Segment>,
    /// The segment to which small frames are appended, behind `segments`.
    tail: PooledBuf,
    /// Invariant: zero if `tail` is empty.
    tail_frames: u32,
    /// Capacity of the next tail.
    next_capacity: usize,
    /// Number of frames in `segments` and `tail`.
    frames: usize,
    /// Their cost.
    bytes: usize,
    cursor: WriteCursor,
}

/// The write position. Everything before it is written.
#[derive(Debug, Clone, Copy, Default)]
struct WriteCursor {
    /// Frames before the position.
    written: usize,
    /// Those of them in the segment at the position.
    written_in_segment: usize,
    /// Index of the segment at the position.
    segment: usize,
    /// Offset of the next message in that segment.
    offset: usize,
    /// Bytes of that message that are written.
    partial_bytes: usize,
    /// Frames up to the end of the staged batch.
    staged: usize,
}

/// A sequence of frames.
#[derive(Debug)]
pub(crate) enum Segment {
    /// Small frames with their length prefixes. `room` is the size of the allocation behind them.
    Coalesced { messages: Bytes, frames: u32, room: u32 },
    /// A single frame. `flood` is the reservation for its bytes, if several queues share it.
    Frame { frame: Frame, flood: Option<Arc<SharedReservation>> },
}

impl Segment {
    pub(crate) fn frames(&self) -> usize {
        match self {
            Segment::Coalesced { frames, .. } => *frames as usize,
            Segment::Frame { .. } => 1,
        }
    }

    /// Length on the wire.
    fn len(&self) -> usize {
        match self {
            Segment::Coalesced { messages, .. } => messages.len(),
            Segment::Frame { frame, .. } => LENGTH_PREFIX + frame.len(),
        }
    }

    /// The cost against the memory budget and the queue limits.
    pub(crate) fn cost(&self) -> usize {
        self.len() + self.frames() * (OVERHEAD - LENGTH_PREFIX)
    }

    /// The part of the cost that the queue itself reserved.
    pub(crate) fn queue_cost(&self) -> usize {
        match self {
            Segment::Frame { flood: Some(_), .. } => SLOT_COST,
            own => own.cost(),
        }
    }

    /// Number of bytes that dropping it releases from the memory budget.
    fn freed_bytes(&self) -> usize {
        match self {
            Segment::Frame { flood: Some(charge), .. } if Arc::strong_count(charge) > 1 => {
                SLOT_COST
            }
            last => last.cost(),
        }
    }

    /// Reallocates the rest of a coalesced segment once it occupies less than a quarter of its
    /// allocation. Amortized, that copies at most a third of the bytes that were removed.
    fn shrink(&mut self) {
        if let Segment::Coalesced { messages, room, .. } = self {
            if messages.len() < *room as usize / 4 {
                *messages = Bytes::copy_from_slice(messages);
                *room = messages.len() as u32;
            }
        }
    }

    /// Appends the frames to `frames`, each in an allocation of its own.
    pub(crate) fn into_frames(self, frames: &mut Vec<Frame>) {
        match self {
            Segment::Frame { frame, .. } => frames.push(frame),
            Segment::Coalesced { mut messages, .. } => {
                while let Some(len) = first_frame_len(&messages) {
                    let frame = messages.split_to(len).slice(LENGTH_PREFIX..);
                    frames.push(Frame::from_slice(frame, SEGMENT_MAX).compact());
                }
            }
        }
    }
}

/// Length of the message at the start of a coalesced segment.
fn first_frame_len(run: &[u8]) -> Option<usize> {
    peek_len(run).ok()?.filter(|len| *len <= run.len())
}

impl SendBuffer {
    /// Number of frames, and their cost.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.frames, self.bytes)
    }

    /// Whether there are unwritten frames.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.frames > self.cursor.written
    }

    /// Number of written frames.
    pub(crate) fn written(&self) -> usize {
        self.cursor.written
    }

    /// Whether a frame of this length is coalesced.
    pub(crate) fn should_coalesce(len: usize) -> bool {
        len <= COALESCE_MAX
    }

    /// Appends a small frame to the tail. If that is full, a new one is allocated from `buffers`.
    pub(crate) fn append_coalesced(&mut self, frame: &Frame, buffers: &Arc<BufferPool>) {
        let len = LENGTH_PREFIX + frame.len();
        if self.tail.capacity() - self.tail.len() < len {
            // The tail is full before it was written: double the capacity of the next one. Growing
            // this one would copy it.
            let next_room = match self.tail.is_empty() {
                true => self.next_capacity,
                false => (2 * self.tail.capacity()).min(SEGMENT_MAX),
            };
            self.freeze_tail();
            self.tail = buffers.get_pooled(next_room.max(len));
        }
        self.tail.extend_from_slice(&encode_length(frame.len()));
        self.tail.extend_from_slice(frame.as_bytes());
        self.tail_frames += 1;
        self.frames += 1;
        self.bytes += frame.len() + OVERHEAD;
    }

    /// Appends a frame without copying it.
    pub(crate) fn push(&mut self, frame: Frame, flood: Option<Arc<SharedReservation>>) {
        self.freeze_tail();
        self.frames += 1;
        self.bytes += frame.len() + OVERHEAD;
        self.add(Segment::Frame { frame, flood });
    }

    /// Turns the tail into a segment.
    fn freeze_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        // The next tail is likely to get as long, but may be the last one for a while.
        self.next_capacity = (2 * self.tail.len()).min(SEGMENT_INITIAL);
        let open = std::mem::take(&mut self.tail);
        // Do not keep an allocation that is mostly empty.
        let (messages, room) = match open.len() < open.capacity() / 2 {
            true => (Bytes::copy_from_slice(&open), open.len()),
            false => {
                let room = open.capacity();
                (open.freeze(), room)
            }
        };
        // Fits: a segment is at most 64 KiB.
        let room = room as u32;
        let frames = std::mem::take(&mut self.tail_frames);
        self.add(Segment::Coalesced { messages, frames, room });
    }

    /// Appends a segment.
    fn add(&mut self, part: Segment) {
        if self.segments.is_empty() {
            // Usually this is the only one until it is written, and `VecDeque` would allocate four.
            self.segments.reserve_exact(1);
        }
        self.segments.push_back(part);
    }

    /// Adds unwritten frames to a batch until that is full.
    pub(crate) fn fill_batch(&mut self, plan: &mut WriteBatch) {
        let mut at = self.cursor.segment;
        let mut offset = self.cursor.offset;
        let mut planned = self.cursor.written - self.cursor.written_in_segment;
        while plan.has_room() {
            if at == self.segments.len() {
                self.freeze_tail();
            }
            let Some(part) = self.segments.get(at) else { break };
            match part {
                Segment::Coalesced { messages, .. } => plan.add(messages.slice(offset..)),
                Segment::Frame { frame, .. } if offset == 0 => plan.add_frame(frame),
                // The position is behind the frame.
                Segment::Frame { .. } => {}
            }
            planned += part.frames();
            (at, offset) = (at + 1, 0);
        }
        self.cursor.staged = planned;
    }

    /// Records that `bytes` more bytes were written. Returns the number of frames that this
    /// completed, and their bytes.
    pub(crate) fn advance(&mut self, bytes: usize) -> (usize, usize) {
        let cursor = &mut self.cursor;
        let (before, partial) = (cursor.written, cursor.partial_bytes);
        cursor.partial_bytes += bytes;
        while let Some(part) = self.segments.get(cursor.segment) {
            let next = match part {
                Segment::Coalesced { messages, .. } => first_frame_len(&messages[cursor.offset..]),
                Segment::Frame { frame, .. } if cursor.offset == 0 => {
                    Some(LENGTH_PREFIX + frame.len())
                }
                Segment::Frame { .. } => None,
            };
            match next {
                Some(len) if len <= cursor.partial_bytes => {
                    cursor.partial_bytes -= len;
                    cursor.offset += len;
                    cursor.written += 1;
                    cursor.written_in_segment += 1;
                }
                Some(_) => break,
                None => {
                    cursor.segment += 1;
                    (cursor.offset, cursor.written_in_segment) = (0, 0);
                }
            }
        }
        (cursor.written - before, partial + bytes - cursor.partial_bytes)
    }

    /// Aborts the write that is under way: a partially written frame is written again.
    pub(crate) fn reset_partial(&mut self) {
        (self.cursor.partial_bytes, self.cursor.staged) = (0, 0);
    }

    /// Marks all frames as unwritten.
    pub(crate) fn rewind(&mut self) {
        self.cursor = WriteCursor::default();
    }

    /// Removes the oldest frames: at most `count`, and only from one segment.
    pub(crate) fn pop(&mut self, count: usize) -> Option<Segment> {
        if count == 0 {
            return None;
        }
        if self.segments.is_empty() {
            self.freeze_tail();
        }
        let front = self.segments.front_mut()?;
        let part = match front {
            Segment::Coalesced { messages, frames, room } if *frames as usize > count => {
                let mut len = 0;
                for _ in 0..count {
                    len += first_frame_len(&messages[len..]).unwrap_or_default();
                }
                // Fits: `count` is less than the number of frames in the segment.
                let taken = count as u32;
                *frames -= taken;
                if self.cursor.segment == 0 {
                    self.cursor.offset = self.cursor.offset.saturating_sub(len);
                    self.cursor.written_in_segment =
                        self.cursor.written_in_segment.saturating_sub(count);
                }
                let (messages, room) = (messages.split_to(len), *room);
                front.shrink();
                Segment::Coalesced { messages, frames: taken, room }
            }
            _ => {
                match self.cursor.segment.checked_sub(1) {
                    Some(segment) => self.cursor.segment = segment,
                    None => (self.cursor.offset, self.cursor.written_in_segment) = (0, 0),
                }
                self.segments.pop_front()?
            }
        };
        self.frames -= part.frames();
        self.bytes -= part.cost();
        self.cursor.written = self.cursor.written.saturating_sub(part.frames());
        self.cursor.staged = self.cursor.staged.saturating_sub(part.frames());
        if self.segments.is_empty() {
            self.segments = VecDeque::new();
        }
        Some(part)
    }

    /// Evicts the oldest frames behind the first `kept` and the staged ones, until that releases
    /// `bytes` bytes of the memory budget, or none is left.
    pub(crate) fn shed(&mut self, kept: usize, bytes: usize) -> Vec<Segment> {
        let cursor = self.cursor;
        let mut left = kept.max(cursor.staged);
        let mut front = Vec::new();
        while let Some(part) = self.pop(left) {
            left -= part.frames();
            front.push(part);
        }
        let (mut shed, mut freed) = (Vec::new(), 0);
        while freed < bytes {
            let Some(part) = self.pop(1) else { break };
            freed += part.freed_bytes();
            shed.push(part);
        }
        for mut part in front.into_iter().rev() {
            part.shrink();
            self.frames += part.frames();
            self.bytes += part.cost();
            self.segments.push_front(part);
        }
        self.cursor = cursor;
        shed
    }

    /// Appends all frames of another buffer.
    pub(crate) fn append(&mut self, other: &mut SendBuffer) {
        self.freeze_tail();
        other.freeze_tail();
        let mut other = std::mem::take(other);
        self.segments.append(&mut other.segments);
        self.frames += other.frames;
        self.bytes += other.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Id;

    fn frame(number: u8, payload: usize) -> Frame {
        let builder = Frame::builder(8, Id::from_bytes([number; 32]));
        builder.payload(vec![number; payload]).build().unwrap()
    }

    fn copy(backlog: &mut SendBuffer, frame: Frame) {
        backlog.append_coalesced(&frame, &BufferPool::new(0));
    }

    fn add(backlog: &mut SendBuffer, frame: Frame) {
        match SendBuffer::should_coalesce(frame.len()) {
            true => copy(backlog, frame),
            false => backlog.push(frame, None),
        }
    }

    fn take(backlog: &mut SendBuffer, mut count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(part) = backlog.pop(count) {
            count -= part.frames();
            part.into_frames(&mut frames);
        }
        frames
    }

    #[test]
    fn a_lone_frame_keeps_no_room_for_many() {
        let mut backlog = SendBuffer::default();
        (0..100).for_each(|number| copy(&mut backlog, frame(number, 500)));
        backlog.fill_batch(&mut WriteBatch::default());
        assert_eq!(take(&mut backlog, 100).len(), 100);
        copy(&mut backlog, frame(1, 0));
        assert!(backlog.tail.capacity() > 1000, "many were expected");
        backlog.fill_batch(&mut WriteBatch::default());
        assert!(backlog.next_capacity < 100 && backlog.tail.capacity() == 0);
    }

    #[test]
    fn a_lone_frame_that_waits_keeps_little_room() {
        let mut backlog = SendBuffer::default();
        (0..200).for_each(|number| copy(&mut backlog, frame(number, 500)));
        backlog.fill_batch(&mut WriteBatch::default());
        copy(&mut backlog, frame(1, 0));
        assert!(backlog.tail.capacity() <= SEGMENT_INITIAL, "{}", backlog.tail.capacity());
        (0..100).for_each(|number| copy(&mut backlog, frame(number, 500)));
        assert!(backlog.tail.capacity() <= 2 * backlog.tail.len());
    }

    #[test]
    fn large_runs_go_round() {
        let buffers = BufferPool::new(1 << 20);
        let mut backlog = SendBuffer::default();
        let mut fill = |count| {
            (0..count).for_each(|_| backlog.append_coalesced(&frame(1, 1000), &buffers));
            backlog.fill_batch(&mut WriteBatch::default());
            let kept = buffers.pooled_bytes();
            while backlog.pop(usize::MAX).is_some() {}
            (kept, buffers.pooled_bytes())
        };
        let (while_full, after) = fill(200);
        assert!(after >= while_full + 2 * SEGMENT_MAX, "{while_full} {after}");
        assert_eq!(fill(200), (while_full, after), "they are filled again");
    }

    #[test]
    fn what_is_left_of_a_run_does_not_keep_all_of_it() {
        let end = |backlog: &SendBuffer| match &backlog.segments[0] {
            Segment::Coalesced { messages, .. } => messages.as_ptr_range().end,
            Segment::Frame { .. } => panic!("a small frame is copied"),
        };
        let open = BufferPool::new(0).get_pooled(SEGMENT_MAX);
        let mut backlog = SendBuffer { tail: open, ..SendBuffer::default() };
        (0..100).for_each(|number| copy(&mut backlog, frame(number, 500)));
        backlog.fill_batch(&mut WriteBatch::default());
        let whole = end(&backlog);
        assert_eq!(take(&mut backlog, 60).len(), 60);
        assert_eq!(end(&backlog), whole, "not worth copying");
        assert_eq!(take(&mut backlog, 20).len(), 20);
        let part = end(&backlog);
        assert_ne!(part, whole);
        assert_eq!(take(&mut backlog, 10).len(), 10);
        assert_eq!(end(&backlog), part, "not worth copying");
        assert_eq!(take(&mut backlog, 9).len(), 9);
        assert_ne!(end(&backlog), part);
        assert_eq!(take(&mut backlog, 2), [frame(99, 500)]);
    }

    /// Random operations, compared with a plain list of frames as the model.
    #[test]
    fn does_what_a_list_of_frames_would() {
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut backlog = SendBuffer::default();
            let (mut list, mut written, mut number) = (VecDeque::new(), 0, 0u8);
            for _ in 0..200 {
                match random.u8(..8) {
                    0..=2 => {
                        number = number.wrapping_add(1);
                        let payload = [random.usize(..9), random.usize(..3000)][random.usize(..2)];
                        list.push_back(frame(number, payload));
                        add(&mut backlog, frame(number, payload));
                    }
                    3 => {
                        let mut plan = WriteBatch::default();
                        backlog.fill_batch(&mut plan);
                        let bytes = random.usize(..=plan.unwritten());
                        let (frames, whole) = backlog.advance(bytes);
                        let expected =
                            list.range(written..).map(|frame| LENGTH_PREFIX + frame.len());
                        let mut sum = 0;
                        let expected: Vec<usize> = expected
                            .take_while(|len| {
                                sum += len;
                                sum <= bytes
                            })
                            .collect();
                        let sum = expected.iter().sum::<usize>();
                        assert_eq!((frames, whole), (expected.len(), sum), "seed {seed}");
                        written += frames;
                        backlog.reset_partial();
                    }
                    4 => {
                        let count = random.usize(..=written);
                        let taken = take(&mut backlog, count);
                        assert_eq!(taken, list.drain(..count).collect::<Vec<_>>(), "seed {seed}");
                        written -= count;
                    }
                    5 => {
                        backlog.rewind();
                        written = 0;
                    }
                    6 => {
                        let kept = random.usize(written..=list.len());
                        let count = random.usize(..4);
                        let mut taken = Vec::new();
                        for part in backlog.shed(kept, count * 3300) {
                            part.into_frames(&mut taken);
                        }
                        assert!(count == 0 || !taken.is_empty() || kept == list.len());
                        let expected: Vec<_> = list.drain(kept..kept + taken.len()).collect();
                        assert_eq!(taken, expected, "seed {seed}");
                    }
                    _ => {
                        let mut other = SendBuffer::default();
                        other.append(&mut backlog);
                        (backlog, written) = (other, 0);
                    }
                }
                let bytes = list.iter().map(|frame| frame.len() + OVERHEAD).sum();
                assert_eq!(backlog.size(), (list.len(), bytes), "seed {seed}");
                assert_eq!(
                    (backlog.written(), backlog.has_unwritten()),
                    (written, written < list.len())
                );
            }
            let all: Vec<_> = list.into_iter().collect();
            assert_eq!(take(&mut backlog, usize::MAX), all, "seed {seed}");
        }
    }
}
