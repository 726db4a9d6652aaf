//! The carrier frame, version 1: section 2 of the wire format of Ratman.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::Id;

/// The only version of the carrier frame there is.
pub(crate) const VERSION: u8 = 1;

/// What stands in front of the recipient: version, modes, sender.
const FIXED: usize = 1 + 2 + 32;

/// Lengths of the optional fields where they are present; an absent one is the byte `00`.
const RECIPIENT: usize = 1 + 32;
const SEQUENCE_ID: usize = 1 + 32 + 2;
const BLOCK: usize = 64;

/// The modes that belong to this crate: the router neither sends nor receives them.
pub(crate) fn is_peering(modes: u16) -> bool {
    (32..=63).contains(&modes)
}

/// Whom a frame is for.
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
    /// All who listen on a namespace.
    Namespace(Id),
}

/// The place of a frame among those that carry one message.
///
/// ```
/// use netmod_inet::SequenceId;
///
/// // The first of three frames.
/// let place = SequenceId { hash: [9; 32], num: 0, last: 2 };
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

/// One valid carrier frame: what Ratman nodes exchange.
///
/// A `Frame` that exists is well-formed and at most [`Frame::MAX_LEN`] bytes long. It is cheap to
/// clone, and all clones share their bytes. The format is version 1 of Ratman's carrier frame:
/// version, modes, sender, optional recipient, optional sequence id, optional auxiliary data,
/// optional signature, payload length, payload.
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
    /// Size of the allocation that `bytes` keeps alive, as far as it is known to be larger.
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
    pub const MIN_LEN: usize = 41;
    /// Length of the largest frame: a header with every field, and the largest payload.
    ///
    /// ```
    /// assert_eq!(netmod_inet::Frame::MAX_LEN, 65_768);
    /// ```
    pub const MAX_LEN: usize = 233 + Self::MAX_PAYLOAD;
    /// Length of the largest payload.
    ///
    /// ```
    /// use netmod_inet::{Frame, Id};
    ///
    /// let builder = Frame::builder(8, Id::from_bytes([7; 32]));
    /// assert!(builder.payload(vec![0; Frame::MAX_PAYLOAD + 1]).build().is_err());
    /// ```
    pub const MAX_PAYLOAD: usize = 65_535;

    /// Checks that `bytes` begin with a carrier frame, and takes it.
    ///
    /// What follows the payload is cut off, as a Ratman node does. Nothing is copied.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the first field that is.
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

    /// Starts a frame with these modes from this sender.
    ///
    /// Modes say what the payload is: 4..=7 announcements, 8 a data block, 9 a manifest, 64..=127
    /// between routers, 128 and more anycast. The modes 32..=63 are the netmod's own, and an
    /// endpoint refuses to send them.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.payload(), b"hello");
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn builder(modes: u16, sender: Id) -> FrameBuilder {
        FrameBuilder {
            modes,
            sender,
            recipient: None,
            sequence_id: None,
            auxiliary_data: None,
            signature: None,
            payload: Bytes::new(),
        }
    }

    /// A frame out of a larger buffer of `pinned` bytes, which it keeps alive.
    ///
    /// The caller has checked with [`Header::parse`] and the version that `bytes` begin with one.
    pub(crate) fn slice_of(bytes: Bytes, pinned: usize) -> Frame {
        Frame { bytes, pinned }
    }

    /// What the payload is.
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

    /// Who made the frame.
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

    /// Whom the frame is for, if it says so.
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

    /// The frame's place in its message, if it has one.
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

    /// The auxiliary data, if there are any.
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

    /// The signature, if there is one.
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

    /// Length of everything in front of the payload, in bytes: 41..=233.
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

    /// The payload, sharing the bytes of the frame.
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

    /// The whole frame, without the length that goes before it on the wire.
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

    /// The whole frame, without the length that goes before it on the wire.
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

    /// Length of the whole frame in bytes: 41..=65 768.
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

    /// The same frame in an allocation of its own, if it kept a much larger one alive.
    ///
    /// Frames that arrive are slices of the buffer they were read into, at most 256 KiB. A frame
    /// that is kept for long should not pin that buffer; frames that wait in a queue of the
    /// endpoint go through here by themselves.
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
        // Parsing a frame that was checked when it was made cannot fail; the empty header stands
        // for a bug and yields empty fields instead of a panic.
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

/// Where the fields of a frame stand; an absent field has the length of its `00` byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    sequence_id: Range<usize>,
    auxiliary_data: Range<usize>,
    signature: Range<usize>,
    payload: Range<usize>,
}

