//! The encrypted stream that follows a Noise handshake.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};

use snow::TransportState;

use crate::primitives::lock::Mutex;
use crate::transport::Stream;
use crate::transport::noise::NoiseBuffers;
use crate::transport::noise::cipher_state::{CipherState, MAX_RECORD};
use crate::transport::noise::decrypt::Decryptor;
use crate::transport::noise::encrypt::Encryptor;

/// A stream with encryption and an authenticated remote.
///
/// Any fault is permanent: nothing more is delivered after it. Only data that the remote sent is
/// ever delivered.
pub(crate) struct NoiseStream {
    stream: Arc<dyn Stream>,
    state: Mutex<State>,
    buffers: Arc<NoiseBuffers>,
    /// Number of reads that returned data, even if only part of a record.
    reads: AtomicU32,
    /// Number of bytes that were read and not delivered.
    partial_record: AtomicUsize,
}

struct State {
    cipher: CipherState,
    decryptor: Decryptor,
    encryptor: Encryptor,
    /// Whether the turn of the reader is over: nothing is read until the stream below is readable.
    is_turn_over: bool,
}

impl NoiseStream {
    /// Creates a stream whose first records are in `ahead`, which was already read. Records are
    /// limited to `max_record` bytes until [`lift_limit`](NoiseStream::lift_limit).
    pub(crate) fn new(
        stream: Arc<dyn Stream>,
        transport: TransportState,
        ahead: Vec<u8>,
        buffers: Arc<NoiseBuffers>,
        max_record: usize,
    ) -> NoiseStream {
        let state = State {
            cipher: CipherState::new(transport),
            decryptor: Decryptor::new(ahead, max_record.min(MAX_RECORD)),
            encryptor: Encryptor::default(),
            is_turn_over: false,
        };
        let (reads, partial_record) = (AtomicU32::new(0), AtomicUsize::new(0));
        NoiseStream { stream, state: Mutex::new(state), buffers, reads, partial_record }
    }

    /// Accepts records of any length from now on. Called once the remote is admitted.
    pub(crate) fn lift_limit(&self) {
        self.lock().decryptor.lift_limit();
    }

    /// Numbers of records sent and received.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> [u64; 2] {
        self.lock().cipher.numbers()
    }

    /// Total capacity of its buffers, in bytes.
    #[cfg(test)]
    pub(crate) fn allocated(&self) -> usize {
        let state = self.lock();
        state.decryptor.allocated() + state.encryptor.allocated()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Stream for NoiseStream {
    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let State { cipher, decryptor, is_turn_over, .. } = &mut *self.lock();
        let fill = |bytes: &mut Vec<u8>| {
            if *is_turn_over {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let read = self.stream.try_read(bytes)?;
            self.reads.fetch_add(1, Ordering::Relaxed);
            Ok(read)
        };
        let read = decryptor.read(buffer, cipher, &self.buffers.read, fill);
        self.partial_record.store(decryptor.partial_record(), Ordering::Relaxed);
        read
    }

    fn try_write(&self, slices: &[IoSlice<'_>], _ends_record: bool) -> io::Result<usize> {
        let State { cipher, encryptor, .. } = &mut *self.lock();
        // Record boundaries in TCP segments matter to plain nodes only, which never read this
        // stream.
        let write = |bytes: &[u8]| self.stream.try_write(&[IoSlice::new(bytes)], false);
        encryptor.write(slices, cipher, &self.buffers.write, write)
    }

    fn end_turn(&self) {
        let mut state = self.lock();
        state.is_turn_over = true;
        if !state.decryptor.is_readable() {
            state.decryptor.release_memory(&self.buffers.read);
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if state.decryptor.is_readable() {
            return Poll::Ready(Ok(()));
        }
        let readable = self.stream.poll_readable(cx);
        state.is_turn_over &= readable.is_pending();
        readable
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_writable(cx)
    }

    fn close_write(&self) {
        // Nothing to flush: a write counts as complete only once all of its record is written.
        self.stream.close_write();
    }

    fn has_pending_write(&self) -> bool {
        self.lock().encryptor.has_pending() || self.stream.has_pending_write()
    }

    fn partial_record(&self) -> usize {
        self.partial_record.load(Ordering::Relaxed)
    }

    fn activity(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }

    fn start_keepalive_probe(&self) -> bool {
        self.stream.start_keepalive_probe()
    }

    fn force_keepalive_verdict(&self) {
        self.stream.force_keepalive_verdict();
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
        f.write_str("NoiseStream")
    }
}
