//! What it means when a stream fails.

use std::io;
use std::sync::Arc;

use crate::error::{DownReason, HandshakeError};
#[cfg(feature = "noise")]
use crate::transport::noise::RecordError;

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        #[cfg(feature = "noise")]
        match RecordError::of(&error) {
            Some(RecordError::Tampered) => return HandshakeError::NotAuthentic,
            Some(RecordError::Truncated) => return HandshakeError::Closed,
            None => {}
        }
        HandshakeError::Io(Arc::new(error))
    }
}

impl DownReason {
    pub(crate) fn io(error: io::Error) -> DownReason {
        #[cfg(feature = "noise")]
        match RecordError::of(&error) {
            Some(RecordError::Tampered) => return DownReason::Tampered,
            Some(RecordError::Truncated) => return DownReason::ClosedInsideFrame,
            None => {}
        }
        DownReason::Io(Arc::new(error))
    }
}