impl Header {
    /// Reads the shape of the frame that `bytes` begin with, whatever its version byte says.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Header, FrameError> {
        if bytes.len() < Frame::MIN_LEN {
            return Err(FrameError::TooShort(bytes.len()));
        }
        if bytes.len() > Frame::MAX_LEN {
            return Err(FrameError::TooLong(bytes.len()));
        }
        if let Some([0, 0, 0, 0, high, low]) = bytes[FIXED..].first_chunk() {
            // None of the optional fields: most frames of a busy link are like this.
            let fixed = |at: usize| FIXED + at..FIXED + at + 1;
            let (sequence_id, auxiliary_data, signature) = (fixed(1), fixed(2), fixed(3));
            let payload = payload(bytes, Frame::MIN_LEN, [*high, *low])?;
            return Ok(Header { sequence_id, auxiliary_data, signature, payload });
        }
        let recipient = match bytes[FIXED] {
            0 => 1,
            1 | 2 => RECIPIENT,
            tag => return Err(FrameError::RecipientTag(tag)),
        };
        let sequence_id = field(bytes, FIXED + recipient, SEQUENCE_ID)?;
        let auxiliary_data = field(bytes, sequence_id.end, BLOCK)?;
        let signature = field(bytes, auxiliary_data.end, BLOCK)?;
        let start = signature.end + 2;
        let Some(&[high, low]) = bytes.get(signature.end..start) else {
            return Err(FrameError::HeaderCut(bytes.len()));
        };
        let payload = payload(bytes, start, [high, low])?;
        Ok(Header { sequence_id, auxiliary_data, signature, payload })
    }

    /// Length of the frame: header and payload.
    pub(crate) fn frame_len(&self) -> usize {
        self.payload.end
    }
}

/// The payload at `start`, whose length was declared so.
fn payload(bytes: &[u8], start: usize, len: [u8; 2]) -> Result<Range<usize>, FrameError> {
    let declared = usize::from(u16::from_be_bytes(len));
    match bytes.len() - start < declared {
        true => Err(FrameError::PayloadCut { declared, present: bytes.len() - start }),
        false => Ok(start..start + declared),
    }
}

/// The optional field at `start`: the one byte `00`, or `full` bytes.
fn field(bytes: &[u8], start: usize, full: usize) -> Result<Range<usize>, FrameError> {
    let len = match bytes.get(start) {
        None => return Err(FrameError::HeaderCut(bytes.len())),
        Some(0) => 1,
        Some(_) => full,
    };
    if start + len > bytes.len() {
        return Err(FrameError::HeaderCut(bytes.len()));
    }
    Ok(start..start + len)
}

/// Makes a [`Frame`]; see [`Frame::builder`].
///
/// ```
/// # use netmod_inet::{Frame, Id};
/// let frame = Frame::builder(8, Id::from_bytes([7; 32]))
///     .sequence_id(netmod_inet::SequenceId { hash: [9; 32], num: 0, last: 2 })
///     .payload("the first of three")
///     .build()?;
/// assert_eq!(frame.sequence_id().map(|place| place.last), Some(2));
/// # Ok::<(), netmod_inet::FrameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrameBuilder {
    modes: u16,
    sender: Id,
    recipient: Option<Recipient>,
    sequence_id: Option<SequenceId>,
    auxiliary_data: Option<[u8; 64]>,
    signature: Option<[u8; 64]>,
    payload: Bytes,
}

