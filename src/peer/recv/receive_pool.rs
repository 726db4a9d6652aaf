//! The memory for received frames that the peers of an endpoint share.
//!
//! Half of it is a reserve for dialed and trusted peers, the other half is for strangers. What
//! dialed and trusted peers were promised fits into the reserve, so strangers never take it from
//! them. What strangers were promised may exceed their half, since most of them send little. If it
//! does run short, those of them that hold the most pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::peer::PeerClass;
use crate::peer::recv::stranger_memory::StrangerMemory;

/// The smallest window of a peer, in bytes. It admits a whole frame, since a frame may begin while
/// anything is left of the window.
pub(crate) const MIN_WINDOW: usize = 2 << 10;

/// The window that a peer begins with, as far as the pool admits it. Half of it holds a frame of
/// the maximum length: in a ring of routers each then leaves the credit of one to those that it
/// forwards.
const INITIAL_WINDOW: usize = 256 << 10;

/// The largest window of a peer.
pub(crate) const MAX_WINDOW: usize = 1 << 20;

/// A new or larger window takes at most this fraction of what is free, so that some is left for
/// the next peer.
const WINDOW_FRACTION: usize = 2;

/// The memory for received frames, in bytes.
#[derive(Debug)]
pub(crate) struct ReceivePool {
    /// Limit of the windows of dialed and trusted peers.
    reserve: usize,
    /// The windows of dialed and trusted peers. Exceeds `reserve` only by smallest windows.
    promised: AtomicUsize,
    strangers: Arc<StrangerMemory>,
}

impl ReceivePool {
    /// Creates a pool of `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Arc<ReceivePool> {
        Arc::new(ReceivePool {
            reserve: bytes / 2,
            promised: AtomicUsize::new(0),
            strangers: StrangerMemory::new(bytes - bytes / 2),
        })
    }

    /// The part of strangers.
    pub(crate) fn strangers(&self) -> &Arc<StrangerMemory> {
        &self.strangers
    }

    #[cfg(test)]
    pub(crate) fn promised(&self) -> usize {
        self.promised.load(Ordering::SeqCst)
    }
}

/// The size of the window of one peer. Dropping it returns what it takes of the reserve.
#[derive(Debug, Default)]
pub(crate) struct WindowSize {
    /// `None` until the size is set first.
    pool: Option<Arc<ReceivePool>>,
    // Both fit: they are at most `MAX_WINDOW`.
    bytes: u32,
    /// How much of it is taken from the reserve: all or nothing.
    promised: u32,
}

impl WindowSize {
    /// The window that a peer of this class begins with.
    pub(crate) fn initial(pool: &Arc<ReceivePool>, class: PeerClass) -> WindowSize {
        let mut window = WindowSize { pool: Some(pool.clone()), bytes: 0, promised: 0 };
        window.resize(class, INITIAL_WINDOW);
        window
    }

    /// The window in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Doubles the window, as far as the pool admits it.
    pub(crate) fn grow(&mut self, class: PeerClass) {
        self.resize(class, (2 * self.bytes()).min(MAX_WINDOW));
    }

    /// Sets the window to `bytes`, or to what the pool admits if that is less. It never becomes
    /// smaller: the remote, which does not know its size, relies on that.
    fn resize(&mut self, class: PeerClass, bytes: usize) {
        let Some(pool) = &self.pool else { return };
        if class == PeerClass::Stranger {
            let free = pool.strangers.free();
            let admitted = bytes.min(free / WINDOW_FRACTION);
            self.set(admitted.max(self.bytes()).max(MIN_WINDOW), 0);
            return;
        }
        // The closure always yields a value, so this cannot fail.
        let mut size = self.bytes();
        let _ = pool.promised.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |promised| {
            let others = promised - self.promised as usize;
            let free = pool.reserve.saturating_sub(promised) / WINDOW_FRACTION;
            let admitted = self.promised as usize + free;
            size = bytes.min(admitted).max(self.bytes().min(bytes)).max(MIN_WINDOW);
            Some(others + size)
        });
        self.set(size, size);
    }

    fn set(&mut self, bytes: usize, promised: usize) {
        self.bytes = bytes as u32;
        self.promised = promised as u32;
    }
}

impl Drop for WindowSize {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.promised.fetch_sub(self.promised as usize, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: usize = 4 << 20;

    #[test]
    fn configured_peers_are_promised_no_more_than_the_reserve_and_smallest_windows() {
        let pool = ReceivePool::new(POOL);
        let mut windows: Vec<_> =
            (0..100).map(|_| WindowSize::initial(&pool, PeerClass::Dialed)).collect();
        assert_eq!(windows[0].bytes(), INITIAL_WINDOW);
        for round in 0..10 {
            windows.iter_mut().for_each(|window| window.grow(PeerClass::Dialed));
            let sum: usize = windows.iter().map(WindowSize::bytes).sum();
            assert_eq!(sum, pool.promised());
            assert!(sum <= POOL / 2 + 100 * MIN_WINDOW, "round {round}: {sum}");
            assert!(windows.iter().all(|window| window.bytes() >= MIN_WINDOW));
        }
        drop(windows);
        assert_eq!(pool.promised(), 0);
        let mut alone = WindowSize::initial(&pool, PeerClass::Trusted);
        (0..20).for_each(|_| alone.grow(PeerClass::Trusted));
        assert!(alone.bytes() > POOL / 8 && alone.bytes() <= MAX_WINDOW, "{}", alone.bytes());
    }

    #[test]
    fn the_windows_of_strangers_follow_what_is_free() {
        let pool = ReceivePool::new(POOL);
        let mut window = WindowSize::initial(&pool, PeerClass::Stranger);
        assert_eq!(window.bytes(), INITIAL_WINDOW);
        (0..9).for_each(|_| window.grow(PeerClass::Stranger));
        assert_eq!(window.bytes(), MAX_WINDOW);
        pool.strangers().account(None.into()).charge(POOL / 2);
        window.grow(PeerClass::Stranger);
        assert_eq!(window.bytes(), MAX_WINDOW, "it never becomes smaller");
        let late = WindowSize::initial(&pool, PeerClass::Stranger);
        assert_eq!((late.bytes(), pool.promised()), (MIN_WINDOW, 0));
        assert_eq!(WindowSize::initial(&pool, PeerClass::Dialed).bytes(), INITIAL_WINDOW);
    }

    #[test]
    fn a_stranger_that_becomes_a_dialed_peer_takes_from_the_reserve() {
        let pool = ReceivePool::new(POOL);
        let mut window = WindowSize::initial(&pool, PeerClass::Stranger);
        window.grow(PeerClass::Dialed);
        assert_eq!(window.bytes(), pool.promised());
    }
}
