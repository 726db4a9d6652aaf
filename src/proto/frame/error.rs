use std::fmt;

use crate::proto::frame::Frame;

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
