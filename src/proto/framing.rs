//! Length-prefixed framing: a 4-byte big-endian length precedes every carrier frame.

use std::fmt;

use crate::proto::{Frame, FrameError};

/// Size of the length prefix, in bytes.
pub(crate) const LENGTH_PREFIX: usize = 4;

/// Encodes the length prefix of a frame of `len` bytes.
pub(crate) fn encode_length(len: usize) -> [u8; LENGTH_PREFIX] {
    // A frame has at most 65 768 bytes, so the cast is lossless.
    (len as u32).to_be_bytes()
}

/// Decodes the length of the message at the start of `bytes`, prefix included.
///
/// `None` while the prefix is incomplete. The message itself need not have arrived yet.
#[inline]
pub(crate) fn peek_len(bytes: &[u8]) -> Result<Option<usize>, FramingError> {
    let Some(prefix) = bytes.first_chunk() else { return Ok(None) };
    let declared = u32::from_be_bytes(*prefix);
    match usize::try_from(declared) {
        Ok(len) if (Frame::MIN_LEN..=Frame::MAX_LEN).contains(&len) => {
            Ok(Some(LENGTH_PREFIX + len))
        }
        _ => Err(FramingError::Length(declared)),
    }
}

/// A framing error: there is no frame where one should start.
///
/// Caused by a sender that wrote only part of a frame. The stream cannot be resynchronized; only a
/// new link helps.
///
/// ```
/// use netmod_inet::FramingError;
///
/// println!("{}", FramingError::Length(7));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FramingError {
    /// A length outside 41..=65 768.
    Length(u32),
    /// Bytes that are not a carrier frame.
    Frame(FrameError),
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FramingError::Length(len) => {
                write!(f, "out of step: length {len} is outside ")?;
                write!(f, "{}..={}", Frame::MIN_LEN, Frame::MAX_LEN)
            }
            FramingError::Frame(error) => write!(f, "out of step: {error}"),
        }
    }
}

impl std::error::Error for FramingError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_out_of_bounds_are_refused() {
        for len in [41, 42, 65_767, 65_768] {
            assert_eq!(peek_len(&encode_length(len)), Ok(Some(len + 4)));
        }
        for len in [0, 1, 40, 65_769, u32::MAX] {
            assert_eq!(peek_len(&len.to_be_bytes()), Err(FramingError::Length(len)));
        }
        for short in 0..4 {
            assert_eq!(peek_len(&[0xFF; 4][..short]), Ok(None));
        }
    }
}
