//! The TLV extension that two nodes of this crate speak on top of the Ratman protocol.
//!
//! An extension block follows the payload fields of a Hello and of an Ack, where a Ratman node
//! ignores it, and is the payload of a *control frame* (modes 40). No extension is sent to a node
//! whose Hello or Ack had none. All integers are big-endian.
//!
//! ```text
//! block    magic (4): 6e 6d 69 01 · length of the records in bytes (2) · records
//! record   type (1) · length of the value in bytes (1) · value
//! ```
//!
//! | type | name | value |
//! |---|---|---|
//! | 1 | version | lowest (1) and highest (1) extension version that the node supports |
//! | 2 | boot | instance id: 16 random bytes, drawn when the node started |
//! | 3 | nonce | 16 random bytes, drawn for this handshake |
//! | 4 | share | key share: 16 random bytes, the node's half of a new session secret |
//! | 5 | pair | 8 bytes: public name of the session that the dialer wants to resume |
//! | 6 | proof | 16 bytes: a MAC under the session secret, see `session_secret` |
//! | 7 | received | acknowledgement: router frames received over all links of the session (8) |
//! | 8 | held | microseconds (4) by which the acknowledgement in `received` was delayed |
//! | 9 | end | close: reason (1), retry-after in milliseconds (4); the sender closes after it |
//! | 10 | probe | ping, empty: requests `received` immediately, to check that the remote is alive |
//! | 11 | busy | empty: the sender is alive, but has paused reading because its router is slow |
//! | 12 | same | name (8) of a duplicate session of the two nodes, a MAC (16) under its secret |
//! | 13 | merge | name (8) of the session to end, count (8), a MAC (16) under its secret |
//! | 14 | merged | acknowledgement of `merge`: the same name (8), count (8) |
//! | 15 | noise | encryption capabilities, as bits (1), see `noise` |
//!
//! The counts in `merge` and `merged` are the frames of the named session that the sender received.
//!
//! Unknown types are skipped. A block that is truncated, has a known record of the wrong length or
//! has one twice is not an extension: the bytes are treated as those of a plain node.

use crate::proto::{Frame, FrameError, Id};

/// Modes of a control frame, whose payload is an extension block.
pub(crate) const CONTROL: u16 = 40;

/// The only extension version so far.
pub(crate) const RECORDS_VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"nmi\x01";

/// Generates [`Records`], its encoder and its decoder from one table.
macro_rules! records {
    ($($(#[doc = $doc:literal])+ $number:literal $name:ident: $kind:ty;)+) => {
        /// An extension block, each record of which is optional.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub(crate) struct Records {
            $($(#[doc = $doc])+ pub(crate) $name: Option<$kind>,)+
        }

        impl Records {
            /// The empty extension.
            pub(crate) const NONE: &'static Records = &Records { $($name: None,)+ };

            /// Encodes the block.
            pub(crate) fn encode(&self) -> Vec<u8> {
                let mut block = [&MAGIC[..], &[0, 0]].concat();
                $(if let Some(value) = &self.$name {
                    let value = value.write();
                    block.extend_from_slice(&[$number, value.len() as u8]);
                    block.extend_from_slice(&value);
                })+
                // All records together take a few hundred bytes.
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
    /// Lowest and highest extension version that the node supports.
    1 version: (u8, u8);
    /// Instance id: identifies one run of the node.
    2 boot: [u8; 16];
    /// Binds the proofs of this handshake to it.
    3 nonce: [u8; 16];
    /// The node's half of a new session secret.
    4 share: [u8; 16];
    /// The public name of the session to resume.
    5 pair: [u8; 8];
    /// Proves that the node knows the session secret.
    6 proof: [u8; 16];
    /// Acknowledges the frames received over all links of the session.
    7 received: u64;
    /// Microseconds by which `received` was delayed.
    8 held: u32;
    /// Why the sender closes, and when to reconnect.
    9 end: CloseRecord;
    /// Ping: requests an acknowledgement immediately.
    10 probe: ();
    /// The sender is alive, but has paused reading.
    11 busy: ();
    /// Names a duplicate session of the same two nodes, with a MAC.
    12 same: ([u8; 8], [u8; 16]);
    /// Merge request: the session to end, its count of received frames, and a MAC.
    13 merge: ([u8; 8], (u64, [u8; 16]));
    /// The reply to `merge`.
    14 merged: ([u8; 8], u64);
    /// Encryption capabilities of the sender.
    15 noise: u8;
}

impl Records {
    /// Decodes the block at the start of `bytes`. `None` if there is no valid one.
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

    /// Builds a control frame with this extension.
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

/// Why a node closes a link, and how long the remote should wait before it reconnects.
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
