//! Buffers for messages that go round between the links of an endpoint.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers of each kind that are kept: more links are seldom busy in the same moment.
const KEPT: usize = 4;

/// Buffers that wait for the next link which is busy.
#[derive(Debug, Default)]
pub(crate) struct NoiseBuffers {
    buffers: Mutex<[Vec<Vec<u8>>; 2]>,
}

/// What a buffer is for. They are not mixed: those to write from keep their length, so that they
/// need not be zeroed each time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BufferKind {
    Reading,
    Writing,
}

impl NoiseBuffers {
    /// A buffer of this capacity, all of which is filled if it is for writing.
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

    /// Takes a buffer back that is not needed any more.
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
