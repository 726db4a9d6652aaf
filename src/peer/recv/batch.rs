//! Batches: received frames of one peer, as they were read.

use std::cmp::Ordering;

use bytes::{Buf, Bytes};

use crate::proto::{Frame, Header, LENGTH_PREFIX, peek_len};

/// What a frame costs of the receive window beside its length on the wire: its share of a batch,
/// and of what is allocated for it. Part of the wire protocol; see `proto::extension`.
pub(crate) const FRAME_OVERHEAD: usize = 64;

/// The most that one frame costs of the receive window.
pub(crate) const MAX_FRAME_COST: usize = LENGTH_PREFIX + Frame::MAX_LEN + FRAME_OVERHEAD;

/// Valid frames of one peer, as they were received: each with its length prefix.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) messages: Bytes,
    pub(crate) frames: usize,
    /// Size of the allocation behind `messages`.
    pub(crate) pinned: usize,
    /// Whether in each message the frame fills its length. If not, which is rare, frames are
    /// truncated.
    pub(crate) no_trailing: bool,
    /// Whether the frames count as those of a stranger, until they are released.
    pub(crate) is_stranger: bool,
}

impl Batch {
    /// What the frames cost of the receive window.
    pub(crate) fn cost(&self) -> usize {
        self.messages.len() + self.frames * FRAME_OVERHEAD
    }

    /// Removes the first frame. Returns it with what it cost.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Frame, usize)> {
        let len = peek_len(&self.messages).ok()??;
        let mut message = match len.cmp(&self.messages.len()) {
            Ordering::Less => {
                let message = self.messages.slice(LENGTH_PREFIX..len);
                self.messages.advance(len);
                message
            }
            Ordering::Equal => {
                self.messages.advance(LENGTH_PREFIX);
                std::mem::take(&mut self.messages)
            }
            Ordering::Greater => return None,
        };
        if !self.no_trailing {
            // Bytes after the payload are not part of the frame.
            message.truncate(Header::parse(&message).ok()?.frame_len());
        }
        Some((Frame::from_slice(message, self.pinned), len + FRAME_OVERHEAD))
    }
}
