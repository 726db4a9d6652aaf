//! Admission of inbound handshakes: a bounded number of slots, with eviction of the oldest.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use rustix::process::{Resource, getrlimit};

use crate::transport::Stream;

/// The divisor of the limit on open files: inbound handshakes may use this fraction of it, and
/// those from one prefix half of that. The rest is for links and for dialing.
const SHARE_OF_FILES: usize = 2;

/// The inbound handshakes in progress.
pub(crate) struct HandshakeSlots {
    strangers: Mutex<Entries>,
    /// The maximum number of handshakes.
    most: usize,
    /// The maximum number of handshakes from one address prefix.
    most_per_place: usize,
}

#[derive(Default)]
struct Entries {
    /// Oldest first. Invariant: sorted by `number`, without duplicates.
    queue: VecDeque<Entry>,
    /// The number of the newest entry.
    last: u64,
}

struct Entry {
    number: u64,
    prefix: AddrPrefix,
    stream: Arc<dyn Stream>,
    /// The waker of the task that runs the handshake.
    waker: Option<Waker>,
}

/// The unit of the per-address limit: an IPv4 address, or an IPv6 /64, which is what one household
/// or server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AddrPrefix {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for AddrPrefix {
    fn from(ip: IpAddr) -> AddrPrefix {
        match ip.to_canonical() {
            IpAddr::V4(ip) => AddrPrefix::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let mut network = [0; 8];
                network.copy_from_slice(&ip.octets()[..8]);
                AddrPrefix::V6(network)
            }
        }
    }
}

impl HandshakeSlots {
    /// Creates slots for `most` handshakes, and `most_per_place` from one prefix, both reduced to
    /// what the limit on open files allows.
    pub(crate) fn new(most: usize, most_per_place: usize) -> HandshakeSlots {
        let share = (most_files() / SHARE_OF_FILES).max(2);
        HandshakeSlots {
            strangers: Mutex::default(),
            most: most.min(share),
            most_per_place: most_per_place.min(share / 2),
        }
    }

    /// Acquires a slot, and aborts the oldest handshake if all slots are in use.
    ///
    /// If the limit of the prefix is reached, its own oldest is evicted, so that one prefix cannot
    /// evict the handshakes of another.
    pub(crate) fn acquire(&self, ip: IpAddr, stream: Arc<dyn Stream>) -> Slot<'_> {
        let place = AddrPrefix::from(ip);
        let mut strangers = self.lock();
        let crowd = strangers.queue.iter().filter(|other| other.prefix == place).count();
        let oldest = match crowd >= self.most_per_place {
            true => strangers.queue.iter().position(|other| other.prefix == place),
            false => (strangers.queue.len() >= self.most).then_some(0),
        };
        let displaced = oldest.and_then(|at| strangers.queue.remove(at));
        strangers.last += 1;
        let number = strangers.last;
        strangers.queue.push_back(Entry { number, prefix: place, stream, waker: None });
        drop(strangers);
        if let Some(displaced) = displaced {
            displaced.stream.abort();
            displaced.waker.into_iter().for_each(Waker::wake);
        }
        Slot { pending: self, number }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The soft limit on open files of the process.
fn most_files() -> usize {
    let most = getrlimit(Resource::Nofile).current;
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}

/// A slot of one handshake. Dropping it frees the slot.
pub(crate) struct Slot<'a> {
    pending: &'a HandshakeSlots,
    number: u64,
}

impl Slot<'_> {
    /// Waits until this handshake is evicted by a newer one. It should be abandoned then, whatever
    /// it waits for.
    pub(crate) async fn evicted(&self) {
        poll_fn(|cx| {
            let mut strangers = self.pending.lock();
            match self.position(&strangers) {
                Some(at) => {
                    strangers.queue[at].waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Whether this handshake was evicted by a newer one.
    pub(crate) fn was_evicted(&self) -> bool {
        self.position(&self.pending.lock()).is_none()
    }

    fn position(&self, strangers: &Entries) -> Option<usize> {
        strangers.queue.binary_search_by_key(&self.number, |stranger| stranger.number).ok()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut strangers = self.pending.lock();
        if let Some(at) = self.position(&strangers) {
            strangers.queue.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::kit::pipe::TestWaker;
    use std::io::{self, IoSlice};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll};

    /// A stream that only records whether it was aborted.
    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Stream for Flag {
        fn try_read(&self, _: &mut Vec<u8>) -> io::Result<usize> {
            Ok(0)
        }

        fn try_write(&self, _: &[IoSlice<'_>], _: bool) -> io::Result<usize> {
            Ok(0)
        }

        fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_writable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn close_write(&self) {}

        fn has_pending_write(&self) -> bool {
            false
        }

        fn activity(&self) -> u32 {
            0
        }

        fn force_keepalive_verdict(&self) {}

        fn start_keepalive_probe(&self) -> bool {
            true
        }

        fn restore_keepalive(&self) {}

        fn abort(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_newcomer_displaces_the_oldest_of_its_own_place_first() {
        let pending = HandshakeSlots::new(4, 2);
        let enter = |ip: &str| pending.acquire(ip.parse().unwrap(), Arc::new(Flag::default()));
        let first = enter("10.0.0.1");
        let a1 = enter("2001:db8::1");
        let a2 = enter("2001:db8::2");
        let a3 = enter("2001:db8::3");
        assert_eq!([&first, &a1, &a2, &a3].map(|t| t.was_evicted()), [false, true, false, false]);
        drop(a1);
        let _b = enter("::ffff:10.0.0.1");
        assert!(!first.was_evicted(), "four fit");
        let c = enter("10.0.0.2");
        assert_eq!([&first, &a2, &c].map(|t| t.was_evicted()), [true, false, false]);
        drop((a2, a3));
        assert_eq!(pending.lock().queue.len(), 2);
    }

    #[test]
    fn who_is_displaced_hears_of_it_while_he_waits() {
        let pending = HandshakeSlots::new(2, 2);
        let enter = || pending.acquire("10.0.0.1".parse().unwrap(), Arc::new(Flag::default()));
        let (first, second) = (enter(), enter());
        let wakes = [TestWaker::new(), TestWaker::new()];
        let mut waits = [Box::pin(first.evicted()), Box::pin(second.evicted())];
        let mut poll = |at: usize| wakes[at].poll(waits[at].as_mut()).is_some();
        assert!(!poll(0) && !poll(1));
        let _third = enter();
        assert_eq!([0, 1].map(|at: usize| wakes[at].was_woken()), [true, false]);
        assert!(poll(0) && !poll(1));
    }
}
