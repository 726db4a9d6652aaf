//! What two nodes of this crate say to each other beside the bytes that Ratman nodes speak.
//!
//! A block of records stands behind the payload fields of a Hello and of an Ack, where a Ratman
//! node ignores it, and is the payload of a *control frame* (modes 40). Nothing of it is sent to a
//! node whose own Hello or Ack had none. All integers are big-endian.
//!
//! ```text
//! block    magic (4): 6e 6d 69 01 · length of the records in bytes (2) · records
//! record   type (1) · length of the value in bytes (1) · value
//! ```
//!
//! | type | name | value |
//! |---|---|---|
//! | 1 | version | lowest (1) and highest (1) version of these records that the node speaks |
//! | 2 | boot | 16 random bytes, drawn when the node started |
//! | 3 | nonce | 16 random bytes, drawn for this handshake |
//! | 4 | share | 16 random bytes: the node's half of a new pair secret |
//! | 5 | pair | 8 bytes: the public name of the pair secret that the dialer wants to go on with |
//! | 6 | proof | 16 bytes: a MAC under the pair secret, see `pair` |
//! | 7 | received | frames of the router received over all links of the pair (8) |
//! | 8 | held | microseconds (4) for which the count in `received` was held back |
//! | 9 | end | reason (1) and retry-after in milliseconds (4): the sender closes after this |
//! | 10 | probe | empty: asks for `received` at once, to see whether the other side lives |
//! | 11 | busy | empty: the sender lives, and does not read because its router is slow |
//! | 12 | same | the name (8) of another pair of the same two nodes, and a MAC (16) under its secret |
//! | 13 | merge | the name (8) of the pair that goes, how many frames of it the sender has (8), and a MAC (16) under its secret |
//! | 14 | merged | the answer to that: the name (8), and how many frames the sender has (8) |
//! | 15 | noise | what the sender can encrypt with, as bits (1), see `noise` |
//!
//! A type that is not known is skipped. A block that is cut off, or a known record of another
//! length, or one that comes twice, makes all of it "other bytes": those of a plain node.

use crate::proto::{Frame, FrameError, Id};

/// Modes of a frame whose payload is a block of records.
pub(crate) const CONTROL: u16 = 40;

/// The only version of the records there is.
pub(crate) const RECORDS_VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"nmi\x01";

