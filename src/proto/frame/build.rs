//! The builder of carrier frames.

use bytes::Bytes;

use crate::proto::Id;
use crate::proto::frame::layout::{BLOCK, FIXED, RECIPIENT, SEQUENCE_ID};
use crate::proto::frame::{Frame, FrameError, Recipient, SequenceId, VERSION};

/// Builder of a [`Frame`]; see [`Frame::builder`].
///
/// ```
/// # use netmod_inet::{Frame, Id};
/// let frame = Frame::builder(8, Id::from_bytes([7; 32]))
///     .sequence_id(netmod_inet::SequenceId { hash: [9; 32], num: 0, last: 2 })
///     .payload("the first of three")
///     .build()?;
/// assert_eq!(frame.sequence_id().map(|sequence_id| sequence_id.last), Some(2));
/// # Ok::<(), netmod_inet::FrameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrameBuilder {
    pub(crate) modes: u16,
    pub(crate) sender: Id,
    pub(crate) recipient: Option<Recipient>,
    pub(crate) sequence_id: Option<SequenceId>,
    pub(crate) auxiliary_data: Option<[u8; 64]>,
    pub(crate) signature: Option<[u8; 64]>,
    pub(crate) payload: Bytes,
}

impl Frame {
    /// Creates a builder for a frame with these modes and this sender.
    ///
    /// The modes give the type of the payload: 4..=7 announcements, 8 a data block, 9 a manifest,
    /// 64..=127 between routers, 128 and more anycast. The modes 32..=63 are reserved for the
    /// netmod, and an endpoint refuses to send them.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id};
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload("hello").build()?;
    /// assert_eq!(frame.payload(), b"hello");
    /// # Ok::<(), netmod_inet::FrameError>(())
    /// ```
    pub fn builder(modes: u16, sender: Id) -> FrameBuilder {
        FrameBuilder::new(modes, sender)
    }
}

impl FrameBuilder {
    pub(crate) fn new(modes: u16, sender: Id) -> FrameBuilder {
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

    /// Sets the recipient. Default: none.
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

    /// Sets the position of the frame in its message. Default: none.
    ///
    /// ```
    /// # use netmod_inet::{Frame, Id, SequenceId};
    /// let sequence_id = SequenceId { hash: [9; 32], num: 0, last: 2 };
    /// let frame = Frame::builder(8, Id::from_bytes([7; 32])).sequence_id(sequence_id).build()?;
    /// assert_eq!(frame.sequence_id(), Some(sequence_id));
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
    /// [`FrameError::PayloadTooLong`], and [`FrameError::LeadingZero`] if the auxiliary data or the
    /// signature start with 0: on the wire that byte marks the field as absent.
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
        // Exact capacity: the frame may wait in a queue that accounts for its bytes.
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

    pub(crate) fn header_len(&self) -> usize {
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
