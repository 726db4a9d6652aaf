//! The decrypting half of a Noise stream.

use std::io;

use crate::transport::noise::NoiseBuffers;
use crate::transport::noise::buffers::BufferKind;
use crate::transport::noise::cipher_state::{CipherState, HEADER, MAX_RECORD, RecordError};
use crate::transport::noise::primitives::TAG;

/// Size of a large read, in bytes: the largest record and some more.
const READ_SIZE: usize = 72 << 10;

/// Free space in the caller's buffer that justifies a large read.
const MIN_LARGE_READ: usize = 16 << 10;

/// Smallest read, in bytes: the header of a record and a small record.
const LEAST_READ: usize = 256;

/// A remainder of at most this size is moved to an allocation of its own while the link is idle.
const MAX_PARKED: usize = 4 << 10;

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
    /// Largest record that is accepted.
    most: usize,
    /// Whether the remote has not been admitted yet.
    is_stranger: bool,
    /// Whether the last read filled `ciphertext`, so that more may be available.
    filled_buffer: bool,
    fault: Option<RecordError>,
    /// Error of a read that followed a successful one in the same call. Returned by the next call.
    failure: Option<io::Error>,
}

impl Decryptor {
    pub(crate) fn new(ahead: Vec<u8>, most: usize) -> Decryptor {
        Decryptor {
            ciphertext: ahead,
            start: 0,
            plaintext: Vec::new(),
            delivered: 0,
            most,
            is_stranger: true,
            filled_buffer: false,
            fault: None,
            failure: None,
        }
    }

    /// Accepts records of any length from now on.
    pub(crate) fn lift_limit(&mut self) {
        (self.most, self.is_stranger) = (MAX_RECORD, false);
    }

    /// Whether a read makes progress without any more input.
    pub(crate) fn has_something(&self) -> bool {
        let is_opened = self.delivered < self.plaintext.len();
        let has_failed = self.fault.is_some() || self.failure.is_some();
        is_opened || has_failed || !matches!(self.next_record_len(), Ok(None))
    }

    /// Delivers as much plaintext as fits `buffer`, and reads more from the stream below if there
    /// is none.
    pub(crate) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        keys: &mut CipherState,
        spare: &NoiseBuffers,
        mut fill: impl FnMut(&mut Vec<u8>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let before = buffer.len();
        loop {
            let count = match self.copy_out(buffer, keys) {
                // Plaintext from before the fault is authentic and is delivered first; the fault
                // stays.
                Err(_) if buffer.len() > before => return Ok(buffer.len() - before),
                count => count?,
            };
            let room = buffer.capacity() - buffer.len();
            // The last read filled its buffer, so more is likely available. Read again while the
            // caller's buffer has enough free space, instead of letting it allocate another for the
            // rest.
            let goes_on = self.filled_buffer && count > 0 && room >= MIN_LARGE_READ;
            if buffer.len() > before && !goes_on {
                return Ok(buffer.len() - before);
            }
            if let Some(error) = self.failure.take() {
                self.release_memory(spare);
                return Err(error);
            }
            self.make_room(room, spare);
            let read = fill(&mut self.ciphertext);
            self.filled_buffer = self.ciphertext.len() == self.ciphertext.capacity();
            match read {
                Ok(_) if buffer.len() > before => {}
                Err(error) if buffer.len() > before => self.failure = Some(error),
                Ok(0) if self.ciphertext.is_empty() => return Ok(0),
                Ok(0) => return Err(self.fail(RecordError::Truncated)),
                Ok(_) => {}
                Err(error) => {
                    self.release_memory(spare);
                    return Err(error);
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.ciphertext.capacity() + self.plaintext.capacity()
    }

    fn fail(&mut self, fault: RecordError) -> io::Error {
        self.fault.get_or_insert(fault);
        fault.into()
    }

    /// Delivers pending plaintext, or else decrypts records and delivers them. 0 if there is
    /// neither.
    fn copy_out(&mut self, buffer: &mut Vec<u8>, keys: &mut CipherState) -> io::Result<usize> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let before = buffer.len();
        self.copy_plaintext(buffer);
        if self.plaintext.is_empty() {
            match self.open(buffer, keys) {
                // Records before the faulty one are authentic and are delivered first.
                Err(fault) if buffer.len() == before => return Err(self.fail(fault)),
                Err(fault) => self.fault = Some(fault),
                Ok(()) => self.copy_plaintext(buffer),
            }
        }
        Ok(buffer.len() - before)
    }

    /// Delivers plaintext that did not fit before.
    fn copy_plaintext(&mut self, buffer: &mut Vec<u8>) {
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
    fn open(&mut self, buffer: &mut Vec<u8>, keys: &mut CipherState) -> Result<(), RecordError> {
        while let Some(len) = self.next_record_len()? {
            let at = buffer.len();
            let fits = buffer.capacity() - at >= len - TAG;
            let (out, at) = if fits { (&mut *buffer, at) } else { (&mut self.plaintext, 0) };
            out.resize(at + len - TAG, 0);
            let message = &self.ciphertext[self.start + HEADER..][..len];
            if let Err(fault) = keys.open(message, &mut out[at..]) {
                out.truncate(at);
                return Err(fault);
            }
            self.start += HEADER + len;
            // Before admission one record at a time: the limit may be lifted for the next one.
            if !fits || self.is_stranger {
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
        match (TAG + 1..=self.most).contains(&len) {
            true => Ok((rest.len() >= len).then_some(len)),
            false => Err(RecordError::Tampered),
        }
    }

    /// Reserves space for the rest of a record, and for about as much as can be delivered then.
    fn make_room(&mut self, room: usize, spare: &NoiseBuffers) {
        let rest = self.ciphertext.len() - self.start;
        let wanted = match self.is_stranger {
            true => HEADER + self.most,
            false if room >= MIN_LARGE_READ => READ_SIZE,
            false => rest + room,
        };
        let wanted = wanted.max(rest + LEAST_READ).min(READ_SIZE);
        if self.ciphertext.capacity() == wanted {
            self.ciphertext.copy_within(self.start.., 0);
            self.ciphertext.truncate(rest);
        } else {
            let mut other = match wanted == READ_SIZE {
                true => spare.take(BufferKind::Reading, wanted),
                false => Vec::with_capacity(wanted),
            };
            other.extend_from_slice(&self.ciphertext[self.start..]);
            give_back(std::mem::replace(&mut self.ciphertext, other), spare);
        }
        self.start = 0;
    }

    /// Releases buffer memory while the link is idle.
    fn release_memory(&mut self, spare: &NoiseBuffers) {
        let rest = &self.ciphertext[self.start..];
        if rest.len() > MAX_PARKED {
            return;
        }
        let rest = rest.to_vec();
        give_back(std::mem::replace(&mut self.ciphertext, rest), spare);
        self.start = 0;
    }
}

fn give_back(buffer: Vec<u8>, spare: &NoiseBuffers) {
    if buffer.capacity() == READ_SIZE {
        spare.give(BufferKind::Reading, buffer);
    }
}
