//! A pool of large buffers. An allocator returns memory of this size to the system immediately, and
//! the page faults of getting it again cost more than the reads themselves.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Smallest pooled buffer, in bytes. Smaller ones are left to the allocator.
const MIN_POOLED: usize = 64 << 10;

/// Free buffers, shared by all links.
#[derive(Debug)]
pub(crate) struct BufferPool {
    spare: Mutex<FreeList>,
    /// Maximum size of the free buffers, in bytes.
    ///
    /// Invariant: `spare.bytes <= kept`.
    kept: usize,
}

#[derive(Debug, Default)]
struct FreeList {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl BufferPool {
    pub(crate) fn new(kept: usize) -> Arc<BufferPool> {
        Arc::new(BufferPool { spare: Mutex::default(), kept })
    }

    /// Returns an empty buffer with at least this capacity.
    pub(crate) fn get(&self, capacity: usize) -> Vec<u8> {
        if capacity >= MIN_POOLED {
            let mut spare = self.spare();
            if let Some(at) = spare.buffers.iter().rposition(|buffer| buffer.capacity() >= capacity)
            {
                let buffer = spare.buffers.swap_remove(at);
                spare.bytes -= buffer.capacity();
                return buffer;
            }
        }
        Vec::with_capacity(capacity)
    }

    /// Returns a buffer to the pool.
    pub(crate) fn put(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() < MIN_POOLED {
            return;
        }
        let mut spare = self.spare();
        if spare.bytes + buffer.capacity() <= self.kept {
            buffer.clear();
            spare.bytes += buffer.capacity();
            spare.buffers.push(buffer);
        }
    }

    /// Returns an empty buffer with at least this capacity, which goes back to the pool on drop.
    pub(crate) fn get_pooled(self: &Arc<Self>, capacity: usize) -> PooledBuf {
        PooledBuf { buffer: self.get(capacity), buffers: Some(self.clone()) }
    }

    /// Converts a buffer to `Bytes`, whose memory goes back to the pool when the last reference is
    /// dropped.
    pub(crate) fn pooled_bytes_of(self: &Arc<Self>, buffer: Vec<u8>) -> Bytes {
        PooledBuf { buffer, buffers: Some(self.clone()) }.freeze()
    }

    /// Size of the free buffers, in bytes.
    #[cfg(test)]
    pub(crate) fn pooled_bytes(&self) -> usize {
        self.spare().bytes
    }

    fn spare(&self) -> MutexGuard<'_, FreeList> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that goes back to its pool on drop.
#[derive(Debug, Default)]
pub(crate) struct PooledBuf {
    buffer: Vec<u8>,
    buffers: Option<Arc<BufferPool>>,
}

impl PooledBuf {
    /// Converts the buffer to shared, immutable bytes.
    pub(crate) fn freeze(mut self) -> Bytes {
        match self.capacity() < MIN_POOLED {
            true => Bytes::from(std::mem::take(&mut self.buffer)),
            false => Bytes::from_owner(self),
        }
    }
}

impl Deref for PooledBuf {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.buffer
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        if let Some(buffers) = &self.buffers {
            buffers.put(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_come_back_and_a_bounded_number_is_kept() {
        let buffers = BufferPool::new(1 << 20);
        let lent: Vec<Bytes> = (0..9)
            .map(|number| {
                let mut buffer = buffers.get(256 << 10);
                buffer.extend_from_slice(&[number; 3]);
                buffers.pooled_bytes_of(buffer)
            })
            .collect();
        let part = lent[0].slice(1..);
        let start = lent[0].as_ptr();
        drop(lent);
        assert_eq!((buffers.spare().buffers.len(), &part[..]), (4, &[0, 0][..]));
        while buffers.spare().buffers.pop().is_some() {}
        buffers.spare().bytes = 0;
        drop(part);
        let again = buffers.get(100 << 10);
        assert_eq!((again.as_ptr(), again.len(), buffers.spare().bytes), (start, 0, 0));
    }

    #[test]
    fn small_buffers_are_left_to_the_allocator() {
        let buffers = BufferPool::new(1 << 20);
        buffers.put(buffers.get(MIN_POOLED - 1));
        drop(buffers.pooled_bytes_of(vec![1; 100]));
        assert!(buffers.spare().buffers.is_empty());
    }
}
