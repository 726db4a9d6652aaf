use std::fmt;

use crate::proto::frame::layout::{MAX_LEN, MAX_PAYLOAD, MIN_LEN};

/// Why bytes are not a carrier frame, or fields do not make one.
///
/// ```
/// use netmod_inet::{Frame, FrameError};
///
/// assert_eq!(Frame::parse("short").unwrap_err(), FrameError::TooShort(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The input has this many bytes, less than the smallest frame.
    TooShort(usize),
    /// The input has this many bytes, more than the largest frame.
    TooLong(usize),
    /// A version other than 1, in an otherwise well-formed frame.
    Version(u8),
    /// A recipient tag other than 0, 1 and 2.
    RecipientTag(u8),
    /// The input, of this many bytes, ends inside the header.
    HeaderCut(usize),
    /// The header declares a longer payload than is present.
    PayloadCut {
        /// Declared length of the payload, in bytes.
        declared: usize,
        /// Actual length of the payload, in bytes.
        present: usize,
    },
    /// A payload of this many bytes does not fit into a frame.
    PayloadTooLong(usize),
    /// The named field starts with 0, which would mark it as absent.
    LeadingZero(&'static str),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooShort(len) => {
                write!(f, "{len} bytes are no carrier frame: the smallest has {MIN_LEN}")
            }
            FrameError::TooLong(len) => {
                write!(f, "{len} bytes are no carrier frame: the largest has {MAX_LEN}")
            }
            FrameError::Version(version) => write!(f, "unknown carrier frame version {version}"),
            FrameError::RecipientTag(tag) => write!(f, "unknown recipient tag {tag}"),
            FrameError::HeaderCut(len) => write!(f, "the header is cut off after {len} bytes"),
            FrameError::PayloadCut { declared, present } => {
                write!(f, "payload of {declared} bytes declared, {present} present")
            }
            FrameError::PayloadTooLong(len) => {
                write!(f, "payload of {len} bytes is over {MAX_PAYLOAD}")
            }
            FrameError::LeadingZero(field) => write!(f, "the {field} must not begin with 0"),
        }
    }
}

impl std::error::Error for FrameError {}
