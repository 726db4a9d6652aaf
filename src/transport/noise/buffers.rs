//! A pool of record buffers, shared by the links of an endpoint.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum number of pooled buffers of each kind. More links are rarely busy at the same moment.
const KEPT: usize = 4;

/// Free record buffers.
#[derive(Debug, Default)]
pub(crate) struct NoiseBuffers {
    buffers: Mutex<[Vec<Vec<u8>>; 2]>,
}

/// The use of a buffer. The two kinds are not mixed: write buffers keep their length, so that they
/// need not be zeroed on each use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BufferKind {
    Reading,
    Writing,
}

impl NoiseBuffers {
    /// Returns a buffer of at least this capacity. A write buffer also has this length.
    pub(crate) fn take(&self, kind: BufferKind, capacity: usize) -> Vec<u8> {
        let spare = self.buffers()[kind as usize].pop();
        let mut buffer = match spare {
            Some(buffer) if buffer.capacity() >= capacity => buffer,
            _ => Vec::with_capacity(capacity),
        };
        match kind {
            BufferKind::Reading => buffer.clear(),
            BufferKind::Writing => buffer.resize(capacity, 0),
        }
        buffer
    }

    /// Returns a buffer to the pool.
    pub(crate) fn give(&self, kind: BufferKind, buffer: Vec<u8>) {
        let mut buffers = self.buffers();
        let spare = &mut buffers[kind as usize];
        if spare.len() < KEPT {
            spare.push(buffer);
        }
    }

    fn buffers(&self) -> MutexGuard<'_, [Vec<Vec<u8>>; 2]> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