impl FrameBuilder {
    /// Sets whom the frame is for. Default: nobody in particular.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id, Recipient};
    /// let to = Recipient::Namespace(Id::from_bytes([2; 32]));
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).recipient(to).build()?;
    /// assert_eq!(frame.recipient(), Some(to));
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn recipient(mut self, recipient: Recipient) -> FrameBuilder {
        self.recipient = Some(recipient);
        self
    }

    /// Sets the frame's place in its message. Default: none.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id, SequenceId};
    /// let place = SequenceId { hash: [9; 32], num: 0, last: 2 };
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).sequence_id(place).build()?;
    /// assert_eq!(frame.sequence_id(), Some(place));
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn sequence_id(mut self, sequence_id: SequenceId) -> FrameBuilder {
        self.sequence_id = Some(sequence_id);
        self
    }

    /// Sets the auxiliary data, whose first byte must not be 0. Default: none.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let builder = Frame::builder(8, Id::from_bytes([7; 32]));
    /// assert!(builder.clone().auxiliary_data([5; 64]).build().is_ok());
    /// assert!(builder.auxiliary_data([0; 64]).build().is_err(), "that would be none");
    /// ```
    pub fn auxiliary_data(mut self, data: [u8; 64]) -> FrameBuilder {
        self.auxiliary_data = Some(data);
        self
    }

    /// Sets the signature, whose first byte must not be 0. Default: none.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).signature([5; 64]).build()?;
    /// assert!(frame.signature().is_some());
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn signature(mut self, signature: [u8; 64]) -> FrameBuilder {
        self.signature = Some(signature);
        self
    }

    /// Sets the payload, of at most 65 535 bytes. Default: empty.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload(vec![1, 2, 3]).build()?;
    /// assert_eq!(frame.payload(), [1, 2, 3]);
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn payload(mut self, payload: impl Into<Bytes>) -> FrameBuilder {
        self.payload = payload.into();
        self
    }

    /// Encodes the frame.
    ///
    /// # Errors
    ///
    /// [`FrameError::PayloadTooLong`], and [`FrameError::LeadingZero`] for auxiliary data or a
    /// signature that begin with 0: on the wire that byte says that the field is absent.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let empty = Frame::builder(8, Id::from_bytes([7; 32])).build()?;
    /// assert_eq!(empty.len(), Frame::MIN_LEN);
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn build(self) -> Result<Frame, FrameError> {
        let payload_len = u16::try_from(self.payload.len())
            .map_err(|_| FrameError::PayloadTooLong(self.payload.len()))?;
        // Exactly as large as the frame: it may wait in a queue that counts its bytes.
        let mut bytes = Vec::with_capacity(self.header_len() + self.payload.len());
        bytes.extend_from_slice(&[VERSION]);
        bytes.extend_from_slice(&self.modes.to_be_bytes());
        bytes.extend_from_slice(self.sender.as_bytes());
        put_recipient(&mut bytes, self.recipient);
        put_sequence_id(&mut bytes, self.sequence_id);
        put_block(&mut bytes, self.auxiliary_data, "auxiliary data")?;
        put_block(&mut bytes, self.signature, "signature")?;
        bytes.extend_from_slice(&payload_len.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        Ok(Frame { bytes: bytes.into(), pinned: 0 })
    }

    fn header_len(&self) -> usize {
        let field = |is_present, len| if is_present { len } else { 1 };
        let recipient = field(self.recipient.is_some(), RECIPIENT);
        let sequence_id = field(self.sequence_id.is_some(), SEQUENCE_ID);
        let auxiliary_data = field(self.auxiliary_data.is_some(), BLOCK);
        let signature = field(self.signature.is_some(), BLOCK);
        FIXED + recipient + sequence_id + auxiliary_data + signature + 2
    }
}

fn put_recipient(bytes: &mut Vec<u8>, recipient: Option<Recipient>) {
    let (tag, id) = match recipient {
        None => (0, None),
        Some(Recipient::Address(id)) => (1, Some(id)),
        Some(Recipient::Namespace(id)) => (2, Some(id)),
    };
    bytes.extend_from_slice(&[tag]);
    bytes.extend_from_slice(id.as_ref().map_or(&[], |id| id.as_bytes()));
}

fn put_sequence_id(bytes: &mut Vec<u8>, sequence_id: Option<SequenceId>) {
    let Some(SequenceId { hash, num, last }) = sequence_id else {
        return bytes.extend_from_slice(&[0]);
    };
    bytes.extend_from_slice(&[1]);
    bytes.extend_from_slice(&hash);
    bytes.extend_from_slice(&[num, last]);
}

fn put_block(
    bytes: &mut Vec<u8>,
    block: Option<[u8; 64]>,
    name: &'static str,
) -> Result<(), FrameError> {
    match block {
        None => bytes.extend_from_slice(&[0]),
        Some([0, ..]) => return Err(FrameError::LeadingZero(name)),
        Some(block) => bytes.extend_from_slice(&block),
    }
    Ok(())
}

