//! Announcements that this router has flooded, to know one that comes back.
//!
//! The dialer of a link between two of Ratman's own modules never learns the listener's id. So a
//! router that dialed this one with that module cannot leave this one out of a flood, and sends
//! every announcement back over the link that it came from, this router's own included: which then
//! has a route to its own addresses over the network. Its own check for known announcements does
//! not help.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::ops::RangeInclusive;

use netmod_inet::Frame;

/// Modes of announcements.
const ANNOUNCEMENTS: RangeInclusive<u16> = 4..=7;

/// How many are remembered: those of some minutes, in a network of a thousand addresses.
const MAX_REMEMBERED: usize = 4096;

/// The latest announcements that were flooded.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    hasher: RandomState,
    latest: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Echoes {
    /// Remembers a frame that is flooded, if it is an announcement.
    pub(crate) fn remember(&mut self, frame: &Frame) {
        let Some(key) = self.key(frame) else { return };
        if !self.known.insert(key) {
            return;
        }
        if self.latest.len() == MAX_REMEMBERED {
            if let Some(oldest) = self.latest.pop_front() {
                self.known.remove(&oldest);
            }
        }
        self.latest.push_back(key);
    }

    /// Whether a frame is an announcement that was flooded.
    pub(crate) fn is_known(&self, frame: &Frame) -> bool {
        self.key(frame).is_some_and(|key| self.known.contains(&key))
    }

    /// What identifies an announcement; routers on the way change its auxiliary data.
    fn key(&self, frame: &Frame) -> Option<u64> {
        if !ANNOUNCEMENTS.contains(&frame.modes()) {
            return None;
        }
        let sender = frame.sender();
        Some(match frame.sequence_id() {
            Some(sequence) => {
                self.hasher.hash_one((sender.as_bytes(), sequence.hash, sequence.num))
            }
            None => self.hasher.hash_one((sender.as_bytes(), frame.payload())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmod_inet::{Id, SequenceId};

    fn announcement(modes: u16, number: usize, auxiliary: u8) -> Frame {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        let builder = Frame::builder(modes, Id::from_bytes([1; 32]));
        let builder = builder.sequence_id(SequenceId { hash, num: 0, last: 0 });
        builder.auxiliary_data([auxiliary; 64]).build().expect("a frame")
    }

    #[test]
    fn the_latest_announcements_are_known_whatever_they_carry() {
        let mut echoes = Echoes::default();
        for number in 0..=MAX_REMEMBERED {
            echoes.remember(&announcement(4, number, 1));
            echoes.remember(&announcement(8, number, 1));
        }
        assert!(!echoes.is_known(&announcement(4, 0, 1)), "forgotten");
        assert!(echoes.is_known(&announcement(4, 1, 2)), "though its route data changed");
        assert!(!echoes.is_known(&announcement(8, 1, 1)), "not an announcement");
        assert_eq!((echoes.latest.len(), echoes.known.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }
}
