//! A pool of large buffers.
//!
//! An allocator returns memory of this size to the system immediately, and the page faults of
//! getting it again cost more than the reads themselves.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;

use crate::primitives::lock::Mutex;

/// Smallest pooled buffer, in bytes. Smaller ones are left to the allocator.
const MIN_POOLED: usize = 64 << 10;

/// Free buffers, shared by many links.
///
/// Buffers are not wiped. Before a caller puts one back, it wipes what the next user must not see.
#[derive(Debug)]
pub(crate) struct BufferPool {
    free: Mutex<FreeList>,
    /// Maximum size of the free buffers, in bytes.
    ///
    /// Invariant: `free.bytes <= max_bytes`.
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct FreeList {
    buffers: Vec<Vec<u8>>,
    /// Sum of the capacities.
    bytes: usize,
}

impl BufferPool {
    /// Creates a pool that holds free buffers of at most `max_bytes` bytes in all.
    pub(crate) fn new(max_bytes: usize) -> Arc<BufferPool> {
        Arc::new(BufferPool { free: Mutex::default(), max_bytes })
    }

    /// Returns an empty buffer with at least this capacity.
    pub(crate) fn get(&self, capacity: usize) -> Vec<u8> {
        let mut buffer = self.pop(capacity).unwrap_or_else(|| Vec::with_capacity(capacity));
        buffer.clear();
        buffer
    }

    /// Returns a buffer of this length with arbitrary contents.
    ///
    /// A buffer that was put back with this length is not zeroed again.
    #[cfg(feature = "noise")]
    pub(crate) fn get_with_len(&self, len: usize) -> Vec<u8> {
        match self.pop(len) {
            Some(mut buffer) => {
                buffer.resize(len, 0);
                buffer
            }
            None => vec![0; len],
        }
    }

    /// Returns a buffer to the pool.
    pub(crate) fn put(&self, buffer: Vec<u8>) {
        if buffer.capacity() < MIN_POOLED {
            return;
        }
        let mut free = self.lock();
        if free.bytes + buffer.capacity() <= self.max_bytes {
            free.bytes += buffer.capacity();
            free.buffers.push(buffer);
        }
    }

    /// Returns an empty buffer with at least this capacity, which goes back to the pool on drop.
    pub(crate) fn get_pooled(self: &Arc<Self>, capacity: usize) -> PooledBuf {
        PooledBuf { buffer: self.get(capacity), pool: Some(self.clone()) }
    }

    /// Converts a buffer to `Bytes`, whose memory goes back to the pool when the last reference is
    /// dropped.
    pub(crate) fn freeze(self: &Arc<Self>, buffer: Vec<u8>) -> Bytes {
        PooledBuf { buffer, pool: Some(self.clone()) }.freeze()
    }

    /// Size of the free buffers, in bytes.
    #[cfg(test)]
    pub(crate) fn pooled_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Takes the last free buffer with at least this capacity.
    fn pop(&self, capacity: usize) -> Option<Vec<u8>> {
        if capacity < MIN_POOLED {
            return None;
        }
        let mut free = self.lock();
        let at = free.buffers.iter().rposition(|buffer| buffer.capacity() >= capacity)?;
        let buffer = free.buffers.swap_remove(at);
        free.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn lock(&self) -> MutexGuard<'_, FreeList> {
        self.free.lock()
    }
}

/// A buffer that goes back to its pool on drop.
#[derive(Debug, Default)]
pub(crate) struct PooledBuf {
    buffer: Vec<u8>,
    pool: Option<Arc<BufferPool>>,
}

impl PooledBuf {
    /// The empty buffer, of no pool.
    pub(crate) const EMPTY: PooledBuf = PooledBuf { buffer: Vec::new(), pool: None };

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
        if let Some(pool) = &self.pool {
            pool.put(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_reused_and_a_bounded_number_is_pooled() {
        let pool = BufferPool::new(1 << 20);
        let frozen: Vec<Bytes> = (0..9)
            .map(|number| {
                let mut buffer = pool.get(256 << 10);
                buffer.extend_from_slice(&[number; 3]);
                pool.freeze(buffer)
            })
            .collect();
        let slice = frozen[0].slice(1..);
        let start = frozen[0].as_ptr();
        drop(frozen);
        assert_eq!((pool.lock().buffers.len(), &slice[..]), (4, &[0, 0][..]));
        while pool.lock().buffers.pop().is_some() {}
        pool.lock().bytes = 0;
        drop(slice);
        let reused = pool.get(100 << 10);
        assert_eq!((reused.as_ptr(), reused.len(), pool.lock().bytes), (start, 0, 0));
    }

    #[test]
    fn small_buffers_are_left_to_the_allocator() {
        let pool = BufferPool::new(1 << 20);
        pool.put(pool.get(MIN_POOLED - 1));
        drop(pool.freeze(vec![1; 100]));
        assert!(pool.lock().buffers.is_empty());
    }

    #[cfg(feature = "noise")]
    #[test]
    fn a_buffer_that_keeps_its_length_is_not_zeroed_again() {
        let pool = BufferPool::new(1 << 20);
        pool.put(vec![7; MIN_POOLED]);
        let buffer = pool.get_with_len(MIN_POOLED);
        assert!(buffer.iter().all(|byte| *byte == 7));
        pool.put(buffer);
        assert!(pool.get(MIN_POOLED).is_empty());
        assert_eq!(pool.get_with_len(MIN_POOLED), [0; MIN_POOLED]);
    }
}