/// Why bytes are no carrier frame, or fields cannot be made into one.
///
/// ```
/// use netmod_inet::{Frame, FrameError};
///
/// assert_eq!(Frame::parse("short").unwrap_err(), FrameError::TooShort(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// This many bytes are less than the smallest frame.
    TooShort(usize),
    /// This many bytes are more than the largest frame.
    TooLong(usize),
    /// A version other than 1, in an otherwise well-formed frame.
    Version(u8),
    /// A tag of the recipient other than 0, 1 and 2.
    RecipientTag(u8),
    /// The bytes, this many, end inside the header.
    HeaderCut(usize),
    /// The header declares more payload than there is.
    PayloadCut {
        /// Length that the header declares, in bytes.
        declared: usize,
        /// Length of what is there, in bytes.
        present: usize,
    },
    /// A payload of this many bytes does not fit into a frame.
    PayloadTooLong(usize),
    /// The named field begins with 0, which would say that it is absent.
    LeadingZero(&'static str),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooShort(len) => {
                write!(f, "{len} bytes are no carrier frame: the smallest has {}", Frame::MIN_LEN)
            }
            FrameError::TooLong(len) => {
                write!(f, "{len} bytes are no carrier frame: the largest has {}", Frame::MAX_LEN)
            }
            FrameError::Version(version) => write!(f, "unknown carrier frame version {version}"),
            FrameError::RecipientTag(tag) => write!(f, "unknown recipient tag {tag}"),
            FrameError::HeaderCut(len) => write!(f, "the header is cut off after {len} bytes"),
            FrameError::PayloadCut { declared, present } => {
                write!(f, "payload of {declared} bytes declared, {present} present")
            }
            FrameError::PayloadTooLong(len) => {
                write!(f, "payload of {len} bytes is over {}", Frame::MAX_PAYLOAD)
            }
            FrameError::LeadingZero(field) => write!(f, "the {field} must not begin with 0"),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame whose shape and content follow from `random`.
    fn any_frame(random: &mut fastrand::Rng) -> FrameBuilder {
        let mut id = || Id::from_bytes(std::array::from_fn(|_| random.u8(..)));
        let (sender, other) = (id(), id());
        let mut builder = Frame::builder(random.u16(..), sender);
        match random.u8(..3) {
            0 => {}
            1 => builder = builder.recipient(Recipient::Address(other)),
            _ => builder = builder.recipient(Recipient::Namespace(other)),
        }
        if random.bool() {
            let hash = std::array::from_fn(|_| random.u8(..));
            let (num, last) = (random.u8(..), random.u8(..));
            builder = builder.sequence_id(SequenceId { hash, num, last });
        }
        if random.bool() {
            builder = builder.auxiliary_data(std::array::from_fn(|_| random.u8(1..)));
        }
        if random.bool() {
            builder = builder.signature(std::array::from_fn(|_| random.u8(1..)));
        }
        let len = random.usize(..300);
        let payload = std::iter::repeat_with(|| random.u8(..)).take(len);
        builder.payload(payload.collect::<Vec<u8>>())
    }

    #[test]
    fn ten_thousand_round_trips() {
        let seed = 0x6e65_746d;
        let mut random = fastrand::Rng::with_seed(seed);
        for case in 0..10_000 {
            let builder = any_frame(&mut random);
            let frame = builder.clone().build().unwrap();
            let mut wire = frame.as_bytes().to_vec();
            wire.resize(wire.len() + random.usize(..9), 0xAA);
            let read = Frame::parse(wire).unwrap();
            assert_eq!(read, frame, "seed {seed} case {case}");
            assert_eq!(builder.header_len(), frame.header_len(), "seed {seed} case {case}");
            assert_eq!(read.modes(), builder.modes);
            assert_eq!(read.sender(), builder.sender);
            assert_eq!(read.recipient(), builder.recipient);
            assert_eq!(read.sequence_id(), builder.sequence_id);
            assert_eq!(read.auxiliary_data(), builder.auxiliary_data.as_ref());
            assert_eq!(read.signature(), builder.signature.as_ref());
            assert_eq!(read.payload(), builder.payload);
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let frame = any_frame(&mut random).build().unwrap();
            for len in 0..frame.len() {
                assert!(Frame::parse(frame.as_bytes()[..len].to_vec()).is_err());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..100_000 {
            let len = random.usize(..400);
            let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
            if let Some(tag) = bytes.get_mut(FIXED) {
                *tag %= 4; // or nearly none would get past the recipient
            }
            if let Ok(frame) = Frame::parse(bytes) {
                let _ = (frame.sequence_id(), frame.auxiliary_data(), frame.signature());
                assert!(frame.payload().len() <= frame.len());
            }
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload("abc").build().unwrap();
        let changed = |at: usize, to: u8| {
            let mut bytes = frame.as_bytes().to_vec();
            bytes[at] = to;
            Frame::parse(bytes).unwrap_err()
        };
        assert_eq!(changed(0, 2), FrameError::Version(2));
        assert_eq!(changed(35, 3), FrameError::RecipientTag(3));
        assert_eq!(changed(40, 4), FrameError::PayloadCut { declared: 4, present: 3 });
        let builder = Frame::builder(8, Id::from_bytes([1; 32]));
        let error = builder.clone().payload(vec![0; 65_536]).build().unwrap_err();
        assert_eq!(error, FrameError::PayloadTooLong(65_536));
        let error = builder.signature([0; 64]).build().unwrap_err();
        assert_eq!(error, FrameError::LeadingZero("signature"));
    }

    #[test]
    fn a_small_slice_lets_go_of_a_large_buffer() {
        let frame = Frame::builder(8, Id::from_bytes([1; 32])).build().unwrap();
        let slice = Frame::slice_of(frame.bytes.clone(), 65_536);
        assert_ne!(slice.compact().as_bytes().as_ptr(), frame.as_bytes().as_ptr());
        assert_eq!(frame.clone().compact().as_bytes().as_ptr(), frame.as_bytes().as_ptr());
    }
}
