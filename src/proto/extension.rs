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
//! | 2 | instance_id | 16 random bytes, drawn when the node started |
//! | 3 | nonce | 16 random bytes, drawn for this handshake |
//! | 4 | key_share | 16 random bytes, the node's half of a new session secret |
//! | 5 | session | 8 bytes: public name of the session that the dialer wants to resume |
//! | 6 | proof | 16 bytes: a MAC under the session secret, see `session_secret` |
//! | 7 | ack | router frames received over all links of the session (8) |
//! | 8 | ack_delay | microseconds (4) by which `ack` was delayed |
//! | 9 | close | reason (1), retry-after in milliseconds (4); the sender closes after it |
//! | 10 | ping | empty: requests `ack` immediately, to check that the remote is alive |
//! | 11 | paused | empty: the sender is alive, but does not read: its memory for strangers is used up |
//! | 12 | duplicate | name (8) of a duplicate session of both nodes, a MAC (16) under its secret |
//! | 13 | merge | name (8) of the session to end, count (8), a MAC (16) under its secret |
//! | 14 | merge_ack | reply to `merge`: the same name (8), count (8) |
//! | 15 | noise | encryption capabilities, as bits (1), see `noise` |
//! | 16 | credit | offset (8) below which the receiver of the record may begin a frame |
//!
//! Offsets count what the router frames of a session cost, over all its links: each its length with
//! the prefix, and 64 bytes. Frames that are sent again keep their offsets. The credit never
//! decreases during a session. A sender that begins a frame at an offset of the credit or more has
//! its link ended; the frame may end beyond the credit.
//!
//! The counts in `merge` and `merge_ack` are the frames of the named session that the sender
//! received.
//!
//! Unknown types are skipped. A block that is truncated, has a known record of the wrong length or
//! has one twice is not an extension: the bytes are treated as those of a plain node.

use crate::proto::session_values::{InstanceId, KeyShare, Nonce, Proof, SessionName};
use crate::proto::{Frame, FrameError, Id};

/// Modes of a control frame, whose payload is an extension block.
pub(crate) const CONTROL: u16 = 40;

/// The only extension version so far.
pub(crate) const EXTENSION_VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"nmi\x01";

