//! The memory budget that all outbound queues of an endpoint share, and the cost of a frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_listener::EventListener;

use crate::primitives::buffer_pool::BufferPool;
use crate::primitives::notify::Notify;
use crate::proto::Frame;

/// Cost of a slot in a queue, whose capacity may be twice its length.
pub(crate) const SLOT_COST: usize = 96;

/// Cost of a queued frame beside its own bytes: its slot, and its allocation.
pub(crate) const OVERHEAD: usize = SLOT_COST + 32;

/// The fraction of the budget that the buffer pool keeps while it is idle: 1 MiB by default, which
/// is what two peers have in flight at most.
const POOL_FRACTION: usize = 64;

/// The cost of a frame against the budget and the queue limits.
pub(crate) fn cost(frame: &Frame) -> usize {
    frame.len() + OVERHEAD
}

/// The memory budget of all outbound queues of an endpoint, in bytes.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    /// Reserved bytes. Invariant: at most `limit`.
    used: AtomicUsize,
    limit: usize,
    /// Pool of the buffers in which small frames are coalesced.
    buffers: Arc<BufferPool>,
    /// Notified when bytes are released.
    released: Notify,
}

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> Arc<MemoryBudget> {
        let buffers = BufferPool::new(limit / POOL_FRACTION);
        Arc::new(MemoryBudget {
            used: AtomicUsize::new(0),
            limit,
            buffers,
            released: Notify::new(),
        })
    }

    /// Pool of the buffers in which small frames are coalesced.
    pub(crate) fn buffers(&self) -> &Arc<BufferPool> {
        &self.buffers
    }

    /// Reserves `bytes` bytes. `false`, without any effect, if they are not available.
    pub(crate) fn try_reserve(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Releases `bytes` bytes. Waiters are notified by
    /// [`wake_waiters`](MemoryBudget::wake_waiters).
    pub(crate) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Wakes up those who wait for released bytes. Must be called without a lock.
    pub(crate) fn wake_waiters(&self) {
        self.released.notify_all();
    }

    /// Listens for released bytes.
    pub(crate) fn listen(&self) -> EventListener {
        self.released.listen()
    }

    /// Number of bytes that must be released before `bytes` can be reserved. `None` if that exceeds
    /// the budget.
    pub(crate) fn shortfall(&self, bytes: usize) -> Option<usize> {
        let most_used = self.limit.checked_sub(bytes)?;
        Some(self.used().saturating_sub(most_used))
    }

    /// Whether the budget is large enough for `bytes` bytes at all.
    pub(crate) fn can_hold(&self, bytes: usize) -> bool {
        bytes <= self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes that are reserved ahead for the frames of one call: at most this many, and at most a small
/// fraction of the budget, since other queues find them taken meanwhile.
const RESERVE_CHUNK: usize = 64 << 10;
const MAX_CHUNK_FRACTION: usize = 64;

/// Bytes that are reserved and not used yet. Dropping it releases them.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    budget: &'a MemoryBudget,
    bytes: usize,
}

impl Reservation<'_> {
    pub(crate) fn new(budget: &MemoryBudget) -> Reservation<'_> {
        Reservation { budget, bytes: 0 }
    }

    /// Uses `bytes` bytes of the reservation, which grows in chunks. `false` if they are not
    /// available.
    pub(crate) fn try_use(&mut self, bytes: usize) -> bool {
        if self.bytes < bytes {
            let missing = bytes - self.bytes;
            let chunk = RESERVE_CHUNK.min(self.budget.limit / MAX_CHUNK_FRACTION);
            match () {
                () if self.budget.try_reserve(missing + chunk) => self.bytes += missing + chunk,
                () if self.budget.try_reserve(missing) => self.bytes += missing,
                () => return false,
            }
        }
        self.bytes -= bytes;
        true
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.release(self.bytes);
            self.budget.wake_waiters();
        }
    }
}

/// The reservation for a frame that is queued for several peers. It covers the bytes of the frame
/// once; each queue reserves a slot in addition.
#[derive(Debug)]
pub(crate) struct SharedReservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl SharedReservation {
    /// Reserves the bytes of a frame that is queued for several peers.
    pub(crate) fn new(budget: &Arc<MemoryBudget>, frame: &Frame) -> Option<Arc<SharedReservation>> {
        let bytes = cost(frame) - SLOT_COST;
        budget
            .try_reserve(bytes)
            .then(|| Arc::new(SharedReservation { budget: budget.clone(), bytes }))
    }
}

impl Drop for SharedReservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
        self.budget.wake_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_what_must_be_given_back() {
        let budget = MemoryBudget::new(100);
        assert!(
            budget.try_reserve(70) && !budget.try_reserve(31) && !budget.try_reserve(usize::MAX)
        );
        assert_eq!(
            [0, 30, 31, 100, 101].map(|bytes| budget.shortfall(bytes)),
            [Some(0), Some(0), Some(1), Some(70), None]
        );
        budget.release(1);
        assert!(budget.try_reserve(31));
    }

    #[test]
    fn what_was_taken_for_many_and_not_used_comes_back() {
        for limit in [100, RESERVE_CHUNK, 10 * RESERVE_CHUNK] {
            let budget = MemoryBudget::new(limit);
            let mut charge = Reservation::new(&budget);
            let taken = (0..).take_while(|_| charge.try_use(30)).count();
            assert_eq!(taken, limit / 30);
            drop(charge);
            assert_eq!(budget.used(), 30 * taken);
        }
    }
}
