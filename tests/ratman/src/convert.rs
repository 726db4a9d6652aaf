//! Between the frames of netmod-inet and the envelopes of Ratman: the bytes are the same.

use libratman::frame::FrameParser;
use libratman::frame::carrier::CarrierFrameHeader;
use libratman::types::InMemoryEnvelope;
use libratman::{EncodingError, NetmodError, RatmanError, Result};
use netmod_inet::{Frame, FrameError};

/// The frame that an envelope's buffer holds. What follows the payload is cut off.
///
/// # Errors
///
/// [`NetmodError::FrameTooLarge`], and an [`EncodingError`] for a buffer that is no carrier frame.
pub fn to_frame(envelope: InMemoryEnvelope) -> Result<Frame> {
    Frame::parse(envelope.buffer).map_err(|error| match error {
        FrameError::TooLong(_) => NetmodError::FrameTooLarge.into(),
        FrameError::Version(version) => EncodingError::InvalidVersion(version).into(),
        error => EncodingError::Parsing(error.to_string()).into(),
    })
}

/// The envelope of a frame: its header as libratman reads it, and all of its bytes.
///
/// libratman 0.7 panics on a recipient tag that it does not know; a [`Frame`] that exists has
/// none. `InMemoryEnvelope::parse_from_buffer` is not used, for it cuts at `get_size()`, which is
/// wrong for a header with a signature and no auxiliary data.
///
/// # Errors
///
/// An [`EncodingError`] if libratman cannot read the frame.
pub fn to_envelope(frame: Frame) -> Result<InMemoryEnvelope> {
    let buffer: Vec<u8> = frame.into_bytes().into();
    let unreadable =
        |error: String| -> Result<_> { Err(RatmanError::from(EncodingError::Parsing(error))) };
    let header = match CarrierFrameHeader::parse(&buffer) {
        Ok((_, Ok(header))) => header,
        Ok((_, Err(error))) => return unreadable(error.to_string()),
        Err(error) => return unreadable(error.to_string()),
    };
    Ok(InMemoryEnvelope { header, buffer })
}