/// Generates [`Extension`], its encoder and its decoder from one table.
macro_rules! extension {
    ($($(#[doc = $doc:literal])+ $number:literal $name:ident: $kind:ty;)+) => {
        /// An extension block, each record of which is optional.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub(crate) struct Extension {
            $($(#[doc = $doc])+ pub(crate) $name: Option<$kind>,)+
        }

        impl Extension {
            /// The empty extension.
            pub(crate) const NONE: &'static Extension = &Extension { $($name: None,)+ };

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

extension! {
    /// Lowest and highest extension version that the node supports.
    1 version: (u8, u8);
    /// Instance id: identifies one run of the node.
    2 instance_id: InstanceId;
    /// Binds the proofs of this handshake to it.
    3 nonce: Nonce;
    /// The node's half of a new session secret.
    4 key_share: KeyShare;
    /// The public name of the session to resume.
    5 session: SessionName;
    /// Proves that the node knows the session secret.
    6 proof: Proof;
    /// Acknowledges the frames received over all links of the session.
    7 ack: u64;
    /// Microseconds by which `ack` was delayed.
    8 ack_delay: u32;
    /// Why the sender closes, and when to reconnect.
    9 close: CloseRecord;
    /// Ping: requests an acknowledgement immediately.
    10 ping: ();
    /// The sender is alive, but has paused reading.
    11 paused: ();
    /// Names a duplicate session of the same two nodes, with a MAC.
    12 duplicate: (SessionName, Proof);
    /// Merge request: the session to end, its count of received frames, and a MAC.
    13 merge: (SessionName, (u64, Proof));
    /// The reply to `merge`.
    14 merge_ack: (SessionName, u64);
    /// Encryption capabilities of the sender.
    15 noise: u8;
    /// Offset of the session below which the receiver of the record may begin a frame.
    16 credit: u64;
}

impl Extension {
    /// Decodes the block at the start of `bytes`. `None` if there is no valid one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Extension> {
        let (len, rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
        let mut rest = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        let mut extension = Extension::default();
        while let Some((&[number, len], values)) = rest.split_first_chunk() {
            let (value, next) = values.split_at_checked(usize::from(len))?;
            extension.put(number, value)?;
            rest = next;
        }
        rest.is_empty().then_some(extension)
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

/// Implements [`Value`] for newtypes over byte arrays.
macro_rules! byte_array_values {
    ($($name:ident)+) => {$(
        impl Value for $name {
            fn write(&self) -> Vec<u8> {
                self.as_bytes().to_vec()
            }

            fn read(bytes: &[u8]) -> Option<$name> {
                bytes.try_into().ok()
            }
        }
    )+};
}

byte_array_values! { InstanceId Nonce KeyShare Proof SessionName }

impl Value for () {
    fn write(&self) -> Vec<u8> {
        Vec::new()
    }

    fn read(bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }
}

impl<T: Value> Value for (SessionName, T) {
    fn write(&self) -> Vec<u8> {
        [&self.0.as_bytes()[..], &self.1.write()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (name, rest) = bytes.split_first_chunk::<8>()?;
        Some(((*name).into(), T::read(rest)?))
    }
}

impl Value for (u64, Proof) {
    fn write(&self) -> Vec<u8> {
        [self.0.write(), self.1.write()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*number), Proof::read(rest)?))
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
        bytes.try_into().ok().map(|[bits]: [u8; 1]| bits)
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
        bytes.try_into().ok().map(|[low, high]: [u8; 2]| (low, high))
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

    fn full() -> Extension {
        Extension {
            version: Some((1, 3)),
            instance_id: Some([2; 16].into()),
            nonce: Some([3; 16].into()),
            key_share: Some([4; 16].into()),
            session: Some([5; 8].into()),
            proof: Some([6; 16].into()),
            ack: Some(0x0102_0304_0506_0708),
            ack_delay: Some(9),
            close: Some(CloseRecord { reason: 1, retry_after_ms: 2_000 }),
            ping: Some(()),
            paused: Some(()),
            duplicate: Some(([7; 8].into(), [8; 16].into())),
            merge: Some(([9; 8].into(), (10, [13; 16].into()))),
            merge_ack: Some(([11; 8].into(), 12)),
            noise: Some(14),
            credit: Some(u64::MAX),
        }
    }

    #[test]
    fn round_trips_with_any_records_and_trailing_bytes() {
        for extension in
            [Extension::default(), full(), Extension { ack_delay: Some(7), ..Extension::default() }]
        {
            let mut block = extension.encode();
            assert_eq!(Extension::decode(&block), Some(extension.clone()));
            block.extend_from_slice(&[0xAA; 20]);
            assert_eq!(Extension::decode(&block), Some(extension));
        }
    }

    #[test]
    fn a_truncated_block_is_no_extension() {
        let block = full().encode();
        for len in 0..block.len() {
            assert_eq!(Extension::decode(&block[..len]), None, "cut at {len}");
        }
    }

    #[test]
    fn unknown_types_are_skipped_and_repeated_or_malformed_ones_refused() {
        let block =
            |records: &[u8]| [&MAGIC[..], &(records.len() as u16).to_be_bytes(), records].concat();
        let ack_delay = [8, 4, 0, 0, 0, 7];
        let known = Some(Extension { ack_delay: Some(7), ..Extension::default() });
        let unknown = [&[200, 3, 1, 2, 3][..], &ack_delay].concat();
        assert_eq!(Extension::decode(&block(&unknown)), known);
        assert_eq!(Extension::decode(&block(&ack_delay)), known);
        assert_eq!(Extension::decode(&block(&[ack_delay, ack_delay].concat())), None);
        assert_eq!(Extension::decode(&block(&[8, 3, 0, 0, 7])), None);
        assert_eq!(Extension::decode(&block(&[8])), None);
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..50_000 {
            let mut block = full().encode();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(4..block.len());
                block[at] = random.u8(..);
            }
            Extension::decode(&block);
        }
    }
}
