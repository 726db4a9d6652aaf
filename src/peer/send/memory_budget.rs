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

/// The fraction of the budget that strangers cannot touch.
const RESERVED_FRACTION: usize = 4;

/// The cost of a frame against the budget and the queue limits.
pub(crate) fn cost(frame: &Frame) -> usize {
    frame.len() + OVERHEAD
}

/// The memory budget of all outbound queues of an endpoint, in bytes.
///
/// Strangers get memory only while all peers together use at most the open part of it, so they
/// never hold more than that, and the reserve is left to the others. One counter suffices. It also
/// charges the single copy of a flood to those who hold it last: strangers joined it within the
/// open part, no matter who else holds it or has released it.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    /// Reserved bytes. Invariant: at most `limit`, and of these strangers hold at most `open`.
    used: AtomicUsize,
    limit: usize,
    /// The part of `limit` that is not reserved for dialed and trusted peers.
    open: usize,
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
            open: limit - limit / RESERVED_FRACTION,
            buffers,
            released: Notify::new(),
        })
    }

    /// Pool of the buffers in which small frames are coalesced.
    pub(crate) fn buffers(&self) -> &Arc<BufferPool> {
        &self.buffers
    }

    /// Up to where a peer may fill the budget.
    fn limit_for(&self, is_stranger: bool) -> usize {
        if is_stranger { self.open } else { self.limit }
    }

    /// Reserves `bytes` bytes for a peer. `false`, without any effect, if they are not available.
    pub(crate) fn try_reserve(&self, bytes: usize, is_stranger: bool) -> bool {
        let limit = self.limit_for(is_stranger);
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
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

    /// Number of bytes that must be released before `bytes` can be reserved for a peer. Zero if
    /// that exceeds its part of the budget, so that releasing does not help.
    pub(crate) fn shortfall(&self, bytes: usize, is_stranger: bool) -> usize {
        let most_used = self.limit_for(is_stranger).checked_sub(bytes);
        most_used.map_or(0, |most_used| self.used().saturating_sub(most_used))
    }

    /// Whether the budget is large enough for `bytes` bytes of a peer at all.
    pub(crate) fn can_hold(&self, bytes: usize, is_stranger: bool) -> bool {
        bytes <= self.limit_for(is_stranger)
    }

    /// The part of the budget that strangers cannot touch.
    pub(crate) fn reserve(&self) -> usize {
        self.limit - self.open
    }

    /// Number of bytes that are reserved or released at once, to save work.
    pub(crate) fn chunk(&self) -> usize {
        RESERVE_CHUNK.min(self.limit / MAX_CHUNK_FRACTION)
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

    /// Uses `bytes` bytes of the reservation for a peer. It grows in chunks. `false` if they are
    /// not available.
    pub(crate) fn try_use(&mut self, bytes: usize, is_stranger: bool) -> bool {
        if self.bytes < bytes {
            let shortfall = bytes - self.bytes;
            let more = shortfall + self.budget.chunk();
            match () {
                () if self.budget.try_reserve(more, is_stranger) => self.bytes += more,
                () if self.budget.try_reserve(shortfall, is_stranger) => self.bytes += shortfall,
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
/// once; each queue reserves a slot in addition. That is where a stranger is refused if the frame
/// lies in the reserve.
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
            .try_reserve(bytes, false)
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
    fn the_shortfall_is_what_must_be_released() {
        let budget = MemoryBudget::new(100);
        assert!(budget.try_reserve(70, false) && !budget.try_reserve(31, false));
        assert!(!budget.try_reserve(usize::MAX, false));
        let shortfalls = [0, 30, 31, 100, 101].map(|bytes| budget.shortfall(bytes, false));
        assert_eq!(shortfalls, [0, 0, 1, 70, 0]);
        budget.release(1);
        assert!(budget.try_reserve(31, false));
    }

    #[test]
    fn strangers_cannot_touch_the_reserve() {
        let budget = MemoryBudget::new(100);
        assert!(budget.can_hold(75, true) && !budget.can_hold(76, true));
        assert!(budget.try_reserve(40, true) && budget.try_reserve(30, false));
        assert!(!budget.try_reserve(6, true) && budget.try_reserve(30, false));
        assert!(!budget.try_reserve(1, false) && !budget.try_reserve(1, true));
        assert_eq!((budget.shortfall(1, true), budget.shortfall(1, false)), (26, 1));
        assert_eq!(budget.shortfall(76, true), 0, "more than there is for strangers");
        budget.release(26);
        assert!(budget.try_reserve(1, true) && !budget.try_reserve(1, true));
    }

    #[test]
    fn the_unused_part_of_a_chunk_is_released() {
        for limit in [100, RESERVE_CHUNK, 10 * RESERVE_CHUNK] {
            let budget = MemoryBudget::new(limit);
            let mut reservation = Reservation::new(&budget);
            let taken = (0..).take_while(|_| reservation.try_use(30, false)).count();
            assert_eq!(taken, limit / 30);
            drop(reservation);
            assert_eq!(budget.used(), 30 * taken);
        }
    }
}
