//! The stream behind an exchange of keys.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use snow::TransportState;

use crate::transport::Stream;
use crate::transport::noise::NoiseBuffers;
use crate::transport::noise::decrypt::Decryptor;
use crate::transport::noise::encrypt::Encryptor;

/// Length of the length in front of each message.
pub(crate) const HEADER: usize = 4;

/// Longest message that there is, as Noise says.
pub(crate) const MAX_RECORD: usize = 65_535;

/// Messages after which a side makes its key anew. A quiet link has one now and then; a busy one
/// does it every 16 MiB, and does not notice.
const REKEY_INTERVAL: u64 = 1024;

/// A stream that encrypts what is written to it, and whose other side is known.
///
/// After anything that is not as it should be it is at its end: nothing more is handed out, and
/// nothing that did not come from the other side ever was.
pub(crate) struct NoiseStream {
    stream: Arc<dyn Stream>,
    state: Mutex<State>,
    spare: Arc<NoiseBuffers>,
    /// Reads that brought something, be it a part of a message only.
    reads: AtomicU32,
}

struct State {
    keys: CipherState,
    decryptor: Decryptor,
    encryptor: Encryptor,
}

/// The keys of both directions, and how many messages were encrypted with them.
pub(crate) struct CipherState {
    transport: TransportState,
}

impl CipherState {
    #[cfg(test)]
    pub(crate) fn of(exchange: crate::transport::noise::NoiseHandshake) -> CipherState {
        CipherState { transport: exchange.into_transport().unwrap() }
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

impl NoiseStream {
    /// Of `ahead`, which was read already, the messages come first. None may be longer than `most`
    /// for now.
    pub(crate) fn new(
        stream: Arc<dyn Stream>,
        transport: TransportState,
        ahead: Vec<u8>,
        spare: Arc<NoiseBuffers>,
        most: usize,
    ) -> NoiseStream {
        let state = State {
            keys: CipherState { transport },
            decryptor: Decryptor::new(ahead, most.min(MAX_RECORD)),
            encryptor: Encryptor::default(),
        };
        NoiseStream { stream, state: Mutex::new(state), spare, reads: AtomicU32::new(0) }
    }

    /// Takes messages of any length from now on: the other side may come in.
    pub(crate) fn lift_limit(&self) {
        self.lock().decryptor.lift_limit();
    }

    /// How many messages were sent and received.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> [u64; 2] {
        let transport = &self.lock().keys.transport;
        [transport.sending_nonce(), transport.receiving_nonce()]
    }

    /// Bytes of the buffers that it holds.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        let state = self.lock();
        state.decryptor.held() + state.encryptor.held()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for NoiseStream {
    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let State { keys, decryptor: reading, .. } = &mut *self.lock();
        let fill = |bytes: &mut Vec<u8>| {
            let read = self.stream.try_read(bytes)?;
            self.reads.fetch_add(1, Ordering::Relaxed);
            Ok(read)
        };
        reading.read(buffer, keys, &self.spare, fill)
    }

    fn try_write(&self, slices: &[IoSlice<'_>], _ends_record: bool) -> io::Result<usize> {
        let State { keys, encryptor: writing, .. } = &mut *self.lock();
        // Only nodes of this crate read what is encrypted, wherever a segment ends.
        let write = |bytes: &[u8]| self.stream.try_write(&[IoSlice::new(bytes)], false);
        writing.write(slices, keys, &self.spare, write)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.lock().decryptor.has_something() {
            true => Poll::Ready(Ok(())),
            false => self.stream.poll_readable(cx),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_writable(cx)
    }

    fn close_write(&self) {
        // Nothing waits: a write is not over before all of it was taken.
        self.stream.close_write();
    }

    fn has_pending_write(&self) -> bool {
        self.lock().encryptor.has_begun()
    }

    fn activity(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }

    fn start_keepalive_probe(&self) -> bool {
        self.stream.start_keepalive_probe()
    }

    fn restore_keepalive(&self) {
        self.stream.restore_keepalive();
    }

    fn abort(&self) {
        self.stream.abort();
    }
}

impl fmt::Debug for NoiseStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encrypted")
    }
}
