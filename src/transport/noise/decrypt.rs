//! The decrypting half of a Noise stream.

use std::io;

use crate::primitives::buffer_pool::BufferPool;
use crate::transport::noise::cipher_state::{CipherState, HEADER, MAX_RECORD, RecordError};
use crate::transport::noise::primitives::TAG;

/// Size of a large read, in bytes: the largest record and some more.
pub(crate) const READ_SIZE: usize = 72 << 10;

/// Free space in the caller's buffer that justifies a large read.
const MIN_LARGE_READ: usize = 16 << 10;

/// Smallest read, in bytes: the header of a record and a small record.
const MIN_READ: usize = 256;

/// A remainder of at most this size is moved to an allocation of its own while the link is idle. So
/// the buffer of a larger one is at most some four times as large.
const MAX_PARKED: usize = 16 << 10;

/// Bytes that were read, but not yet delivered to the caller.
pub(crate) struct Decryptor {
    ciphertext: Vec<u8>,
    /// Offset in `ciphertext` of the first record that was not decrypted.
    start: usize,
    /// A decrypted record that did not fit the caller's buffer, and how much of it was delivered.
    ///
    /// Invariant: `delivered <= plaintext.len()`, and both are zero if nothing is left.
    plaintext: Vec<u8>,
    delivered: usize,
    /// Largest record that is accepted, in bytes.
    max_record: usize,
    /// Whether the remote has not been admitted yet, and its records are limited.
    is_limited: bool,
    /// Whether the last read filled `ciphertext`, so that more may be available.
    filled_buffer: bool,
    record_error: Option<RecordError>,
    /// Error of a read that followed a successful one in the same call. The next call returns it.
    read_error: Option<io::Error>,
}

impl Decryptor {
    pub(crate) fn new(ahead: Vec<u8>, max_record: usize) -> Decryptor {
        Decryptor {
            ciphertext: ahead,
            start: 0,
            plaintext: Vec::new(),
            delivered: 0,
            max_record,
            is_limited: true,
            filled_buffer: false,
            record_error: None,
            read_error: None,
        }
    }

    /// Accepts records of any length from now on.
    pub(crate) fn lift_limit(&mut self) {
        (self.max_record, self.is_limited) = (MAX_RECORD, false);
    }

    /// Whether a read makes progress without any more input.
    pub(crate) fn is_readable(&self) -> bool {
        let has_plaintext = self.delivered < self.plaintext.len();
        let has_error = self.record_error.is_some() || self.read_error.is_some();
        has_plaintext || has_error || !matches!(self.next_record_len(), Ok(None))
    }

    /// Number of bytes that were read and not delivered.
    pub(crate) fn partial_record(&self) -> usize {
        self.ciphertext.len() - self.start + self.plaintext.len() - self.delivered
    }

