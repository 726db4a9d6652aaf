//! What it means when a stream fails.

use std::io;
use std::sync::Arc;

#[cfg(feature = "noise")]
use super::noise::Fault;
use crate::error::{DownReason, HandshakeError};

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        #[cfg(feature = "noise")]
        match Fault::of(&error) {
            Some(Fault::Changed) => return HandshakeError::NotAuthentic,
            Some(Fault::Cut) => return HandshakeError::Closed,
            None => {}
        }
        HandshakeError::Io(Arc::new(error))
    }
}

impl DownReason {
    pub(crate) fn io(error: io::Error) -> DownReason {
        #[cfg(feature = "noise")]
        match Fault::of(&error) {
            Some(Fault::Changed) => return DownReason::NotAuthentic,
            Some(Fault::Cut) => return DownReason::ClosedInsideFrame,
            None => {}
        }
        DownReason::Io(Arc::new(error))
    }
}
