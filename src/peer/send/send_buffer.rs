//! The send buffer: the frames of a queue, oldest first. Frames that are written and unacknowledged
//! come before those that are unwritten.
//!
//! Small frames are coalesced in wire format, so that each costs little more than one copy, without
//! an allocation or a queue slot of its own. Large frames, and those that are shared by several
//! queues, are kept as they are.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::peer::recv::batch::FRAME_OVERHEAD;
use crate::peer::recv::permit::Permit;
use crate::peer::send::memory_budget::{OVERHEAD, SharedReservation};
use crate::peer::send::segment::{SEGMENT_MAX, Segment, first_frame_len};
use crate::peer::send::write_batch::WriteBatch;
use crate::primitives::buffer_pool::{BufferPool, PooledBuf};
use crate::proto::{Frame, LENGTH_PREFIX, encode_length};

/// Frames up to this size are coalesced; larger ones are written from their own allocation. An
/// additional slice costs the kernel about as much as copying a few hundred bytes.
const COALESCE_MAX: usize = 2048;

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
    /// The permit of the frames in `tail`, if they are forwarded.
    tail_permit: Option<Permit>,
    /// Capacity of the next tail.
    next_capacity: usize,
    /// Number of frames in `segments` and `tail`.
    frames: usize,
    /// Their cost.
    bytes: usize,
    /// Number and cost of those of them that are floods.
    floods: (usize, usize),
    /// Number and cost of those of them that take a part of a window.
    forwarded: (usize, usize),
    cursor: WriteCursor,
}

impl WriteCursor {
    /// The position before all frames.
    const START: WriteCursor = WriteCursor {
        written: 0,
        written_bytes: 0,
        written_in_segment: 0,
        segment: 0,
        offset: 0,
        partial_bytes: 0,
        staged: 0,
    };
}

/// The write position. Everything before it is written.
#[derive(Debug, Clone, Copy, Default)]
struct WriteCursor {
    /// Frames before the position.
    written: usize,
    /// Their bytes on the wire.
    written_bytes: usize,
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

impl SendBuffer {
    /// The empty buffer.
    pub(crate) const EMPTY: SendBuffer = SendBuffer {
        segments: VecDeque::new(),
        tail: PooledBuf::EMPTY,
        tail_frames: 0,
        tail_permit: None,
        next_capacity: 0,
        frames: 0,
        bytes: 0,
        floods: (0, 0),
        forwarded: (0, 0),
        cursor: WriteCursor::START,
    };

    /// Number of frames, and their cost.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.frames, self.bytes)
    }

    /// Number of the frames that are floods, and their cost.
    pub(crate) fn flood_size(&self) -> (usize, usize) {
        self.floods
    }

    /// Number of the frames that take no part of a window, and their cost.
    pub(crate) fn own_size(&self) -> (usize, usize) {
        (self.frames - self.forwarded.0, self.bytes - self.forwarded.1)
    }

    /// Takes what the permits cover of all frames for which `reserve` reserves their cost instead.
    pub(crate) fn take_permits(&mut self, reserve: &mut dyn FnMut(usize) -> bool) -> Vec<Permit> {
        if self.forwarded.0 == 0 {
            return Vec::new();
        }
        self.freeze_tail();
        let mut permits = Vec::new();
        for segment in &mut self.segments {
            let (frames, cost) = (segment.frames(), segment.cost());
            if segment.takes_window() && reserve(cost) {
                permits.extend(segment.take_permit());
                self.forwarded = (self.forwarded.0 - frames, self.forwarded.1 - cost);
            }
        }
        permits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// What all frames cost in terms of credit.
    pub(crate) fn credit_cost(&self) -> usize {
        self.bytes - self.frames * (OVERHEAD - LENGTH_PREFIX - FRAME_OVERHEAD)
    }

    /// Whether there are unwritten frames.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.frames > self.cursor.written
    }

