//! What all outbound queues of an endpoint may hold together, and what a frame costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_listener::EventListener;

use crate::primitives::buffer_pool::BufferPool;
use crate::primitives::notify::Notify;
use crate::proto::Frame;

/// What a place in a queue costs, which has room for twice as many.
pub(crate) const SLOT_COST: usize = 96;

/// What a waiting frame costs beside its own bytes: its place, and its allocation.
pub(crate) const OVERHEAD: usize = SLOT_COST + 32;

/// The part of the bound that is kept as buffers to copy frames to while nothing waits: with 1 MiB,
/// what two neighbours have under way at most.
const POOL_FRACTION: usize = 64;

/// What a frame counts against the budgets.
pub(crate) fn cost(frame: &Frame) -> usize {
    frame.len() + OVERHEAD
}

/// The bytes that all outbound queues of an endpoint may hold together.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    used: AtomicUsize,
    limit: usize,
    /// What small frames are copied to.
    buffers: Arc<BufferPool>,
    /// Notified when bytes were given back.
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

    /// What small frames are copied to.
    pub(crate) fn buffers(&self) -> &Arc<BufferPool> {
        &self.buffers
    }

    /// Takes so many bytes, if they are there.
    pub(crate) fn try_reserve(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Gives bytes back. Whoever waits for them learns of it by [`released`](Budget::released).
    pub(crate) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Wakes those who wait for bytes to be given back. To be called without a lock.
    pub(crate) fn wake_waiters(&self) {
        self.released.notify_all();
    }

    /// Hears of the next time that bytes are given back.
    pub(crate) fn listen(&self) -> EventListener {
        self.released.listen()
    }

    /// How many bytes must be given back before so many can be taken. `None`: that is more than
    /// there will ever be.
    pub(crate) fn shortfall(&self, bytes: usize) -> Option<usize> {
        let most_used = self.limit.checked_sub(bytes)?;
        Some(self.used().saturating_sub(most_used))
    }

    /// Whether so many bytes can ever be taken.
    pub(crate) fn can_hold(&self, bytes: usize) -> bool {
        bytes <= self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes that are taken from the budget at once for many frames: so many at most, and no more than a
/// small part of all, for others find them taken meanwhile.
const RESERVE_CHUNK: usize = 64 << 10;
const MAX_CHUNK_FRACTION: usize = 64;

/// Bytes that were taken and are not used yet. Dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    budget: &'a MemoryBudget,
    bytes: usize,
}

impl Reservation<'_> {
    pub(crate) fn new(budget: &MemoryBudget) -> Reservation<'_> {
        Reservation { budget, bytes: 0 }
    }

    /// Uses so many bytes, if they are there.
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

/// The share of the budget that a frame takes while it waits in several queues: once, and its place
/// in each of them beside that.
#[derive(Debug)]
pub(crate) struct SharedReservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl SharedReservation {
    /// Charges the budget for a frame that goes to many peers.
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