/// Writes [`Records`], its encoder and its decoder from one table.
macro_rules! records {
    ($($(#[doc = $doc:literal])+ $number:literal $name:ident: $kind:ty;)+) => {
        /// The records of one block, each there or not.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub(crate) struct Records {
            $($(#[doc = $doc])+ pub(crate) $name: Option<$kind>,)+
        }

        impl Records {
            /// None of them.
            pub(crate) const NONE: &'static Records = &Records { $($name: None,)+ };

            /// The block.
            pub(crate) fn encode(&self) -> Vec<u8> {
                let mut block = [&MAGIC[..], &[0, 0]].concat();
                $(if let Some(value) = &self.$name {
                    let value = value.write();
                    block.extend_from_slice(&[$number, value.len() as u8]);
                    block.extend_from_slice(&value);
                })+
                // All records together have a few hundred bytes.
                let len = (block.len() - 6) as u16;
                block[4..6].copy_from_slice(&len.to_be_bytes());
                block
            }

            fn put(&mut self, number: u8, value: &[u8]) -> Option<()> {
                match number {
                    $($number => set(&mut self.$name, value),)+
                    _ => Some(()),
                }
            }
        }
    };
}

records! {
    /// Lowest and highest version that the node speaks.
    1 version: (u8, u8);
    /// Tells this run of the node from any other.
    2 boot: [u8; 16];
    /// Makes this handshake's proofs good for this handshake only.
    3 nonce: [u8; 16];
    /// The node's half of a new pair secret.
    4 share: [u8; 16];
    /// The public name of the pair secret to go on with.
    5 pair: [u8; 8];
    /// Shows that the node knows the pair secret.
    6 proof: [u8; 16];
    /// Frames received over all links of the pair.
    7 received: u64;
    /// Microseconds for which `received` was held back.
    8 held: u32;
    /// Why the sender closes, and when to come back.
    9 end: CloseRecord;
    /// Asks for a sign of life.
    10 probe: ();
    /// A sign of life from a node that does not read.
    11 busy: ();
    /// Another pair of the same two nodes, and the proof.
    12 same: ([u8; 8], [u8; 16]);
    /// The pair that goes, how many frames of it were received, and the proof.
    13 merge: ([u8; 8], (u64, [u8; 16]));
    /// The answer to `merge`.
    14 merged: ([u8; 8], u64);
    /// What the sender can encrypt with.
    15 noise: u8;
}

impl Records {
    /// The records in the block that `bytes` begin with; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Records> {
        let (len, rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
        let mut rest = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        let mut records = Records::default();
        while let Some((&[number, len], values)) = rest.split_first_chunk() {
            let (value, next) = values.split_at_checked(usize::from(len))?;
            records.put(number, value)?;
            rest = next;
        }
        rest.is_empty().then_some(records)
    }

    /// A control frame with these records.
    pub(crate) fn into_frame(self, sender: Id) -> Result<Frame, FrameError> {
        Frame::builder(CONTROL, sender).payload(self.encode()).build()
    }
}

fn set<T: Value>(record: &mut Option<T>, value: &[u8]) -> Option<()> {
    match record.replace(T::read(value)?) {
        None => Some(()),
        Some(_) => None,
    }
}

/// Why a node closes a link, and how long the other one should stay away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CloseRecord {
    pub(crate) reason: u8,
    pub(crate) retry_after_ms: u32,
}

/// The value of a record.
trait Value: Sized {
    fn write(&self) -> Vec<u8>;
    fn read(bytes: &[u8]) -> Option<Self>;
}

impl<const N: usize> Value for [u8; N] {
    fn write(&self) -> Vec<u8> {
        self.to_vec()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

impl Value for () {
    fn write(&self) -> Vec<u8> {
        Vec::new()
    }

    fn read(bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }
}

impl<T: Value> Value for ([u8; 8], T) {
    fn write(&self) -> Vec<u8> {
        [&self.0[..], &self.1.write()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (name, rest) = bytes.split_first_chunk()?;
        Some((*name, T::read(rest)?))
    }
}

impl Value for (u64, [u8; 16]) {
    fn write(&self) -> Vec<u8> {
        [&self.0.to_be_bytes()[..], &self.1].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        Some((u64::from_be_bytes(*number), rest.try_into().ok()?))
    }
}

impl Value for u64 {
    fn write(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn read(bytes: &[u8]) -> Option<u64> {
        bytes.try_into().ok().map(u64::from_be_bytes)
    }
}

impl Value for u8 {
    fn write(&self) -> Vec<u8> {
        vec![*self]
    }

    fn read(bytes: &[u8]) -> Option<u8> {
        <[u8; 1]>::read(bytes).map(|[bits]| bits)
    }
}

impl Value for u32 {
    fn write(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn read(bytes: &[u8]) -> Option<u32> {
        bytes.try_into().ok().map(u32::from_be_bytes)
    }
}

impl Value for (u8, u8) {
    fn write(&self) -> Vec<u8> {
        vec![self.0, self.1]
    }

    fn read(bytes: &[u8]) -> Option<(u8, u8)> {
        <[u8; 2]>::read(bytes).map(|[low, high]| (low, high))
    }
}

impl Value for CloseRecord {
    fn write(&self) -> Vec<u8> {
        [&[self.reason][..], &self.retry_after_ms.to_be_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Option<CloseRecord> {
        let (reason, rest) = bytes.split_first()?;
        Some(CloseRecord { reason: *reason, retry_after_ms: u32::read(rest)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Records {
        Records {
            version: Some((1, 3)),
            boot: Some([2; 16]),
            nonce: Some([3; 16]),
            share: Some([4; 16]),
            pair: Some([5; 8]),
            proof: Some([6; 16]),
            received: Some(0x0102_0304_0506_0708),
            held: Some(9),
            end: Some(CloseRecord { reason: 1, retry_after_ms: 2_000 }),
            probe: Some(()),
            busy: Some(()),
            same: Some(([7; 8], [8; 16])),
            merge: Some(([9; 8], (10, [13; 16]))),
            merged: Some(([11; 8], 12)),
            noise: Some(14),
        }
    }

    #[test]
    fn round_trips_whatever_is_there_and_whatever_follows() {
        for records in [Records::default(), full(), Records { held: Some(7), ..Records::default() }]
        {
            let mut block = records.encode();
            assert_eq!(Records::decode(&block), Some(records.clone()));
            block.extend_from_slice(&[0xAA; 20]);
            assert_eq!(Records::decode(&block), Some(records));
        }
    }

    #[test]
    fn every_cut_is_another_nodes_bytes() {
        let block = full().encode();
        for len in 0..block.len() {
            assert_eq!(Records::decode(&block[..len]), None, "cut at {len}");
        }
    }

    #[test]
    fn unknown_types_are_skipped_and_twice_or_misshapen_ones_refused() {
        let block =
            |records: &[u8]| [&MAGIC[..], &(records.len() as u16).to_be_bytes(), records].concat();
        let held = [8, 4, 0, 0, 0, 7];
        let known = Some(Records { held: Some(7), ..Records::default() });
        let unknown = [&[200, 3, 1, 2, 3][..], &held].concat();
        assert_eq!(Records::decode(&block(&unknown)), known);
        assert_eq!(Records::decode(&block(&held)), known);
        assert_eq!(Records::decode(&block(&[held, held].concat())), None);
        assert_eq!(Records::decode(&block(&[8, 3, 0, 0, 7])), None);
        assert_eq!(Records::decode(&block(&[8])), None);
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..50_000 {
            let mut block = full().encode();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(4..block.len());
                block[at] = random.u8(..);
            }
            Records::decode(&block);
        }
    }
}