    /// Number of written frames.
    pub(crate) fn written(&self) -> usize {
        self.cursor.written
    }

    /// What the written frames cost in terms of credit.
    pub(crate) fn written_cost(&self) -> usize {
        self.cursor.written_bytes + self.cursor.written * FRAME_OVERHEAD
    }

    /// Length of the oldest frame on the wire. Zero if there is none, or it was not staged yet.
    pub(crate) fn first_len(&self) -> usize {
        match self.segments.front() {
            Some(Segment::Coalesced { messages, .. }) => {
                first_frame_len(messages).unwrap_or_default()
            }
            frame => frame.map_or(0, Segment::len),
        }
    }

    /// Whether a frame of this length is coalesced.
    pub(crate) fn should_coalesce(len: usize) -> bool {
        len <= COALESCE_MAX
    }

    /// Appends a small frame to the tail. If that is full, a new one is allocated from `buffers`.
    #[inline]
    pub(crate) fn append_coalesced(&mut self, frame: &Frame, buffers: &Arc<BufferPool>) {
        if self.tail_permit.is_some() {
            self.freeze_tail();
        }
        self.extend_tail(frame, buffers);
    }

    /// Appends a small frame that is forwarded.
    pub(crate) fn append_coalesced_with(
        &mut self,
        permit: Permit,
        frame: &Frame,
        buffers: &Arc<BufferPool>,
    ) {
        if !self.tail_permit.as_ref().is_some_and(|before| before.can_merge(&permit)) {
            self.freeze_tail();
        }
        self.extend_tail(frame, buffers);
        if !permit.is_empty() {
            self.forwarded = (self.forwarded.0 + 1, self.forwarded.1 + frame.len() + OVERHEAD);
        }
        match &mut self.tail_permit {
            Some(before) => before.merge(permit),
            None => self.tail_permit = Some(permit),
        }
    }

    #[inline]
    fn extend_tail(&mut self, frame: &Frame, buffers: &Arc<BufferPool>) {
        let len = LENGTH_PREFIX + frame.len();
        if self.tail.capacity() - self.tail.len() < len {
            // The tail is full before it was written: double the capacity of the next one. Growing
            // this one would copy it.
            let next_capacity = match self.tail.is_empty() {
                true => self.next_capacity,
                false => (2 * self.tail.capacity()).min(SEGMENT_MAX),
            };
            self.freeze_tail();
            self.tail = buffers.get_pooled(next_capacity.max(len));
        }
        self.tail.extend_from_slice(&encode_length(frame.len()));
        self.tail.extend_from_slice(frame.as_bytes());
        self.tail_frames += 1;
        self.frames += 1;
        self.bytes += frame.len() + OVERHEAD;
    }

    /// Appends a frame without copying it.
    pub(crate) fn push(
        &mut self,
        frame: Frame,
        flood: Option<Arc<SharedReservation>>,
        permit: Option<Permit>,
    ) {
        self.push_segment(Segment::Frame { frame, flood, permit });
    }

    /// Appends a segment of another buffer.
    pub(crate) fn push_segment(&mut self, segment: Segment) {
        self.freeze_tail();
        self.count(&segment);
        self.add(segment);
    }

    /// Counts a segment that is added.
    #[inline]
    fn count(&mut self, segment: &Segment) {
        self.frames += segment.frames();
        self.bytes += segment.cost();
        if segment.is_flood() {
            self.floods = (self.floods.0 + 1, self.floods.1 + segment.cost());
        }
        if segment.takes_window() {
            let (frames, bytes) = self.forwarded;
            self.forwarded = (frames + segment.frames(), bytes + segment.cost());
        }
    }

    /// Counts a segment that is removed.
    #[inline]
    fn uncount(&mut self, segment: &Segment) {
        self.frames -= segment.frames();
        self.bytes -= segment.cost();
        if segment.is_flood() {
            self.floods = (self.floods.0 - 1, self.floods.1 - segment.cost());
        }
        if segment.takes_window() {
            let (frames, bytes) = self.forwarded;
            self.forwarded = (frames - segment.frames(), bytes - segment.cost());
        }
    }

