//! The keys of an encrypted stream, and the bounds of its records.

use std::fmt;
use std::io;

use snow::TransportState;

/// Length of the length in front of each message.
pub(crate) const HEADER: usize = 4;

/// Longest message that there is, as Noise says.
pub(crate) const MAX_RECORD: usize = 65_535;

/// Messages after which a side makes its key anew. A quiet link has one now and then; a busy one
/// does it every 16 MiB, and does not notice.
const REKEY_INTERVAL: u64 = 1024;

/// The keys of both directions, and how many messages were encrypted with them.
pub(crate) struct CipherState {
    transport: TransportState,
}

impl CipherState {
    /// The keys that a handshake came to.
    pub(crate) fn new(transport: TransportState) -> CipherState {
        CipherState { transport }
    }

    /// How many messages were sent and received.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> [u64; 2] {
        [self.transport.sending_nonce(), self.transport.receiving_nonce()]
    }

    /// Encrypts one message. `None` when all numbers are used up, in some millions of years.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> Option<usize> {
        let len = self.transport.write_message(plain, out).ok()?;
        if self.transport.sending_nonce() % REKEY_INTERVAL == 0 {
            self.transport.rekey_outgoing();
        }
        Some(len)
    }

    /// Decrypts one message, if it is the next that the other side sent.
    pub(crate) fn open(&mut self, message: &[u8], out: &mut [u8]) -> Result<(), RecordError> {
        self.transport.read_message(message, out).map_err(|_| RecordError::Tampered)?;
        if self.transport.receiving_nonce() % REKEY_INTERVAL == 0 {
            self.transport.rekey_incoming();
        }
        Ok(())
    }
}

/// Why an encrypted stream is at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// A message was changed, left out or repeated on the way.
    Tampered,
    /// The stream ended inside a message.
    Truncated,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordError::Tampered => "what arrived is not what the other side sent",
            RecordError::Truncated => "closed inside an encrypted message",
        })
    }
}

impl std::error::Error for RecordError {}

impl From<RecordError> for io::Error {
    fn from(fault: RecordError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
}

impl RecordError {
    /// The fault behind an error, if it is one.
    pub(crate) fn of(error: &io::Error) -> Option<RecordError> {
        error.get_ref()?.downcast_ref().copied()
    }
}
