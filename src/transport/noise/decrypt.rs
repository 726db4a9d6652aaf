//! What arrives over an encrypted stream.

use std::io;

use crate::transport::noise::NoiseBuffers;
use crate::transport::noise::buffers::BufferKind;
use crate::transport::noise::cipher_state::{CipherState, HEADER, MAX_RECORD, RecordError};
use crate::transport::noise::primitives::TAG;

/// Most that is read at once: the longest message, and something.
const READ_SIZE: usize = 72 << 10;

/// Room that is worth a buffer of that size.
const MIN_LARGE_READ: usize = 16 << 10;

/// Least that is read: the header of a message, and a small one.
const LEAST_READ: usize = 256;

/// A rest of this size at most is moved to a buffer of its own while nothing more arrives.
const MAX_PARKED: usize = 4 << 10;

/// What was read and not handed out.
pub(crate) struct Decryptor {
    ciphertext: Vec<u8>,
    /// Where the first message that was not opened begins.
    start: usize,
    /// What was opened and had no room, and how much of it was handed out.
    plaintext: Vec<u8>,
    delivered: usize,
    /// Longest message that is taken.
    most: usize,
    /// Whether the other side is still to be let in.
    is_stranger: bool,
    /// Whether the last read filled its buffer.
    filled_buffer: bool,
    fault: Option<RecordError>,
    /// What a read failed with behind one that brought something.
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

    /// Takes messages of any length from now on.
    pub(crate) fn lift_limit(&mut self) {
        (self.most, self.is_stranger) = (MAX_RECORD, false);
    }

    /// Whether a read comes to something without anything new arriving.
    pub(crate) fn has_something(&self) -> bool {
        let is_opened = self.delivered < self.plaintext.len();
        let has_failed = self.fault.is_some() || self.failure.is_some();
        is_opened || has_failed || !matches!(self.next_record_len(), Ok(None))
    }

    /// Hands out as much as there is room for, and has more arrive if there is nothing.
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
                // What came before is good, and goes first; the fault stays.
                Err(_) if buffer.len() > before => return Ok(buffer.len() - before),
                count => count?,
            };
            let room = buffer.capacity() - buffer.len();
            // A read that was cut short by its buffer left something behind: a caller with room for
            // it would be given it soon enough, but in a buffer of its own.
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

    /// Hands out what was opened, or else opens messages and hands them out. 0: there is none.
    fn copy_out(&mut self, buffer: &mut Vec<u8>, keys: &mut CipherState) -> io::Result<usize> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let before = buffer.len();
        self.copy_plaintext(buffer);
        if self.plaintext.is_empty() {
            match self.open(buffer, keys) {
                // What came before is good, and goes first.
                Err(fault) if buffer.len() == before => return Err(self.fail(fault)),
                Err(fault) => self.fault = Some(fault),
                Ok(()) => self.copy_plaintext(buffer),
            }
        }
        Ok(buffer.len() - before)
    }

    /// Hands out what was opened and had no room.
    fn copy_plaintext(&mut self, buffer: &mut Vec<u8>) {
        let rest = &self.plaintext[self.delivered..];
        let count = rest.len().min(buffer.capacity() - buffer.len());
        buffer.extend_from_slice(&rest[..count]);
        self.delivered += count;
        if self.delivered == self.plaintext.len() {
            (self.plaintext, self.delivered) = (Vec::new(), 0);
        }
    }

    /// Opens whole messages into `buffer`. One that has no room there is opened on its own, so that
    /// a caller who was given less than he had room for knows that there is no more.
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
            // Of a stranger there is one at a time, so that the next may be longer if it is let in.
            if !fits || self.is_stranger {
                break;
            }
        }
        Ok(())
    }

    /// The length of the next message, once all of it is there.
    fn next_record_len(&self) -> Result<Option<usize>, RecordError> {
        let Some((header, rest)) = self.ciphertext[self.start..].split_first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*header) as usize;
        // One with nothing in it would keep the reader at work for nothing.
        match (TAG + 1..=self.most).contains(&len) {
            true => Ok((rest.len() >= len).then_some(len)),
            false => Err(RecordError::Tampered),
        }
    }

    /// Makes room for the rest of a message, and about as much as can be handed out then.
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

    /// Gives memory back while nothing arrives.
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
