//! Frames that arrived over links without a name.

use std::collections::VecDeque;

use libratman::types::Ident32;
use netmod_inet::Received;

/// Bytes that undecided links may have sent together until one of them is decided early.
const MAX_HELD_BYTES: usize = 1 << 20;

/// Frames whose senders got a name after they arrived, in the order in which the router gets them.
#[derive(Debug, Default)]
pub(super) struct HeldFrames {
    released: VecDeque<(Ident32, Received)>,
    /// Bytes of the released frames, and of those that the undecided links still hold.
    bytes: usize,
}

impl HeldFrames {
    /// Counts a frame of this length that an undecided link holds. False if too much is held now.
    #[must_use]
    pub(super) fn count(&mut self, len: usize) -> bool {
        self.bytes += len;
        self.bytes <= MAX_HELD_BYTES
    }

    /// Releases frames that were counted and whose sender has this name now.
    pub(super) fn release(&mut self, name: Ident32, held: Vec<Received>) {
        self.released.extend(held.into_iter().map(|received| (name, received)));
    }

    /// Adds a frame behind those that were released.
    pub(super) fn push(&mut self, name: Ident32, received: Received) {
        self.bytes += received.frame().len();
        self.released.push_back((name, received));
    }

    /// Takes the next released frame.
    pub(super) fn pop(&mut self) -> Option<(Ident32, Received)> {
        let next = self.released.pop_front()?;
        self.bytes = self.bytes.saturating_sub(next.1.frame().len());
        Some(next)
    }

    /// Whether no frame is released.
    pub(super) fn is_empty(&self) -> bool {
        self.released.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_beyond_the_limit_is_too_much() {
        let mut held = HeldFrames::default();
        assert!(held.count(MAX_HELD_BYTES));
        assert!(!held.count(1));
    }
}
