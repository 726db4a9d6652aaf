//! The segments of a send buffer: runs of small frames in wire format, and large frames.

use std::sync::Arc;

use bytes::Bytes;

use crate::peer::recv::batch::FRAME_OVERHEAD;
use crate::peer::recv::permit::Permit;
use crate::peer::send::memory_budget::{OVERHEAD, SLOT_COST, SharedReservation};
use crate::proto::{Frame, LENGTH_PREFIX, peek_len};

/// Maximum size of a coalesced segment, in bytes.
pub(crate) const SEGMENT_MAX: usize = 64 << 10;

/// A sequence of frames in a send buffer.
#[derive(Debug)]
pub(crate) enum Segment {
    /// Small frames with their length prefixes. `room` is the size of the allocation behind them.
    /// Either all of them are forwarded, and from the same peer, or none is.
    Coalesced { messages: Bytes, frames: u32, room: u32, permit: Option<Permit> },
    /// A single frame. `flood` is the reservation for its bytes, if several queues share it.
    Frame { frame: Frame, flood: Option<Arc<SharedReservation>>, permit: Option<Permit> },
}

impl Segment {
    pub(crate) fn frames(&self) -> usize {
        match self {
            Segment::Coalesced { frames, .. } => *frames as usize,
            Segment::Frame { .. } => 1,
        }
    }

    /// Length on the wire.
    pub(crate) fn len(&self) -> usize {
        match self {
            Segment::Coalesced { messages, .. } => messages.len(),
            Segment::Frame { frame, .. } => LENGTH_PREFIX + frame.len(),
        }
    }

    /// The cost against the memory budget and the queue limits.
    pub(crate) fn cost(&self) -> usize {
        self.len() + self.frames() * (OVERHEAD - LENGTH_PREFIX)
    }

    /// The cost in terms of credit.
    pub(crate) fn credit_cost(&self) -> usize {
        self.len() + self.frames() * FRAME_OVERHEAD
    }

    /// The part of the cost that the queue itself reserved. Nothing for frames that take a part of
    /// the window of the peer that they came from.
    pub(crate) fn queue_cost(&self) -> usize {
        match self {
            forwarded if forwarded.takes_window() => 0,
            Segment::Frame { flood: Some(_), .. } => SLOT_COST,
            own => own.cost(),
        }
    }

    /// The permit of forwarded frames.
    pub(crate) fn permit(&self) -> Option<&Permit> {
        match self {
            Segment::Coalesced { permit, .. } | Segment::Frame { permit, .. } => permit.as_ref(),
        }
    }

    /// Takes all that the permit covers. The memory of the frames must be reserved instead.
    pub(crate) fn take_permit(&mut self) -> Option<Permit> {
        match self {
            Segment::Coalesced { permit, .. } | Segment::Frame { permit, .. } => {
                permit.as_mut().map(Permit::take)
            }
        }
    }

    /// Whether the frames take a part of the window of the peer that they came from.
    pub(crate) fn takes_window(&self) -> bool {
        self.permit().is_some_and(|permit| !permit.is_empty())
    }

    pub(crate) fn is_forwarded(&self) -> bool {
        self.permit().is_some()
    }

    pub(crate) fn is_flood(&self) -> bool {
        matches!(self, Segment::Frame { flood: Some(_), .. })
    }

    /// Number of bytes that dropping it releases from the memory budget.
    pub(crate) fn freed_bytes(&self) -> usize {
        match self {
            Segment::Frame { flood: Some(shared), .. } if Arc::strong_count(shared) > 1 => {
                SLOT_COST
            }
            last => last.cost(),
        }
    }

    /// Reallocates the rest of a coalesced segment once it occupies less than a quarter of its
    /// allocation. Amortized, that copies at most a third of the bytes that were removed.
    pub(crate) fn shrink(&mut self) {
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
pub(crate) fn first_frame_len(messages: &[u8]) -> Option<usize> {
    peek_len(messages).ok()?.filter(|len| *len <= messages.len())
}

/// The frames of segments, in order.
pub(crate) fn into_frames(segments: Vec<Segment>) -> Vec<Frame> {
    let mut frames = Vec::new();
    for segment in segments {
        segment.into_frames(&mut frames);
    }
    frames
}
