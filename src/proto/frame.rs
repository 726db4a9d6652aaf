//! The carrier frame, version 1: section 2 of the wire format of Ratman.

mod build;
mod error;
mod header;
mod layout;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

use crate::proto::Id;
use layout::FIXED;

pub use build::FrameBuilder;
pub use error::FrameError;
pub(crate) use header::Header;

/// The only version of the carrier frame so far.
pub(crate) const VERSION: u8 = 1;

/// Whether the modes are reserved for the netmod: the router neither sends nor receives these
/// frames.
pub(crate) fn is_peering(modes: u16) -> bool {
    (32..=63).contains(&modes)
}

/// The recipient of a frame.
///
/// ```
/// use netmod_inet::{Frame, Id, Recipient};
///
/// let [me, them] = [1, 2].map(|byte| Id::from_bytes([byte; 32]));
/// let frame = Frame::builder(8, me).recipient(Recipient::Address(them)).build()?;
/// assert_eq!(frame.recipient(), Some(Recipient::Address(them)));
/// # Ok::<(), netmod_inet::FrameError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// One address.
    Address(Id),
    /// All listeners on a namespace.
    Namespace(Id),
}

/// The position of a frame in a message that spans several frames.
///
/// ```
/// use netmod_inet::SequenceId;
///
/// // The first of three frames.
/// let sequence_id = SequenceId { hash: [9; 32], num: 0, last: 2 };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceId {
    /// Hash of the message.
    pub hash: [u8; 32],
    /// Number of this frame.
    pub num: u8,
    /// Number of the last frame.
    pub last: u8,
}

/// A valid carrier frame: the unit that Ratman nodes exchange.
///
/// A `Frame` is always well-formed and at most [`Frame::MAX_LEN`] bytes long. It is cheap to clone,
/// and all clones share their bytes. The format is version 1 of Ratman's carrier frame: version,
/// modes, sender, optional recipient, optional sequence id, optional auxiliary data, optional
/// signature, payload length, payload.
///
/// ```
/// use netmod_inet::{Frame, Id};
///
/// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
/// assert_eq!(frame.len(), Frame::MIN_LEN + 5);
/// assert_eq!(Frame::parse(frame.as_bytes().to_vec())?, frame);
/// # Ok::<(), netmod_inet::FrameError>(())
/// ```
#[derive(Clone)]
pub struct Frame {
    bytes: Bytes,
    /// Size of the allocation that `bytes` keeps alive, or 0 if it is not known to be larger.
    pinned: usize,
}

impl Frame {
    /// Length of the smallest frame: a header without optional fields, and no payload.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).build()?;
    /// assert_eq!(frame.len(), Frame::MIN_LEN);
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub const MIN_LEN: usize = layout::MIN_LEN;
    /// Length of the largest frame: a header with every field, and the largest payload.
    ///
    /// ```
    /// assert_eq!(netmod_inet::Frame::MAX_LEN, 65_768);
    /// ```
    pub const MAX_LEN: usize = layout::MAX_LEN;
    /// Length of the largest payload.
    ///
    /// ```
    /// use netmod_inet::{Frame, Id};
    ///
    /// let builder = Frame::builder(8, Id::from_bytes([7; 32]));
    /// assert!(builder.payload(vec![0; Frame::MAX_PAYLOAD + 1]).build().is_err());
    /// ```
    pub const MAX_PAYLOAD: usize = layout::MAX_PAYLOAD;

    /// Parses the carrier frame at the start of `bytes`.
    ///
    /// Bytes after the payload are cut off, as Ratman nodes do. Nothing is copied.
    ///
    /// # Errors
    ///
    /// Returns the fault of the first invalid field.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// let mut bytes = frame.as_bytes().to_vec();
    /// bytes.extend(b"what follows");
    /// assert_eq!(Frame::parse(bytes)?, frame);
    /// assert!(Frame::parse("too short").is_err());
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Frame, FrameError> {
        let mut bytes = bytes.into();
        let header = Header::parse(&bytes)?;
        if bytes[0] != VERSION {
            return Err(FrameError::Version(bytes[0]));
        }
        bytes.truncate(header.frame_len());
        Ok(Frame { bytes, pinned: 0 })
    }