    /// Delivers as much plaintext as fits `buffer`, and reads more from the stream below if there
    /// is none. Fails with `Interrupted` if as much as fits `buffer` was read, but no whole record.
    pub(crate) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        cipher: &mut CipherState,
        pool: &BufferPool,
        mut fill: impl FnMut(&mut Vec<u8>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let (before, partial_before) = (buffer.len(), self.partial_record());
        loop {
            let count = match self.deliver(buffer, cipher) {
                // Plaintext from before the fault is authentic and is delivered first; the fault
                // stays.
                Err(_) if buffer.len() > before => return Ok(buffer.len() - before),
                count => count?,
            };
            let free = buffer.capacity() - buffer.len();
            // The last read filled its buffer, so more is likely available. Read again while the
            // caller's buffer has enough free space, instead of letting it allocate another for the
            // rest.
            let reads_again = self.filled_buffer && count > 0 && free >= MIN_LARGE_READ;
            if buffer.len() > before && !reads_again {
                return Ok(buffer.len() - before);
            }
            if let Some(error) = self.read_error.take() {
                self.release_memory(pool);
                return Err(error);
            }
            // The caller decides, by the space that it offers, how much is read of a record.
            if self.partial_record().saturating_sub(partial_before) >= free.max(1) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.reserve(free, pool);
            let read = fill(&mut self.ciphertext);
            self.filled_buffer = self.ciphertext.len() == self.ciphertext.capacity();
            match read {
                Ok(_) if buffer.len() > before => {}
                Err(error) if buffer.len() > before => self.read_error = Some(error),
                Ok(0) if self.ciphertext.is_empty() => return Ok(0),
                Ok(0) => return Err(self.fail(RecordError::Truncated)),
                Ok(_) => {}
                Err(error) => {
                    self.release_memory(pool);
                    return Err(error);
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn allocated(&self) -> usize {
        self.ciphertext.capacity() + self.plaintext.capacity()
    }

    fn fail(&mut self, fault: RecordError) -> io::Error {
        self.record_error.get_or_insert(fault);
        fault.into()
    }

    /// Delivers pending plaintext, or else decrypts records and delivers them. 0 if there is
    /// neither.
    fn deliver(&mut self, buffer: &mut Vec<u8>, cipher: &mut CipherState) -> io::Result<usize> {
        if let Some(fault) = self.record_error {
            return Err(fault.into());
        }
        let before = buffer.len();
        self.deliver_plaintext(buffer);
        if self.plaintext.is_empty() {
            match self.decrypt(buffer, cipher) {
                // Records before the faulty one are authentic and are delivered first.
                Err(fault) if buffer.len() == before => return Err(self.fail(fault)),
                Err(fault) => self.record_error = Some(fault),
                Ok(()) => self.deliver_plaintext(buffer),
            }
        }
        Ok(buffer.len() - before)
    }

    /// Delivers plaintext that did not fit before.
    fn deliver_plaintext(&mut self, buffer: &mut Vec<u8>) {
        let rest = &self.plaintext[self.delivered..];
        let count = rest.len().min(buffer.capacity() - buffer.len());
        buffer.extend_from_slice(&rest[..count]);
        self.delivered += count;
        if self.delivered == self.plaintext.len() {
            (self.plaintext, self.delivered) = (Vec::new(), 0);
        }
    }

    /// Decrypts complete records into `buffer`. One that does not fit is decrypted into
    /// `plaintext`, so that the caller's buffer is always filled: a short read means that nothing
    /// more is available.
    fn decrypt(
        &mut self,
        buffer: &mut Vec<u8>,
        cipher: &mut CipherState,
    ) -> Result<(), RecordError> {
        while let Some(len) = self.next_record_len()? {
            let at = buffer.len();
            let fits = buffer.capacity() - at >= len - TAG;
            let (out, at) = if fits { (&mut *buffer, at) } else { (&mut self.plaintext, 0) };
            out.resize(at + len - TAG, 0);
            let message = &self.ciphertext[self.start + HEADER..][..len];
            if let Err(fault) = cipher.open(message, &mut out[at..]) {
                out.truncate(at);
                return Err(fault);
            }
            self.start += HEADER + len;
            // Before admission one record at a time: the limit may be lifted for the next one.
            if !fits || self.is_limited {
                break;
            }
        }
        Ok(())
    }

    /// Length of the next record, once it has arrived completely.
    fn next_record_len(&self) -> Result<Option<usize>, RecordError> {
        let Some((header, rest)) = self.ciphertext[self.start..].split_first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*header) as usize;
        // Empty records are refused: they would keep the reader busy for nothing.
        match (TAG + 1..=self.max_record).contains(&len) {
            true => Ok((rest.len() >= len).then_some(len)),
            false => Err(RecordError::Tampered),
        }
    }

    /// Reserves space for the rest of a record, and for about as much as can be delivered then.
    fn reserve(&mut self, free: usize, pool: &BufferPool) {
        let rest = self.ciphertext.len() - self.start;
        let capacity = match self.is_limited {
            true => HEADER + self.max_record,
            false if free >= MIN_LARGE_READ => READ_SIZE,
            false => rest + free,
        };
        let capacity = capacity.max(rest + MIN_READ).min(READ_SIZE);
        if self.ciphertext.capacity() == capacity {
            self.ciphertext.copy_within(self.start.., 0);
            self.ciphertext.truncate(rest);
        } else {
            let mut other = match capacity == READ_SIZE {
                true => pool.get(capacity),
                false => Vec::with_capacity(capacity),
            };
            other.extend_from_slice(&self.ciphertext[self.start..]);
            put_back(std::mem::replace(&mut self.ciphertext, other), pool);
        }
        self.start = 0;
    }

    /// Releases buffer memory while the link is idle.
    pub(crate) fn release_memory(&mut self, pool: &BufferPool) {
        let rest = &self.ciphertext[self.start..];
        if rest.len() > MAX_PARKED {
            return;
        }
        let rest = rest.to_vec();
        put_back(std::mem::replace(&mut self.ciphertext, rest), pool);
        self.start = 0;
    }
}

fn put_back(buffer: Vec<u8>, pool: &BufferPool) {
    if buffer.capacity() == READ_SIZE {
        pool.put(buffer);
    }
}
