//! Large buffers that go round: an allocator gives memory of this size back to the system at once,
//! and the page faults of getting it again cost more than reading does.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Smaller buffers are left to the allocator.
const SMALLEST: usize = 64 << 10;

/// Buffers that wait to be filled, for all links together.
#[derive(Debug)]
pub(crate) struct Buffers {
    spare: Mutex<Spare>,
    /// Bytes that are kept at most.
    kept: usize,
}

#[derive(Debug, Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    pub(super) fn new(kept: usize) -> Arc<Buffers> {
        Arc::new(Buffers { spare: Mutex::default(), kept })
    }

    /// An empty buffer of so many bytes at least.
    pub(super) fn take(&self, capacity: usize) -> Vec<u8> {
        if capacity >= SMALLEST {
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

    /// Takes a buffer back that is not needed any more.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() < SMALLEST {
            return;
        }
        let mut spare = self.spare();
        if spare.bytes + buffer.capacity() <= self.kept {
            buffer.clear();
            spare.bytes += buffer.capacity();
            spare.buffers.push(buffer);
        }
    }

    /// An empty buffer of so many bytes at least, which comes back when it is dropped.
    pub(super) fn borrow(self: &Arc<Self>, capacity: usize) -> Lent {
        Lent { buffer: self.take(capacity), buffers: Some(self.clone()) }
    }

    /// What is in a buffer, which comes back when nobody needs that any more.
    pub(super) fn lend(self: &Arc<Self>, buffer: Vec<u8>) -> Bytes {
        Lent { buffer, buffers: Some(self.clone()) }.freeze()
    }

    /// Bytes that wait to be filled.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.spare().bytes
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that comes back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Lent {
    buffer: Vec<u8>,
    buffers: Option<Arc<Buffers>>,
}

impl Lent {
    /// What is in it, to be read by many.
    pub(super) fn freeze(mut self) -> Bytes {
        match self.capacity() < SMALLEST {
            true => Bytes::from(std::mem::take(&mut self.buffer)),
            false => Bytes::from_owner(self),
        }
    }
}

impl Deref for Lent {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.buffer
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(buffers) = &self.buffers {
            buffers.give(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_come_back_and_a_bounded_number_is_kept() {
        let buffers = Buffers::new(1 << 20);
        let lent: Vec<Bytes> = (0..9)
            .map(|number| {
                let mut buffer = buffers.take(256 << 10);
                buffer.extend_from_slice(&[number; 3]);
                buffers.lend(buffer)
            })
            .collect();
        let part = lent[0].slice(1..);
        let start = lent[0].as_ptr();
        drop(lent);
        assert_eq!((buffers.spare().buffers.len(), &part[..]), (4, &[0, 0][..]));
        while buffers.spare().buffers.pop().is_some() {}
        buffers.spare().bytes = 0;
        drop(part);
        let again = buffers.take(100 << 10);
        assert_eq!((again.as_ptr(), again.len(), buffers.spare().bytes), (start, 0, 0));
    }

    #[test]
    fn small_buffers_are_left_to_the_allocator() {
        let buffers = Buffers::new(1 << 20);
        buffers.give(buffers.take(SMALLEST - 1));
        drop(buffers.lend(vec![1; 100]));
        assert!(buffers.spare().buffers.is_empty());
    }
}