    /// Creates a frame from a slice of a larger buffer of `pinned` bytes, which it keeps alive.
    ///
    /// The caller must have checked with [`Header::parse`], and by the version byte, that `bytes`
    /// are a frame.
    pub(crate) fn from_slice(bytes: Bytes, pinned: usize) -> Frame {
        Frame { bytes, pinned }
    }

    /// The modes, which give the type of the payload.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.modes(), 8);
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn modes(&self) -> u16 {
        u16::from_be_bytes([self.bytes[1], self.bytes[2]])
    }

    /// The id of the sender.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.sender(), Id::from_bytes([7; 32]));
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn sender(&self) -> Id {
        self.id_at(3)
    }

    /// The recipient, if the frame has one.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.recipient(), None);
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn recipient(&self) -> Option<Recipient> {
        match self.bytes[FIXED] {
            1 => Some(Recipient::Address(self.id_at(FIXED + 1))),
            2 => Some(Recipient::Namespace(self.id_at(FIXED + 1))),
            _ => None,
        }
    }

    /// The position of the frame in its message, if it is part of one.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.sequence_id(), None);
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn sequence_id(&self) -> Option<SequenceId> {
        let field = &self.bytes[self.header().sequence_id];
        let hash = field.get(1..)?.first_chunk().copied()?;
        Some(SequenceId { hash, num: field[33], last: field[34] })
    }

    /// The auxiliary data, if present.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).auxiliary_data([5; 64]).build()?;
    /// assert_eq!(frame.auxiliary_data(), Some(&[5; 64]));
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn auxiliary_data(&self) -> Option<&[u8; 64]> {
        self.bytes[self.header().auxiliary_data].first_chunk()
    }

    /// The signature, if present.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).signature([5; 64]).build()?;
    /// assert_eq!(frame.signature(), Some(&[5; 64]));
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn signature(&self) -> Option<&[u8; 64]> {
        self.bytes[self.header().signature].first_chunk()
    }

    /// Length of the header, which is everything before the payload, in bytes: 41..=233.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.header_len(), 41);
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn header_len(&self) -> usize {
        self.header().payload.start
    }

    /// The payload: 0..=65 535 bytes.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.payload(), b"hello");
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.header().payload]
    }

    /// The payload as `Bytes`, which share the memory of the frame.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// let payload: bytes::Bytes = frame.payload_bytes();
    /// assert_eq!(payload, "hello");
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn payload_bytes(&self) -> Bytes {
        self.bytes.slice(self.header().payload)
    }

    /// The encoded frame, without its length prefix.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.as_bytes()[0], 1, "the version");
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The encoded frame, without its length prefix.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.into_bytes().len(), 41 + 5);
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Length of the encoded frame in bytes: 41..=65 768.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.len(), 41 + 5);
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    #[allow(clippy::len_without_is_empty)] // a frame is never empty
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Copies the frame into an allocation of its own if it keeps a much larger one alive.
    ///
    /// Inbound frames are slices of the read buffer, which is at most 256 KiB. A frame that is kept
    /// for long should not pin that buffer. Frames in a queue of the endpoint are compacted
    /// automatically.
    ///
    /// ```
    /// # async fn keep(endpoint: netmod_inet::InetEndpoint) -> Result<(), netmod_inet::Closed> {
    /// let (_, frame) = endpoint.next().await?;
    /// let kept_for_hours = frame.compact();
    /// # Ok(()) }
    /// ```
    pub fn compact(self) -> Frame {
        if self.pinned <= 2 * self.bytes.len() {
            return self;
        }
        Frame { bytes: Bytes::copy_from_slice(&self.bytes), pinned: 0 }
    }

    fn header(&self) -> Header {
        // Cannot fail: the bytes were checked when the frame was created. In case of a bug, the
        // default header yields empty fields instead of a panic.
        Header::parse(&self.bytes).unwrap_or_default()
    }

    fn id_at(&self, at: usize) -> Id {
        Id::read(&self.bytes[at..]).unwrap_or(Id::from_bytes([0; 32]))
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Frame) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Frame {}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("modes", &self.modes())
            .field("sender", &self.sender())
            .field("recipient", &self.recipient())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
