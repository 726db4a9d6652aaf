//! Payloads: the frame number, followed by words of eight bytes that are unique over all positions
//! of all frames.

use netmod_inet::{Frame, FrameError, Id};

/// The sender of the frames.
pub(crate) const SENDER: Id = Id::from_bytes([0x5E; 32]);

/// Builds the frame with this number.
pub(crate) fn frame(number: u64, payload: usize) -> Result<Frame, FrameError> {
    let mut bytes = Vec::with_capacity(payload + 8);
    bytes.extend_from_slice(&number.to_be_bytes());
    for place in 1..payload.div_ceil(8) {
        bytes.extend_from_slice(&word(number, place as u64).to_be_bytes());
    }
    bytes.truncate(payload);
    Frame::builder(8, SENDER).payload(bytes).build()
}

/// A bijection of frame number and position, for up to 2⁵⁰ frames.
fn word(number: u64, place: u64) -> u64 {
    let mixed = (number << 14 | place).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

/// Describes how a frame differs from the one expected.
pub(crate) fn explain(due: u64, payload: usize, found: &Frame) -> String {
    let bytes = found.payload();
    let number = bytes.first_chunk().map(|first| u64::from_be_bytes(*first));
    if number != Some(due) {
        let number = number.map_or_else(|| "none".to_owned(), |number| number.to_string());
        return format!("frame {due} is due, but the number is {number}");
    }
    if bytes.len() != payload {
        return format!("frame {due} has {} bytes of payload instead of {payload}", bytes.len());
    }
    let expected = frame(due, payload).ok();
    let differs = expected.and_then(|expected| {
        expected.payload().iter().zip(bytes).position(|(expected, found)| expected != found)
    });
    match differs {
        Some(place) => format!("frame {due} differs at byte {place} of its payload"),
        None => format!("frame {due} differs in its header"),
    }
}