    /// Turns the tail into a segment.
    fn freeze_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        // The next tail is likely to get as long, but may be the last one for a while.
        self.next_capacity = (2 * self.tail.len()).min(SEGMENT_INITIAL);
        let tail = std::mem::take(&mut self.tail);
        // Do not keep an allocation that is mostly empty.
        let (messages, room) = match tail.len() < tail.capacity() / 2 {
            true => (Bytes::copy_from_slice(&tail), tail.len()),
            false => {
                let room = tail.capacity();
                (tail.freeze(), room)
            }
        };
        // Fits: a segment is at most 64 KiB.
        let room = room as u32;
        let frames = std::mem::take(&mut self.tail_frames);
        let permit = self.tail_permit.take();
        self.add(Segment::Coalesced { messages, frames, room, permit });
    }

    /// Appends a segment.
    #[inline]
    fn add(&mut self, segment: Segment) {
        if self.segments.is_empty() {
            // Usually this is the only one until it is written, and `VecDeque` would allocate four.
            self.segments.reserve_exact(1);
        }
        self.segments.push_back(segment);
    }

    /// Adds unwritten frames to a batch until that is full, or the credit is used up. The last frame
    /// may exceed it.
    pub(crate) fn fill_batch(&mut self, batch: &mut WriteBatch, mut credit: usize) {
        let mut at = self.cursor.segment;
        let mut offset = self.cursor.offset;
        let mut before = self.cursor.written_in_segment;
        let mut staged = self.cursor.written;
        while credit > 0 && batch.has_room() {
            if at == self.segments.len() {
                self.freeze_tail();
            }
            let Some(segment) = self.segments.get(at) else { break };
            match segment {
                Segment::Coalesced { messages, frames, .. } => {
                    let rest_frames = *frames as usize - before;
                    let (len, frames) =
                        frames_within(&messages[offset..], rest_frames, &mut credit);
                    batch.add(messages.slice(offset..offset + len));
                    staged += frames;
                }
                Segment::Frame { frame, .. } if offset == 0 => {
                    credit = credit.saturating_sub(segment.credit_cost());
                    batch.add_frame(frame);
                    staged += 1;
                }
                // The position is behind the frame.
                Segment::Frame { .. } => {}
            }
            (at, offset, before) = (at + 1, 0, 0);
        }
        self.cursor.staged = staged;
    }

    /// Records that `bytes` more bytes were written. Returns the number of frames that this
    /// completed, and their bytes.
    pub(crate) fn advance(&mut self, bytes: usize) -> (usize, usize) {
        let cursor = &mut self.cursor;
        let (before, partial) = (cursor.written, cursor.partial_bytes);
        cursor.partial_bytes += bytes;
        while let Some(segment) = self.segments.get(cursor.segment) {
            let next = match segment {
                Segment::Coalesced { messages, frames, .. } => {
                    let rest = messages.len() - cursor.offset;
                    if rest <= cursor.partial_bytes {
                        // All that is left of the segment, by far the most frequent case.
                        cursor.partial_bytes -= rest;
                        cursor.written += *frames as usize - cursor.written_in_segment;
                        None
                    } else {
                        first_frame_len(&messages[cursor.offset..])
                    }
                }
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
        let bytes = partial + bytes - cursor.partial_bytes;
        cursor.written_bytes += bytes;
        (cursor.written - before, bytes)
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
        let segment = match front {
            Segment::Coalesced { messages, frames, room, permit } if *frames as usize > count => {
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
                let cost = len + count * FRAME_OVERHEAD;
                let permit = permit.as_mut().map(|permit| permit.split(cost));
                front.shrink();
                Segment::Coalesced { messages, frames: taken, room, permit }
            }
            _ => {
                match self.cursor.segment.checked_sub(1) {
                    Some(segment) => self.cursor.segment = segment,
                    None => (self.cursor.offset, self.cursor.written_in_segment) = (0, 0),
                }
                self.segments.pop_front()?
            }
        };
        self.uncount(&segment);
        self.cursor.written = self.cursor.written.saturating_sub(segment.frames());
        self.cursor.written_bytes = self.cursor.written_bytes.saturating_sub(segment.len());
        self.cursor.staged = self.cursor.staged.saturating_sub(segment.frames());
        if self.segments.is_empty() {
            self.segments = VecDeque::new();
        }
        Some(segment)
    }

    /// Moves the oldest frames to the end of another buffer, as far as they may begin within this
    /// credit: all of them, or only those of one segment. Returns whether there were any. No frame of
    /// this buffer was written.
    pub(crate) fn move_within(
        &mut self,
        mut credit: usize,
        to: &mut SendBuffer,
        all: bool,
    ) -> bool {
        let before = self.frames;
        to.freeze_tail();
        while credit > 0 {
            if self.segments.is_empty() {
                self.freeze_tail();
            }
            let segment = match self.segments.front() {
                None => break,
                Some(Segment::Coalesced { messages, frames, .. }) => {
                    let frames = *frames as usize;
                    match frames_within(messages, frames, &mut credit).1 {
                        count if count < frames => self.pop(count),
                        _ => self.pop_unwritten(),
                    }
                }
                Some(frame) => {
                    credit = credit.saturating_sub(frame.credit_cost());
                    self.pop_unwritten()
                }
            };
            let Some(segment) = segment else { break };
            to.count(&segment);
            to.add(segment);
            if !all {
                break;
            }
        }
        if self.segments.is_empty() {
            self.segments = VecDeque::new();
        }
        self.frames < before
    }

    /// Removes the first segment of a buffer of which nothing was written.
    #[inline]
    fn pop_unwritten(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        self.uncount(&segment);
        Some(segment)
    }

    /// Evicts the oldest frames behind the first `kept` and the staged ones, until that releases
    /// `bytes` bytes of the memory budget, or none is left.
    pub(crate) fn shed(&mut self, kept: usize, bytes: usize) -> Vec<Segment> {
        let cursor = self.cursor;
        let mut left = kept.max(cursor.staged);
        let mut front = Vec::new();
        while let Some(segment) = self.pop(left) {
            left -= segment.frames();
            front.push(segment);
        }
        let (mut shed, mut freed) = (Vec::new(), 0);
        while freed < bytes {
            let Some(segment) = self.pop(1) else { break };
            if segment.takes_window() {
                // It takes nothing of the budget.
                front.push(segment);
                continue;
            }
            freed += segment.freed_bytes();
            shed.push(segment);
        }
        for mut segment in front.into_iter().rev() {
            segment.shrink();
            self.count(&segment);
            self.segments.push_front(segment);
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
        self.floods = (self.floods.0 + other.floods.0, self.floods.1 + other.floods.1);
        let forwarded = other.forwarded;
        self.forwarded = (self.forwarded.0 + forwarded.0, self.forwarded.1 + forwarded.1);
    }
}

/// The messages at the start of a coalesced segment that may begin within the credit, which is used
/// up accordingly: their length, and their number of `frames` in all.
fn frames_within(messages: &[u8], frames: usize, credit: &mut usize) -> (usize, usize) {
    let cost = messages.len() + frames * FRAME_OVERHEAD;
    if cost <= *credit {
        *credit -= cost;
        return (messages.len(), frames);
    }
    let (mut len, mut count) = (0, 0);
    while *credit > 0 {
        let Some(next) = first_frame_len(&messages[len..]) else { break };
        (len, count) = (len + next, count + 1);
        *credit = credit.saturating_sub(next + FRAME_OVERHEAD);
    }
    (len, count)
}

#[cfg(test)]
mod tests;
