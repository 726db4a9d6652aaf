//! A batch of data for one vectored write.

use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::primitives::lazy_box::StaticDefault;
use crate::proto::{Frame, LENGTH_PREFIX, encode_length, peek_len};

/// Size at which a batch is full: about what loopback and fast networks accept in one write.
const MAX_BATCH_BYTES: usize = 256 << 10;

/// Maximum number of slices in one vectored write.
pub(crate) const MAX_IOVECS: usize = 64;

/// The data to be written: a control frame, if there is one, and then router frames.
#[derive(Debug, Default)]
pub(crate) struct WriteBatch {
    /// The data that is not completely written yet.
    chunks: Vec<Chunk>,
    /// Bytes of the first chunk that are written.
    skip: usize,
    /// Length of the whole batch.
    len: usize,
    /// Length of the control frame at the front; zero if there is none.
    control_len: usize,
    /// Bytes that are written. Invariant: at most `len`.
    written: usize,
    /// Unwritten bytes of a partially written message. Maintained only where messages are written
    /// one by one.
    message_left: usize,
    /// Whether the control frame is the goodbye.
    is_goodbye: bool,
}

impl StaticDefault for WriteBatch {
    const DEFAULT: &'static WriteBatch = &WriteBatch {
        chunks: Vec::new(),
        skip: 0,
        len: 0,
        control_len: 0,
        written: 0,
        message_left: 0,
        is_goodbye: false,
    };
}

#[derive(Debug)]
enum Chunk {
    Length([u8; LENGTH_PREFIX]),
    Bytes(Bytes),
}

impl Chunk {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Chunk::Length(bytes) => bytes,
            Chunk::Bytes(bytes) => bytes,
        }
    }
}

impl WriteBatch {
    /// Clears the batch and starts a new one, with a control frame at the front.
    pub(crate) fn reset(&mut self, control: Option<&Frame>) {
        self.chunks.clear();
        (self.skip, self.len, self.written, self.message_left) = (0, 0, 0, 0);
        self.is_goodbye = false;
        if let Some(frame) = control {
            self.add_frame(frame);
        }
        self.control_len = self.len;
    }

    /// Clears the batch and starts one that holds the goodbye alone.
    pub(crate) fn begin_goodbye(&mut self, goodbye: &Frame) {
        self.reset(Some(goodbye));
        self.is_goodbye = true;
    }

    /// Whether there is room for one more frame.
    pub(crate) fn has_room(&self) -> bool {
        self.len < MAX_BATCH_BYTES && self.chunks.len() + 2 <= MAX_IOVECS
    }

    /// Adds frames that include their length prefixes.
    pub(crate) fn add(&mut self, messages: Bytes) {
        if !messages.is_empty() {
            self.len += messages.len();
            self.chunks.push(Chunk::Bytes(messages));
        }
    }

    /// Adds a frame with its length prefix.
    pub(crate) fn add_frame(&mut self, frame: &Frame) {
        self.len += LENGTH_PREFIX;
        self.chunks.push(Chunk::Length(encode_length(frame.len())));
        self.add(frame.clone().into_bytes());
    }

    /// Number of bytes that are still to be written.
    pub(crate) fn unwritten(&self) -> usize {
        self.len - self.written
    }

    /// Whether the batch is completely written and consists of the goodbye.
    pub(crate) fn is_goodbye_written(&self) -> bool {
        self.is_goodbye && self.unwritten() == 0
    }

    /// Whether a message is partially written. Maintained by
    /// [`advance_message`](WriteBatch::advance_message) only.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.message_left > 0
    }

    /// Number of unwritten bytes of the first message that is not completely written.
    pub(crate) fn message_len(&self) -> usize {
        if self.message_left > 0 {
            return self.message_left;
        }
        let first = self.chunks.first().map_or(&[][..], |chunk| &chunk.as_bytes()[self.skip..]);
        // A batch consists of whole messages.
        peek_len(first).ok().flatten().unwrap_or(self.unwritten())
    }

    /// Fills `slices` with the first `len` unwritten bytes. Returns the number of slices.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>], len: usize) -> usize {
        let (mut skip, mut left, mut count) = (self.skip, len, 0);
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            if left == 0 {
                break;
            }
            let bytes = &chunk.as_bytes()[std::mem::take(&mut skip)..];
            let bytes = &bytes[..left.min(bytes.len())];
            *slice = IoSlice::new(bytes);
            left -= bytes.len();
            count += 1;
        }
        count
    }

    /// Records that `written` more bytes were written. Zero is an error.
    pub(crate) fn advance(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += written;
        self.release_written(written);
        Ok(())
    }

    /// Like [`advance`](WriteBatch::advance), after a write of `len` bytes that ended with the
    /// first message.
    pub(crate) fn advance_message(&mut self, len: usize, written: usize) -> io::Result<()> {
        self.advance(written)?;
        self.message_left = len - written;
        Ok(())
    }

    /// Drops the chunks that are completely written.
    fn release_written(&mut self, written: usize) {
        self.skip += written;
        let mut done = 0;
        for chunk in &self.chunks {
            let len = chunk.as_bytes().len();
            if self.skip < len {
                break;
            }
            self.skip -= len;
            done += 1;
        }
        self.chunks.drain(..done);
    }

    /// Number of bytes of router frames that are written.
    pub(crate) fn frame_bytes_written(&self) -> usize {
        self.written.saturating_sub(self.control_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Shared(Arc<[u8; 100]>);

    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &self.0[..]
        }
    }

    /// The queue does not count written bytes that need no acknowledgement.
    #[test]
    fn written_chunks_are_dropped_while_the_rest_is_pending() {
        let mut batch = WriteBatch::default();
        let owned = [0; 3].map(|_| Arc::new([9; 100]));
        batch.reset(None);
        for bytes in &owned {
            batch.add(Bytes::from_owner(Shared(bytes.clone())));
        }
        for (written, held) in [(99, 3), (1, 2), (150, 1), (49, 1), (1, 0)] {
            batch.advance(written).unwrap();
            assert_eq!(owned.iter().filter(|one| Arc::strong_count(one) > 1).count(), held);
        }
        assert_eq!(batch.unwritten(), 0);
    }
}
