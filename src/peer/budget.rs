//! What all outbound queues of an endpoint may hold together, and what a frame costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_listener::EventListener;

use super::buffers::Buffers;
use super::signal::Signal;
use crate::proto::Frame;

/// What a place in a queue costs, which has room for twice as many.
pub(crate) const PLACE: usize = 96;

/// What a waiting frame costs beside its own bytes: its place, and its allocation.
pub(super) const OVERHEAD: usize = PLACE + 32;

/// The part of the bound that is kept as buffers to copy frames to while nothing waits: with 1 MiB,
/// what two neighbours have under way at most.
const KEPT: usize = 64;

/// What a frame counts against the budgets.
pub(crate) fn cost(frame: &Frame) -> usize {
    frame.len() + OVERHEAD
}

/// The bytes that all outbound queues of an endpoint may hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// What small frames are copied to.
    buffers: Arc<Buffers>,
    /// Notified when bytes were given back.
    released: Signal,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Budget> {
        let buffers = Buffers::new(limit / KEPT);
        Arc::new(Budget { used: AtomicUsize::new(0), limit, buffers, released: Signal::new() })
    }

    /// What small frames are copied to.
    pub(super) fn buffers(&self) -> &Arc<Buffers> {
        &self.buffers
    }

    /// Takes so many bytes, if they are there.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Gives bytes back. Whoever waits for them learns of it by [`released`](Budget::released).
    pub(super) fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Wakes those who wait for bytes to be given back. To be called without a lock.
    pub(super) fn released(&self) {
        self.released.tell();
    }

    /// Hears of the next time that bytes are given back.
    pub(super) fn listen(&self) -> EventListener {
        self.released.listen()
    }

    /// How many bytes must be given back before so many can be taken. `None`: that is more than
    /// there will ever be.
    pub(crate) fn missing(&self, bytes: usize) -> Option<usize> {
        let most_used = self.limit.checked_sub(bytes)?;
        Some(self.used().saturating_sub(most_used))
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes that are taken from the budget at once for many frames: so many at most, and no more than a
/// small part of all, for others find them taken meanwhile.
const CHUNK: usize = 64 << 10;
const SMALL_PART: usize = 64;

/// Bytes that were taken and are not used yet. Dropping it gives them back.
#[derive(Debug)]
pub(super) struct Charge<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Charge<'_> {
    pub(super) fn new(budget: &Budget) -> Charge<'_> {
        Charge { budget, bytes: 0 }
    }

    /// Uses so many bytes, if they are there.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        if self.bytes < bytes {
            let missing = bytes - self.bytes;
            let chunk = CHUNK.min(self.budget.limit / SMALL_PART);
            match () {
                () if self.budget.take(missing + chunk) => self.bytes += missing + chunk,
                () if self.budget.take(missing) => self.bytes += missing,
                () => return false,
            }
        }
        self.bytes -= bytes;
        true
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give(self.bytes);
            self.budget.released();
        }
    }
}

/// The share of the budget that a frame takes while it waits in several queues: once, and its place
/// in each of them beside that.
#[derive(Debug)]
pub(crate) struct FloodCharge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl FloodCharge {
    /// Charges the budget for a frame that goes to many peers.
    pub(crate) fn new(budget: &Arc<Budget>, frame: &Frame) -> Option<Arc<FloodCharge>> {
        let bytes = cost(frame) - PLACE;
        budget.take(bytes).then(|| Arc::new(FloodCharge { budget: budget.clone(), bytes }))
    }
}

impl Drop for FloodCharge {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
        self.budget.released();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_what_must_be_given_back() {
        let budget = Budget::new(100);
        assert!(budget.take(70) && !budget.take(31) && !budget.take(usize::MAX));
        assert_eq!(
            [0, 30, 31, 100, 101].map(|bytes| budget.missing(bytes)),
            [Some(0), Some(0), Some(1), Some(70), None]
        );
        budget.give(1);
        assert!(budget.take(31));
    }

    #[test]
    fn what_was_taken_for_many_and_not_used_comes_back() {
        for limit in [100, CHUNK, 10 * CHUNK] {
            let budget = Budget::new(limit);
            let mut charge = Charge::new(&budget);
            let taken = (0..).take_while(|_| charge.take(30)).count();
            assert_eq!(taken, limit / 30);
            drop(charge);
            assert_eq!(budget.used(), 30 * taken);
        }
    }
}
