//! The lengths of the fields of a carrier frame, in bytes.

/// Length of the fixed fields: version, modes, sender.
pub(crate) const FIXED: usize = 1 + 2 + 32;

/// Lengths of the optional fields if present. An absent one is a single byte `00`.
pub(crate) const RECIPIENT: usize = 1 + 32;
pub(crate) const SEQUENCE_ID: usize = 1 + 32 + 2;
pub(crate) const BLOCK: usize = 64;

/// Length of the payload length.
pub(crate) const PAYLOAD_LEN: usize = 2;

/// Length of the largest payload.
pub(crate) const MAX_PAYLOAD: usize = u16::MAX as usize;

/// Length of the smallest frame: no optional fields, and no payload.
pub(crate) const MIN_LEN: usize = FIXED + 4 + PAYLOAD_LEN;

/// Length of the largest frame: every field, and the largest payload.
pub(crate) const MAX_LEN: usize =
    FIXED + RECIPIENT + SEQUENCE_ID + 2 * BLOCK + PAYLOAD_LEN + MAX_PAYLOAD;
