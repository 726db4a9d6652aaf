//! The 4-byte big-endian length that goes before every carrier frame.

use std::fmt;

use crate::proto::{Frame, FrameError};

/// Length of the length, in bytes.
pub(crate) const LENGTH_PREFIX: usize = 4;

/// The bytes that go before a frame of `len` bytes.
pub(crate) fn encode_length(len: usize) -> [u8; LENGTH_PREFIX] {
    // A frame has at most 65 768 bytes, so this loses nothing.
    (len as u32).to_be_bytes()
}

/// Length of the message, prefix included, that `bytes` begin with.
///
/// `None` while the prefix is incomplete. The message itself need not be there yet.
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

/// Why a stream is out of step: what stands where a frame should begin is none.
///
/// A sender that tears a frame causes this; only a new link cures it.
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
    /// Bytes that are no carrier frame.
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
    fn the_bounds() {
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
