//! What goes out over an encrypted stream.

use std::io::{self, IoSlice};

use crate::transport::noise::NoiseBuffers;
use crate::transport::noise::buffers::BufferKind;
use crate::transport::noise::cipher_state::{CipherState, HEADER};
use crate::transport::noise::primitives::TAG;

/// What one message holds at most. Four times as much is no faster, and the other side has to wait
/// for all of a message before it can read any of it.
const MAX_PLAINTEXT: usize = 16 << 10;

/// A piece of this length makes a message of its own, which saves copying it.
const NO_COPY_MIN: usize = 8 << 10;

/// Messages that are encrypted at once.
const RECORDS_PER_WRITE: usize = 4;

/// Size of a buffer to encrypt in: messages, and what goes into one of them.
pub(crate) const BUFFER_SIZE: usize =
    RECORDS_PER_WRITE * (HEADER + MAX_PLAINTEXT + TAG) + MAX_PLAINTEXT;

/// What was encrypted and not written.
///
/// A write counts only when the message that holds it was taken by the stream below as a whole.
/// Until then the caller is told that nothing goes, and comes again with the same bytes, which are
/// not encrypted a second time. So what he thinks was written was, and nothing needs to be flushed.
#[derive(Default)]
pub(crate) struct Encryptor {
    /// Empty while nothing waits, and no longer than what waits once the stream below is full: there
    /// may be many links that nobody reads from, and no budget counts this.
    buffer: Vec<u8>,
    filled: usize,
    written: usize,
    /// Where the first message begins that was not written whole.
    start: usize,
    /// The stream below was full, and has taken nothing since but what waited.
    is_blocked: bool,
    has_failed: bool,
}

impl Encryptor {
    pub(crate) fn write(
        &mut self,
        slices: &[IoSlice<'_>],
        keys: &mut CipherState,
        spare: &NoiseBuffers,
        write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.has_failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.has_begun() {
            self.buffer = spare.take(BufferKind::Writing, BUFFER_SIZE);
            (self.filled, self.written, self.start) = (0, 0, 0);
            let most = if std::mem::take(&mut self.is_blocked) { 1 } else { RECORDS_PER_WRITE };
            if self.seal(slices, keys, most).is_none() {
                return Err(self.fail(io::ErrorKind::BrokenPipe.into()));
            }
        }
        let counted = self.flush(write);
        let is_blocked = counted.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
        if is_blocked {
            self.is_blocked = true;
            self.shrink(spare);
        } else if !self.has_begun() {
            self.release_buffer(spare);
        }
        // The caller may have given up what it had begun with, and say a last word instead.
        let most = slices.iter().map(|slice| slice.len()).sum();
        match counted {
            Err(error) if !is_blocked => Err(self.fail(error)),
            counted => counted.map(|counted| counted.min(most)),
        }
    }

    /// Whether something was encrypted and not written.
    pub(crate) fn has_begun(&self) -> bool {
        self.written < self.filled
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.buffer.capacity()
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.has_failed = true;
        error
    }

    /// Keeps what waits, and no more.
    fn shrink(&mut self, spare: &NoiseBuffers) {
        if self.buffer.len() == BUFFER_SIZE {
            let rest = self.buffer[self.start..self.filled].to_vec();
            self.release_buffer(spare);
            self.buffer = rest;
            self.filled -= self.start;
            self.written -= self.start;
            self.start = 0;
        }
    }

    fn release_buffer(&mut self, spare: &NoiseBuffers) {
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.len() == BUFFER_SIZE {
            spare.give(BufferKind::Writing, buffer);
        }
    }

    /// Encrypts so many messages at most.
    fn seal(&mut self, slices: &[IoSlice<'_>], keys: &mut CipherState, most: usize) -> Option<()> {
        let (out, gathered) = self.buffer.split_at_mut(BUFFER_SIZE - MAX_PLAINTEXT);
        let mut source = PlaintextSource { slices, skip: 0, scratch: 0 };
        let mut sealed = Some(());
        for _ in 0..most {
            let Some(plain) = source.next(gathered) else { break };
            sealed = seal(plain, &mut out[self.filled..], keys).map(|len| self.filled += len);
            if sealed.is_none() {
                break;
            }
        }
        // The buffer goes to other links then, and is kept when there are none any more.
        gathered[..source.scratch].fill(0);
        sealed
    }

    /// Writes what waits. Returns how much of what the caller brought is in messages that were
    /// written whole by that.
    fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut counted = 0;
        while counted == 0 && self.written < self.filled {
            match write(&self.buffer[self.written..self.filled])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.written += written,
            }
            while let Some(len) = self.first_written() {
                self.start += HEADER + len;
                counted += len - TAG;
            }
        }
        Ok(counted)
    }

    /// The length of the first message, if it was written whole.
    fn first_written(&self) -> Option<usize> {
        let header = self.buffer.get(self.start..self.written)?.first_chunk()?;
        let len = u32::from_be_bytes(*header) as usize;
        (self.start + HEADER + len <= self.written).then_some(len)
    }
}

/// Encrypts a message, behind its length. How long both are.
fn seal(plain: &[u8], out: &mut [u8], keys: &mut CipherState) -> Option<usize> {
    let (header, body) = out.split_first_chunk_mut()?;
    let len = keys.seal(plain, body)?;
    *header = u32::try_from(len).ok()?.to_be_bytes();
    Some(HEADER + len)
}

/// Hands out what a caller brought, message by message.
struct PlaintextSource<'a> {
    slices: &'a [IoSlice<'a>],
    /// Bytes of the first slice that were handed out.
    skip: usize,
    /// The most that was gathered for one message.
    scratch: usize,
}

impl<'a> PlaintextSource<'a> {
    /// The next piece: a part of one slice if that is long enough, or else of many, gathered.
    fn next<'b>(&mut self, gathered: &'b mut [u8]) -> Option<&'b [u8]>
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
                let part = rest.len().min(MAX_PLAINTEXT);
                self.skip += part;
                return Some(&rest[..part]);
            }
            let part = rest.len().min(MAX_PLAINTEXT - len);
            gathered[len..len + part].copy_from_slice(&rest[..part]);
            len += part;
            if part < rest.len() {
                self.skip += part;
                break;
            }
            (self.slices, self.skip) = (others, 0);
        }
        self.scratch = self.scratch.max(len);
        (len > 0).then(|| &gathered[..len])
    }
}
