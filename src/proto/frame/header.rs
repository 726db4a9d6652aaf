//! Finds the fields of a carrier frame.

use std::ops::Range;

use crate::proto::frame::error::FrameError;
use crate::proto::frame::layout::{BLOCK, FIXED, MAX_LEN, MIN_LEN, RECIPIENT, SEQUENCE_ID};

/// The byte ranges of the fields of a frame. An absent field covers its `00` byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) sequence_id: Range<usize>,
    pub(crate) auxiliary_data: Range<usize>,
    pub(crate) signature: Range<usize>,
    pub(crate) payload: Range<usize>,
}

impl Header {
    /// Parses the layout of the frame at the start of `bytes`, regardless of its version byte.
    // Inlined, since most callers need one of the ranges.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Header, FrameError> {
        if bytes.len() < MIN_LEN {
            return Err(FrameError::TooShort(bytes.len()));
        }
        if bytes.len() > MAX_LEN {
            return Err(FrameError::TooLong(bytes.len()));
        }
        if let Some([0, 0, 0, 0, high, low]) = bytes[FIXED..].first_chunk() {
            // Fast path: no optional fields, as in most frames of a busy link.
            let fixed = |at: usize| FIXED + at..FIXED + at + 1;
            let (sequence_id, auxiliary_data, signature) = (fixed(1), fixed(2), fixed(3));
            let payload = payload(bytes, MIN_LEN, [*high, *low])?;
            return Ok(Header { sequence_id, auxiliary_data, signature, payload });
        }
        Header::parse_optional(bytes)
    }

    /// The same for a frame of a valid length that may have optional fields.
    fn parse_optional(bytes: &[u8]) -> Result<Header, FrameError> {
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

    /// Length of the frame, header and payload, in bytes.
    pub(crate) fn frame_len(&self) -> usize {
        self.payload.end
    }
}

/// The range of the payload at `start`, with its declared length.
#[inline]
fn payload(bytes: &[u8], start: usize, len: [u8; 2]) -> Result<Range<usize>, FrameError> {
    let declared = usize::from(u16::from_be_bytes(len));
    match bytes.len() - start < declared {
        true => Err(FrameError::PayloadCut { declared, present: bytes.len() - start }),
        false => Ok(start..start + declared),
    }
}

/// The range of the optional field at `start`: the single byte `00`, or `full` bytes.
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
