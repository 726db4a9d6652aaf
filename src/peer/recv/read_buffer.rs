//! The read buffer of a link: read sizes, copying, and when its memory is released.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::primitives::buffer_pool::BufferPool;
use crate::transport::{Link, ReadBuffer};

/// Smallest capacity for a read. It holds the frames of a burst of small ones, and is small enough
/// for thousands of links to read at the same time.
const MIN_READ: usize = 16 << 10;

/// Largest capacity for a read. The buffer doubles each time that a read fills it. At this size the
/// partial frame that has to be moved to the next buffer is small compared with what was read.
/// Half and twice this size are both slower, for frames of 4 KiB and of 32 000 B.
const MAX_READ: usize = 128 << 10;

/// Buffer size from which a link counts as busy. The size is kept while reads fill a quarter of it.
const BUSY_CAPACITY: usize = 64 << 10;

/// Runs up to this length are copied out of the buffer, which is then reused. Longer ones take the
/// allocation with them and are not copied.
const COPY_MAX: usize = 16 << 10;

impl ReadBuffer {
    /// The bytes that were read and not consumed yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Consumes the first `len` bytes.
    pub(crate) fn skip(&mut self, len: usize) {
        self.start += len;
        self.consumed = self.consumed.wrapping_add(1);
    }

    /// Discards all bytes.
    pub(crate) fn discard(&mut self) {
        self.buffer.clear();
        self.start = 0;
    }

    /// Moves the unread bytes, which hold no whole message, to the front of the buffer.
    pub(crate) fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
    }

    /// Whether the link is busy: recent reads filled a good part of a large buffer.
    pub(crate) fn is_busy(&self) -> bool {
        self.size >= BUSY_CAPACITY
    }

    /// The capacity for the next read.
    pub(crate) fn next_capacity(&self) -> usize {
        // A full buffer whose message is still incomplete grows, but only to twice what really
        // arrived. A length prefix alone never causes a large allocation.
        match self.unread().len() < self.size {
            true => self.size.max(MIN_READ),
            false => (2 * self.unread().len()).max(MIN_READ),
        }
    }

    /// Makes the next read a small one: what this link brings is worth no more.
    pub(crate) fn restrict_next(&mut self) {
        self.size = MIN_READ;
    }

    /// Ensures that the buffer can hold `target` bytes in all.
    pub(crate) fn reserve(&mut self, target: usize, buffers: &BufferPool) {
        self.compact();
        if self.buffer.capacity() < target {
            let mut larger = buffers.get(target);
            larger.extend_from_slice(&self.buffer);
            buffers.put(std::mem::replace(&mut self.buffer, larger));
        }
    }

    /// Performs one read, and adapts the size of the next one.
    pub(crate) fn read(&mut self, link: &Link, target: usize) -> io::Result<usize> {
        let read = link.stream.try_read(&mut self.buffer)?;
        if self.buffer.len() == self.buffer.capacity() {
            self.size = (2 * target).min(MAX_READ);
        } else if read < self.size / 4 {
            self.size /= 2;
        }
        Ok(read)
    }

    /// Splits off the first `len` bytes. Also returns the size of the allocation that they keep
    /// alive.
    pub(crate) fn split_front(&mut self, len: usize, buffers: &Arc<BufferPool>) -> (Bytes, usize) {
        // A buffer that is mostly empty is not worth keeping alive for what is in it.
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
        self.consumed = self.consumed.wrapping_add(1);
        (buffers.freeze(run).slice(start..), pinned)
    }

    /// Releases memory while nothing is read. Unread bytes are copied to an exact allocation.
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
        let mut read_buffer =
            ReadBuffer { buffer: vec![7; COPY_MAX + 12], ..ReadBuffer::default() };
        let start = read_buffer.buffer.as_ptr();
        read_buffer.skip(2);
        let (run, pinned) = read_buffer.split_front(COPY_MAX + 1, &buffers);
        assert_eq!((run.as_ptr(), run.len()), (start.wrapping_add(2), COPY_MAX + 1));
        assert_eq!(read_buffer.unread(), [7; 9]);
        assert!(pinned >= COPY_MAX + 12);
        let (run, pinned) = read_buffer.split_front(3, &buffers);
        assert_eq!((&run[..], pinned, read_buffer.unread()), (&[7; 3][..], 3, &[7; 6][..]));
    }

    #[test]
    fn unread_bytes_are_not_moved_until_the_next_read() {
        let buffers = BufferPool::new(0);
        let mut read_buffer = ReadBuffer { buffer: vec![7; 90_000], ..ReadBuffer::default() };
        let start = read_buffer.buffer.as_ptr();
        for handled in 1..=1000 {
            match handled % 2 {
                0 => read_buffer.skip(45),
                _ => drop(read_buffer.split_front(45, &buffers)),
            }
            assert_eq!(read_buffer.unread().as_ptr(), start.wrapping_add(45 * handled));
        }
        read_buffer.release_memory(&buffers);
        assert_eq!(
            (read_buffer.unread().len(), read_buffer.start, read_buffer.buffer.capacity()),
            (45_000, 0, 45_000)
        );
    }
}
