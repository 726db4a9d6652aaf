//! The transport keys of an encrypted stream, and the limits of its records.

use std::fmt;
use std::io;

use snow::TransportState;

/// Size of the length prefix of each record, in bytes.
pub(crate) const HEADER: usize = 4;

/// Largest record, as defined by Noise, in bytes.
pub(crate) const MAX_RECORD: usize = 65_535;

/// Number of records after which a sender rekeys. A busy link does so every 16 MiB, at no
/// noticeable cost.
const REKEY_INTERVAL: u64 = 1024;

/// The keys and record counters of both directions.
pub(crate) struct CipherState {
    transport: TransportState,
}

impl CipherState {
    /// Wraps the keys that a handshake has derived.
    pub(crate) fn new(transport: TransportState) -> CipherState {
        CipherState { transport }
    }

    /// Numbers of records sent and received.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> [u64; 2] {
        [self.transport.sending_nonce(), self.transport.receiving_nonce()]
    }

    /// Encrypts one record, and returns its length. `None` if the nonces are exhausted, which takes
    /// some millions of years.
    pub(crate) fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Option<usize> {
        let len = self.transport.write_message(plaintext, out).ok()?;
        if self.transport.sending_nonce() % REKEY_INTERVAL == 0 {
            self.transport.rekey_outgoing();
        }
        Some(len)
    }

    /// Decrypts one record. Fails unless it is the next one that the remote sent.
    pub(crate) fn open(&mut self, message: &[u8], out: &mut [u8]) -> Result<(), RecordError> {
        self.transport.read_message(message, out).map_err(|_| RecordError::Tampered)?;
        if self.transport.receiving_nonce() % REKEY_INTERVAL == 0 {
            self.transport.rekey_incoming();
        }
        Ok(())
    }
}

/// Why an encrypted stream has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// A record was modified, dropped or replayed in transit.
    Tampered,
    /// The stream ended inside a record.
    Truncated,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordError::Tampered => "an encrypted record was changed in transit",
            RecordError::Truncated => "closed inside an encrypted record",
        })
    }
}

impl std::error::Error for RecordError {}

impl From<RecordError> for io::Error {
    fn from(error: RecordError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

impl RecordError {
    /// Returns the record error that caused `error`, if one did.
    pub(crate) fn of(error: &io::Error) -> Option<RecordError> {
        error.get_ref()?.downcast_ref().copied()
    }
}
