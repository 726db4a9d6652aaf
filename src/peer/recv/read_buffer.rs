//! The buffer of a link: how much is read at once, what is copied out of it, when it is given back.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::primitives::buffer_pool::BufferPool;
use crate::proto::peek_len;
use crate::transport::{Link, ReadBuffer};

/// Least room that a read is given: holds the frames of a burst of small ones, and is little
/// enough that thousands of links may read at once.
const MIN_READ: usize = 16 << 10;

/// Most room that a read is given. A link that fills its buffer gets one twice as large next time;
/// at this size the part of a large frame that has to be moved to the next buffer is small beside
/// what was read. Both ends on one thread moved 0.11, 0.13 and 0.10 M/s of 32 000 B with 64, 128
/// and 256 KiB, and 0.69, 0.75 and 0.67 M/s of 4 KiB.
const MAX_READ: usize = 128 << 10;

/// Size of the buffer of a link that is busy: it stays that large for as long as reads bring a quarter
/// of it.
const BUSY_CAPACITY: usize = 64 << 10;

/// Runs up to this length are copied out of the buffer, which is then read into again. Longer ones
/// take the buffer with them and are never copied.
const COPY_MAX: usize = 16 << 10;

impl ReadBuffer {
    /// What arrived and was not handled yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Notes that the first `len` bytes were handled.
    pub(crate) fn skip(&mut self, len: usize) {
        self.start += len;
    }

    /// Forgets all that arrived.
    pub(crate) fn discard(&mut self) {
        self.buffer.clear();
        self.start = 0;
    }

    /// Moves what is left to the front, for there is no whole message in it.
    pub(crate) fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
    }

    /// Length of the message of which a part has arrived, if that is known.
    pub(crate) fn partial_len(&self) -> Option<usize> {
        peek_len(self.unread()).ok()?
    }

    /// Whether much arrives over the link: of late, reads have filled a good part of a large buffer.
    pub(crate) fn is_busy(&self) -> bool {
        self.size >= BUSY_CAPACITY
    }

    /// Size that the buffer should have for the next read.
    pub(crate) fn next_capacity(&self) -> usize {
        // A full buffer whose message is still incomplete needs more, but never more than twice
        // what has really arrived: a length alone makes nobody allocate.
        match self.unread().len() < self.size {
            true => self.size.max(MIN_READ),
            false => (2 * self.unread().len()).max(MIN_READ),
        }
    }

    /// Makes room to read, so that there are so many bytes in all.
    pub(crate) fn reserve(&mut self, target: usize, buffers: &BufferPool) {
        self.compact();
        if self.buffer.capacity() < target {
            let mut larger = buffers.get(target);
            larger.extend_from_slice(&self.buffer);
            buffers.put(std::mem::replace(&mut self.buffer, larger));
        }
    }

    /// Reads once.
    pub(crate) fn read(&mut self, link: &Link, target: usize) -> io::Result<usize> {
        let read = link.stream.try_read(&mut self.buffer)?;
        if self.buffer.len() == self.buffer.capacity() {
            self.size = (2 * target).min(MAX_READ);
        } else if read < self.size / 4 {
            self.size /= 2;
        }
        Ok(read)
    }

    /// Takes the first `len` bytes; also tells how much memory they keep.
    pub(crate) fn split_front(&mut self, len: usize, buffers: &Arc<BufferPool>) -> (Bytes, usize) {
        // A buffer that is mostly empty is not worth keeping for what is in it.
        if len <= COPY_MAX || len < self.buffer.capacity() / 2 {
            let run = Bytes::copy_from_slice(&self.unread()[..len]);
            self.skip(len);
            return (run, len);
        }
        let end = self.start + len;
        let mut tail = buffers.get(self.size.max(self.buffer.len() - end));
        tail.extend_from_slice(&self.buffer[end..]);
        self.buffer.truncate(end);
        let run = std::mem::replace(&mut self.buffer, tail);
        let pinned = run.capacity();
        let start = std::mem::take(&mut self.start);
        (buffers.pooled_bytes_of(run).slice(start..), pinned)
    }

    /// Gives memory back, because what was read waits. Not every time: copying all that is left for
    /// each batch would cost the square of it.
    pub(crate) fn maybe_release(&mut self, buffers: &BufferPool) {
        if self.unread().len() < self.buffer.capacity() / 2 {
            self.release_memory(buffers);
        }
    }

    /// Makes room to read so many bytes in all and no more. A buffer that goes round is larger, and
    /// would take the beginning of the next frame too.
    pub(crate) fn reserve_exact(&mut self, target: usize, buffers: &BufferPool) {
        self.release_memory(buffers);
        self.buffer.reserve_exact(target.saturating_sub(self.buffer.len()));
    }

    /// Gives memory back, because nothing is read for now.
    pub(crate) fn release_memory(&mut self, buffers: &BufferPool) {
        let left = self.unread().to_vec();
        buffers.put(std::mem::replace(&mut self.buffer, left));
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_are_not_copied_and_short_ones_free_the_buffer() {
        let buffers = BufferPool::new(0);
        let mut half = ReadBuffer { buffer: vec![7; COPY_MAX + 12], ..ReadBuffer::default() };
        let start = half.buffer.as_ptr();
        half.skip(2);
        let (run, pinned) = half.split_front(COPY_MAX + 1, &buffers);
        assert_eq!((run.as_ptr(), run.len()), (start.wrapping_add(2), COPY_MAX + 1));
        assert_eq!(half.unread(), [7; 9]);
        assert!(pinned >= COPY_MAX + 12);
        let (run, pinned) = half.split_front(3, &buffers);
        assert_eq!((&run[..], pinned, half.unread()), (&[7; 3][..], 3, &[7; 6][..]));
    }

    #[test]
    fn what_is_left_stays_in_place_until_the_next_read() {
        let buffers = BufferPool::new(0);
        let mut half = ReadBuffer { buffer: vec![7; 90_000], ..ReadBuffer::default() };
        let start = half.buffer.as_ptr();
        for handled in 1..=1000 {
            match handled % 2 {
                0 => half.skip(45),
                _ => drop(half.split_front(45, &buffers)),
            }
            assert_eq!(half.unread().as_ptr(), start.wrapping_add(45 * handled));
        }
        half.release_memory(&buffers);
        assert_eq!((half.unread().len(), half.start, half.buffer.capacity()), (45_000, 0, 45_000));
    }
}
