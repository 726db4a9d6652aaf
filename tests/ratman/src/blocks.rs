//! Blocks whose frames are arriving, to drop a frame that arrives twice.
//!
//! Ratman's router counts the frames of a block without looking at their numbers. A frame that
//! arrives twice while its block is incomplete spoils the block. That happens when a neighbour
//! restarts: what it had not acknowledged is sent to it again, and it forwards again what it may
//! have forwarded before it ended.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use netmod_inet::{Frame, Id, Recipient, SequenceId};

/// Modes of an announcement.
const ANNOUNCEMENT: u16 = 4;

/// Modes of the frames of a block.
const DATA: u16 = 8;

/// Maximum number of incomplete blocks: those of some hundred streams at once. There is no other
/// end, for the router keeps what it has of a block for as long as it runs.
const MAX_BLOCKS: usize = 1024;

/// Maximum number of addresses of this router. Frames for others count as in transit.
const MAX_ADDRESSES: usize = 1024;

/// The frames that arrived of incomplete blocks, for addresses of this router.
///
/// Only those: a router on the way may have lost what it forwards, and is then sent it again.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    addresses: HashSet<Id>,
    /// The same addresses, the oldest first.
    by_age: VecDeque<Id>,
    blocks: HashMap<[u8; 32], Block>,
    /// Blocks by the numbers of their latest frames. Invariant: as many as `blocks`.
    latest: BTreeMap<u64, [u8; 32]>,
    /// Number of the latest frame.
    clock: u64,
}

/// An incomplete block.
#[derive(Debug)]
struct Block {
    /// A bit for each frame that arrived.
    arrived: [u64; 4],
    /// Number of the last frame, as the first that arrived has it: the router goes by that too.
    last: u8,
    /// Number of the latest frame that arrived, over all blocks.
    clock: u64,
}

impl Block {
    /// Records a frame. Returns whether it arrived before.
    fn insert(&mut self, num: u8) -> bool {
        let (word, bit) = (usize::from(num / 64), 1 << (num % 64));
        let is_duplicate = self.arrived[word] & bit != 0;
        self.arrived[word] |= bit;
        is_duplicate
    }

    fn is_complete(&self) -> bool {
        let arrived: u32 = self.arrived.iter().map(|word| word.count_ones()).sum();
        arrived > u32::from(self.last)
    }
}

impl Blocks {
    /// Learns an address of this router from an announcement that it makes itself: one that is
    /// flooded to all neighbours. Frames of other kinds are not, for a router floods those of
    /// others to all as well.
    pub(crate) fn announced(&mut self, frame: &Frame) {
        let is_announcement = frame.modes() == ANNOUNCEMENT && frame.recipient().is_none();
        if !is_announcement || !self.addresses.insert(frame.sender()) {
            return;
        }
        self.by_age.push_back(frame.sender());
        if self.by_age.len() > MAX_ADDRESSES {
            if let Some(oldest) = self.by_age.pop_front() {
                self.addresses.remove(&oldest);
            }
        }
    }

    /// Whether a frame that is about to be handed out was handed out before, and its block is
    /// still incomplete.
    pub(crate) fn is_duplicate(&mut self, frame: &Frame) -> bool {
        let Some(SequenceId { hash, num, last }) = self.place(frame) else { return false };
        self.clock += 1;
        let clock = self.clock;
        let block = self.blocks.entry(hash).or_insert(Block { arrived: [0; 4], last, clock });
        self.latest.remove(&block.clock);
        let is_duplicate = block.insert(num);
        match block.is_complete() {
            true => drop(self.blocks.remove(&hash)),
            false => {
                block.clock = clock;
                self.latest.insert(clock, hash);
                self.evict();
            }
        }
        is_duplicate
    }

    /// The place of a frame in its block, if that is for an address of this router.
    fn place(&self, frame: &Frame) -> Option<SequenceId> {
        match frame.recipient()? {
            Recipient::Address(address) if frame.modes() == DATA => {
                self.addresses.contains(&address).then(|| frame.sequence_id())?
            }
            _ => None,
        }
    }

