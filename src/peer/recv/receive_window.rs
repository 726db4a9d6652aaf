//! Receive-side flow control: a window of bytes and frames that await the router.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::Event;

use crate::proto::{Frame, LENGTH_PREFIX};

/// Cost of a batch beside its bytes: its slot in the channel, and its allocation.
const OVERHEAD: usize = 128;

/// The fraction of the byte limit by which partially read frames may overdraw the window.
const OVERDRAFT_FRACTION: usize = 4;

/// A weighted semaphore, in bytes and frames, that is shared by all readers of an endpoint.
///
/// Readers acquire a permit before they read. Without one they do not read, and TCP flow control
/// throttles the sender.
#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    /// Sum of all permits. Invariant: `frames` never exceeds the limit; `bytes` may be overdrawn.
    used: Mutex<Usage>,
    limit: Usage,
    /// Notified when permits are released.
    released: Event,
    /// Held by the first of those who wait for a permit; the others queue up for this lock.
    fifo: async_lock::Mutex<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    bytes: usize,
    frames: usize,
}

impl ReceiveWindow {
    pub(crate) fn new(bytes: usize, frames: usize) -> Arc<ReceiveWindow> {
        Arc::new(ReceiveWindow {
            used: Mutex::default(),
            limit: Usage { bytes, frames },
            released: Event::new(),
            fifo: async_lock::Mutex::new(()),
        })
    }

