//! The encrypting half of a Noise stream.

use std::io::{self, IoSlice};

use crate::primitives::buffer_pool::BufferPool;
use crate::transport::noise::cipher_state::{CipherState, HEADER};
use crate::transport::noise::primitives::TAG;

/// Maximum plaintext of one record, in bytes. Larger records are no faster, and the remote cannot
/// read any of a record before all of it has arrived.
const MAX_PLAINTEXT: usize = 16 << 10;

/// A slice of at least this length is encrypted in place as a record of its own, without a copy.
const NO_COPY_MIN: usize = 8 << 10;

/// Number of records that are encrypted per write.
const RECORDS_PER_WRITE: usize = 4;

/// Size of a write buffer: the records, and scratch space for the plaintext of one.
pub(crate) const BUFFER_SIZE: usize =
    RECORDS_PER_WRITE * (HEADER + MAX_PLAINTEXT + TAG) + MAX_PLAINTEXT;

/// Records that were encrypted, but not yet written completely.
///
/// Plaintext counts as written only once the stream below has accepted the whole record that holds
/// it. Until then the caller gets `WouldBlock` and retries with the same bytes, which are not
/// encrypted again. So whatever was reported as written has been written, and there is nothing to
/// flush.
#[derive(Default)]
pub(crate) struct Encryptor {
    /// Empty if nothing is pending, and shrunk to the pending bytes once the stream below is full:
    /// many links may be stalled, and no memory budget covers this.
    buffer: Vec<u8>,
    filled: usize,
    written: usize,
    /// Offset of the first record that is not completely written.
    ///
    /// Invariant: `start <= written <= filled <= buffer.len()`, unless nothing is pending.
    start: usize,
    /// The stream below was full, and has since accepted only what was pending. The next write
    /// encrypts a single record.
    is_blocked: bool,
    has_failed: bool,
}

impl Encryptor {
    pub(crate) fn write(
        &mut self,
        slices: &[IoSlice<'_>],
        cipher: &mut CipherState,
        pool: &BufferPool,
        write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.has_failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.has_pending() {
            self.buffer = pool.get_with_len(BUFFER_SIZE);
            (self.filled, self.written, self.start) = (0, 0, 0);
            let max_records =
                if std::mem::take(&mut self.is_blocked) { 1 } else { RECORDS_PER_WRITE };
            if self.seal(slices, cipher, max_records).is_none() {
                return Err(self.fail(io::ErrorKind::BrokenPipe.into()));
            }
        }
        let completed = self.flush(write);
        let is_blocked = completed.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
        if is_blocked {
            self.is_blocked = true;
            self.shrink(pool);
        } else if !self.has_pending() {
            self.release_buffer(pool);
        }
        // The caller may have abandoned its write and passed a shorter one, such as a close record.
        let total = slices.iter().map(|slice| slice.len()).sum();
        match completed {
            Err(error) if !is_blocked => Err(self.fail(error)),
            completed => completed.map(|completed| completed.min(total)),
        }
    }

    /// Whether encrypted bytes are still to be written.
    pub(crate) fn has_pending(&self) -> bool {
        self.written < self.filled
    }

    #[cfg(test)]
    pub(crate) fn allocated(&self) -> usize {
        self.buffer.capacity()
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.has_failed = true;
        error
    }

    /// Shrinks the buffer to the pending bytes.
    fn shrink(&mut self, pool: &BufferPool) {
        if self.buffer.len() == BUFFER_SIZE {
            let rest = self.buffer[self.start..self.filled].to_vec();
            self.release_buffer(pool);
            self.buffer = rest;
            self.filled -= self.start;
            self.written -= self.start;
            self.start = 0;
        }
    }

    fn release_buffer(&mut self, pool: &BufferPool) {
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.len() == BUFFER_SIZE {
            pool.put(buffer);
        }
    }

    /// Encrypts at most `max_records` records.
    fn seal(
        &mut self,
        slices: &[IoSlice<'_>],
        cipher: &mut CipherState,
        max_records: usize,
    ) -> Option<()> {
        let (out, scratch) = self.buffer.split_at_mut(BUFFER_SIZE - MAX_PLAINTEXT);
        let mut source = PlaintextSource { slices, skip: 0, scratch: 0 };
        let mut result = Some(());
        for _ in 0..max_records {
            let Some(plain) = source.next(scratch) else { break };
            result = seal(plain, &mut out[self.filled..], cipher).map(|len| self.filled += len);
            if result.is_none() {
                break;
            }
        }
        // Wipe the plaintext: the buffer goes back to the pool and may be kept for long.
        scratch[..source.scratch].fill(0);
        result
    }

    /// Writes pending records. Returns how many bytes of plaintext are in the records that this
    /// completed.
    fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut completed = 0;
        while completed == 0 && self.written < self.filled {
            match write(&self.buffer[self.written..self.filled])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.written += written,
            }
            while let Some(len) = self.first_written() {
                self.start += HEADER + len;
                completed += len - TAG;
            }
        }
        Ok(completed)
    }

    /// Length of the first record, if it is completely written.
    fn first_written(&self) -> Option<usize> {
        let header = self.buffer.get(self.start..self.written)?.first_chunk()?;
        let len = u32::from_be_bytes(*header) as usize;
        (self.start + HEADER + len <= self.written).then_some(len)
    }
}

/// Encrypts a record behind its length prefix. Returns the length of both.
fn seal(plain: &[u8], out: &mut [u8], cipher: &mut CipherState) -> Option<usize> {
    let (header, body) = out.split_first_chunk_mut()?;
    let len = cipher.seal(plain, body)?;
    *header = u32::try_from(len).ok()?.to_be_bytes();
    Some(HEADER + len)
}

/// Splits the caller's slices into the plaintexts of records.
struct PlaintextSource<'a> {
    slices: &'a [IoSlice<'a>],
    /// Number of bytes consumed from the first slice.
    skip: usize,
    /// Largest number of bytes that were copied to the scratch space for one record.
    scratch: usize,
}

impl<'a> PlaintextSource<'a> {
    /// The next plaintext: a part of one slice if that is long enough, else several slices
    /// gathered.
    fn next<'b>(&mut self, scratch: &'b mut [u8]) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        let mut len = 0;
        while let Some((first, others)) = self.slices.split_first() {
            let rest = &first[self.skip..];
            if rest.is_empty() {
                (self.slices, self.skip) = (others, 0);
                continue;
            }
            if len == 0 && rest.len() >= NO_COPY_MIN {
                let count = rest.len().min(MAX_PLAINTEXT);
                self.skip += count;
                return Some(&rest[..count]);
            }
            let count = rest.len().min(MAX_PLAINTEXT - len);
            scratch[len..len + count].copy_from_slice(&rest[..count]);
            len += count;
            if count < rest.len() {
                self.skip += count;
                break;
            }
            (self.slices, self.skip) = (others, 0);
        }
        self.scratch = self.scratch.max(len);
        (len > 0).then(|| &scratch[..len])
    }
}