    /// Forgets the block whose latest frame is the oldest, if there are too many.
    fn evict(&mut self) {
        if self.blocks.len() > MAX_BLOCKS {
            if let Some((_, hash)) = self.latest.pop_first() {
                self.blocks.remove(&hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmod_inet::SequenceId;

    fn id(number: u8) -> Id {
        Id::from_bytes([number; 32])
    }

    fn data(to: u8, block: usize, num: u8, last: u8) -> Frame {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&block.to_be_bytes());
        let builder = Frame::builder(DATA, id(1)).recipient(Recipient::Address(id(to)));
        builder.sequence_id(SequenceId { hash, num, last }).build().expect("a frame")
    }

    fn blocks() -> Blocks {
        let mut blocks = Blocks::default();
        blocks.announced(&Frame::builder(4, id(2)).build().expect("a frame"));
        blocks.announced(&Frame::builder(DATA, id(3)).build().expect("a frame"));
        blocks
    }

    #[test]
    fn a_frame_is_a_duplicate_until_its_block_is_complete() {
        let mut blocks = blocks();
        let mut is_duplicate = |num| blocks.is_duplicate(&data(2, 7, num, 255));
        for num in 0..255 {
            assert_eq!([is_duplicate(num), is_duplicate(num)], [false, true], "{num}");
        }
        assert!(!is_duplicate(255), "the last one");
        assert!(!is_duplicate(0), "somebody sends the same bytes once more");
        assert_eq!((blocks.blocks.len(), blocks.latest.len()), (1, 1));
    }

    #[test]
    fn frames_in_transit_and_frames_that_are_no_data_are_not_duplicates() {
        let mut blocks = blocks();
        let plain = Frame::builder(9, id(1)).recipient(Recipient::Address(id(2)));
        let plain = plain.build().expect("a frame");
        for frame in [data(3, 1, 0, 1), data(4, 1, 0, 1), plain] {
            assert_eq!([0; 2].map(|_| blocks.is_duplicate(&frame)), [false; 2]);
        }
    }

    /// Regression: a router floods frames of other kinds that it received to all neighbours, so a
    /// remote could name addresses, and displace the router's own.
    #[test]
    fn addresses_are_learned_from_announcements_alone() {
        let mut blocks = blocks();
        for number in 0..2 * MAX_ADDRESSES {
            let mut bytes = [0xEE; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let frame = |modes| Frame::builder(modes, Id::from_bytes(bytes));
            let namespace = Recipient::Namespace(id(9));
            blocks.announced(&frame(5).build().expect("a frame"));
            blocks.announced(&frame(4).recipient(namespace).build().expect("a frame"));
        }
        assert_eq!([0; 2].map(|_| blocks.is_duplicate(&data(2, 1, 0, 3))), [false, true]);
    }

    /// Regression: the number of the last frame was taken from the duplicate.
    #[test]
    fn a_frame_with_another_last_number_does_not_complete_a_block() {
        let mut blocks = blocks();
        assert!(
            !blocks.is_duplicate(&data(2, 1, 0, 25)) && !blocks.is_duplicate(&data(2, 1, 1, 25))
        );
        assert!(blocks.is_duplicate(&data(2, 1, 0, 0)));
        assert!(blocks.is_duplicate(&data(2, 1, 1, 25)));
    }

    #[test]
    fn the_block_without_a_frame_for_longest_is_forgotten_first() {
        let mut blocks = blocks();
        for block in 0..MAX_BLOCKS {
            assert!(!blocks.is_duplicate(&data(2, block, 0, 2)));
        }
        assert!(!blocks.is_duplicate(&data(2, 0, 1, 2)));
        assert!(!blocks.is_duplicate(&data(2, MAX_BLOCKS, 0, 2)));
        assert!(blocks.is_duplicate(&data(2, 0, 0, 2)));
        assert!(!blocks.is_duplicate(&data(2, 1, 0, 2)), "forgotten");
        assert_eq!((blocks.blocks.len(), blocks.latest.len()), (MAX_BLOCKS, MAX_BLOCKS));
    }
}