    /// Bytes that are covered by permits.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.lock().bytes
    }

    /// Waits for a permit to read at most `bytes` bytes, and at least one frame. `None` if the
    /// window `is_closed` for good.
    ///
    /// Waiters are served in FIFO order. Otherwise a large request would starve behind small ones.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        bytes: usize,
        is_closed: impl Fn() -> bool,
    ) -> Option<Permit> {
        let _turn = self.fifo.lock().await;
        loop {
            let opened = self.released.listen();
            if is_closed() {
                return None;
            }
            if let Some(room) = ReceiveWindow::take(self, bytes) {
                return Some(room);
            }
            opened.await;
        }
    }

    /// Acquires a permit to read at most `bytes` bytes, if it is available and nobody waits for
    /// one.
    pub(crate) fn try_acquire(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let _turn = self.fifo.try_lock()?;
        ReceiveWindow::take(self, bytes)
    }

    /// Wakes up all waiters, so that they check whether the window is closed.
    pub(crate) fn wake_waiters(&self) {
        self.released.notify(usize::MAX);
    }

    fn take(gate: &Arc<ReceiveWindow>, bytes: usize) -> Option<Permit> {
        // `bytes` bytes hold at most this many frames. Acquire permits for all of them up front:
        // bytes that were read without one are not counted.
        let most_frames = 1 + bytes / (LENGTH_PREFIX + Frame::MIN_LEN);
        // A read larger than the whole window could never be granted.
        let bytes = (bytes + OVERHEAD).min(gate.limit.bytes);
        let frames = most_frames.min(gate.limit.frames);
        let mut used = gate.lock();
        let fits = used.bytes + bytes <= gate.limit.bytes;
        if !fits || used.frames + frames > gate.limit.frames {
            return None;
        }
        used.bytes += bytes;
        used.frames += frames;
        drop(used);
        Some(Permit { window: gate.clone(), bytes, frames })
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A share of the window. Dropping it releases the share.
#[derive(Debug)]
pub(crate) struct Permit {
    window: Arc<ReceiveWindow>,
    bytes: usize,
    frames: usize,
}

impl Permit {
    /// Number of frames that the permit covers.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// Whether the permit is enough to read `bytes` bytes.
    pub(crate) fn covers(&self, bytes: usize) -> bool {
        self.bytes >= (bytes + OVERHEAD).min(self.window.limit.bytes)
    }

    /// Grows the permit to cover `bytes` bytes, if that overdraws the window by no more than
    /// [`OVERDRAFT_FRACTION`].
    pub(crate) fn try_overdraw(&mut self, bytes: usize) -> bool {
        let more = (bytes + OVERHEAD).saturating_sub(self.bytes);
        let mut used = self.window.lock();
        let limit = self.window.limit.bytes;
        let fits =
            used.bytes.saturating_add(more) <= limit.saturating_add(limit / OVERDRAFT_FRACTION);
        if fits {
            used.bytes += more;
            self.bytes += more;
        }
        fits
    }

    /// Grows the permit to cover `bytes` bytes, even beyond the limit. Later requests wait longer.
    pub(crate) fn force_grow(&mut self, bytes: usize) {
        let more = (bytes + OVERHEAD).saturating_sub(self.bytes);
        if more > 0 {
            self.window.lock().bytes += more;
            self.bytes += more;
        }
    }

    /// Splits off the permit of a batch of `frames` frames that keeps `bytes` bytes of memory
    /// alive.
    pub(crate) fn split(&mut self, bytes: usize, frames: usize) -> Permit {
        let bytes = self.bytes.min(bytes + OVERHEAD);
        let frames = self.frames.min(frames);
        self.bytes -= bytes;
        self.frames -= frames;
        Permit { window: self.window.clone(), bytes, frames }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut used = self.window.lock();
        used.bytes -= self.bytes;
        used.frames -= self.frames;
        drop(used);
        self.window.released.notify(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    fn open() -> bool {
        false
    }

    #[test]
    fn room_is_taken_waited_for_and_given_back() {
        block_on(async {
            let gate = ReceiveWindow::new(1000, 100);
            let mut first = gate.acquire(800, open).await.unwrap();
            let mut second = Box::pin(gate.acquire(800, open));
            assert!(poll_once(&mut second).await.is_none());
            let batch = first.split(45, 1);
            drop(first);
            assert!(poll_once(&mut second).await.is_none(), "still too little");
            drop(batch);
            let second = second.await.unwrap();
            assert_eq!((second.bytes, second.frames), (928, 18));
            drop(second);
            let all = gate.acquire(5000, open).await.unwrap();
            assert_eq!((all.bytes, all.frames), (1000, 100), "never more than there is");
        });
    }

    #[test]
    fn what_goes_beyond_the_bound_has_the_next_one_wait() {
        let gate = ReceiveWindow::new(1000, 100);
        let mut room = gate.try_acquire(100).unwrap();
        room.force_grow(50);
        assert_eq!(room.bytes, 228);
        room.force_grow(2000);
        let batch = room.split(2000, 1);
        assert_eq!((batch.bytes, room.bytes), (2128, 0));
        drop(room);
        assert!(gate.try_acquire(1).is_none());
        drop(batch);
        assert_eq!(gate.try_acquire(5000).unwrap().bytes, 1000);
    }

    #[test]
    fn no_room_is_given_for_a_part_of_the_frames() {
        let gate = ReceiveWindow::new(100_000, 30);
        let room = gate.try_acquire(900).unwrap();
        assert_eq!(room.frames(), 21);
        assert!(gate.try_acquire(450).is_none(), "11 may come");
        assert_eq!(gate.try_acquire(400).unwrap().frames(), 9);
    }

    #[test]
    fn who_wants_much_is_not_passed_by_who_wants_little() {
        block_on(async {
            let gate = ReceiveWindow::new(1000, 100);
            let first = gate.acquire(100, open).await.unwrap();
            let mut much = Box::pin(gate.acquire(800, open));
            assert!(poll_once(&mut much).await.is_none());
            assert!(gate.try_acquire(100).is_none(), "there is some, and it is taken");
            let mut little = Box::pin(gate.acquire(10, open));
            assert!(poll_once(&mut little).await.is_none());
            drop(first);
            let much = poll_once(&mut much).await.unwrap().unwrap();
            assert!(poll_once(&mut little).await.is_none(), "930 of 1000 are taken");
            drop(much);
            assert!(poll_once(&mut little).await.is_some());
        });
    }
}
