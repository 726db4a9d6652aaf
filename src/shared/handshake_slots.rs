//! Admission of inbound handshakes: a bounded number of slots, with eviction of the oldest of the
//! address block that holds most.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::primitives::clock;
use crate::primitives::lock::Mutex;
use crate::proto::AddrBlock;
use crate::shared::fair_share::{Holding, largest_block};
use crate::transport::Stream;

/// The inbound handshakes in progress.
pub(crate) struct HandshakeSlots {
    entries: Mutex<Entries>,
    /// The maximum number of handshakes.
    max: usize,
    /// The maximum number of handshakes from one host: an IPv4 address or an IPv6 /64.
    max_per_host: usize,
}

#[derive(Default)]
struct Entries {
    /// Invariant: sorted by `key`, without duplicates.
    sorted: Vec<Entry>,
    /// The number of the newest entry.
    last: u64,
}

/// The address block of a handshake, and its number: the older of two has the lower one.
type Key = (AddrBlock, u64);

struct Entry {
    key: Key,
    since: Instant,
    stream: Arc<dyn Stream>,
    /// The waker of the task that runs the handshake.
    waker: Option<Waker>,
}

impl Entries {
    fn find(&self, key: Key) -> Result<usize, usize> {
        self.sorted.binary_search_by(|entry| entry.key.cmp(&key))
    }

    /// Finds the oldest handshake of the host that holds most, in the network that holds most.
    fn oldest_of_largest(&self) -> Option<usize> {
        let holding = |entry: &Entry| Holding { block: entry.key.0, amount: 1, since: entry.since };
        let largest = largest_block(&mut self.sorted.iter().map(holding))?;
        Some(self.first_of(largest.block))
    }

    /// The position of the oldest handshake of a host.
    fn first_of(&self, block: AddrBlock) -> usize {
        let (Ok(at) | Err(at)) = self.find((block, 0));
        at
    }
}

impl HandshakeSlots {
    /// Creates slots for `max` handshakes, and `max_per_host` from one host.
    pub(crate) fn new(max: usize, max_per_host: usize) -> HandshakeSlots {
        HandshakeSlots { entries: Mutex::default(), max, max_per_host }
    }

    /// Acquires a slot. If all are in use, aborts the oldest handshake of the address block that
    /// holds most.
    ///
    /// If the limit of the host is reached, its own oldest is evicted, so that one host cannot
    /// evict the handshakes of another.
    pub(crate) fn acquire(&self, ip: IpAddr, stream: Arc<dyn Stream>) -> Slot<'_> {
        let block = AddrBlock::from(ip);
        let mut entries = self.lock();
        entries.last += 1;
        let key = (block, entries.last);
        let (Ok(at) | Err(at)) = entries.find(key);
        entries.sorted.insert(at, Entry { key, since: clock::now(), stream, waker: None });
        let first = entries.first_of(block);
        let oldest = match at - first >= self.max_per_host {
            true => Some(first),
            false if entries.sorted.len() > self.max => entries.oldest_of_largest(),
            false => None,
        };
        let evicted = oldest.map(|at| entries.sorted.remove(at));
        drop(entries);
        if let Some(evicted) = evicted {
            evicted.stream.abort();
            evicted.waker.into_iter().for_each(Waker::wake);
        }
        Slot { slots: self, key }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock()
    }
}

/// A slot of one handshake. Dropping it frees the slot.
pub(crate) struct Slot<'a> {
    slots: &'a HandshakeSlots,
    key: Key,
}

impl Slot<'_> {
    /// Waits until this handshake is evicted by a newer one. It should be abandoned then, whatever
    /// it waits for.
    pub(crate) async fn evicted(&self) {
        poll_fn(|cx| {
            let mut entries = self.slots.lock();
            match self.position(&entries) {
                Some(at) => {
                    entries.sorted[at].waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Whether this handshake was evicted by a newer one.
    pub(crate) fn was_evicted(&self) -> bool {
        self.position(&self.slots.lock()).is_none()
    }

    fn position(&self, entries: &Entries) -> Option<usize> {
        entries.find(self.key).ok()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut entries = self.slots.lock();
        if let Some(at) = self.position(&entries) {
            entries.sorted.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::kit::manual_clock::Clock;
    use crate::testing::kit::pipe::{Pipe, TestWaker};
    use std::time::Duration;

    fn acquire<'a>(slots: &'a HandshakeSlots, ip: &str) -> Slot<'a> {
        slots.acquire(ip.parse().unwrap(), Pipe::pair().0)
    }

    #[test]
    fn a_new_handshake_evicts_the_oldest_of_its_own_host_first() {
        let slots = HandshakeSlots::new(4, 2);
        let new = |ip: &str| acquire(&slots, ip);
        let first = new("10.0.0.1");
        let a1 = new("2001:db8::1");
        let a2 = new("2001:db8::2");
        let a3 = new("2001:db8::3");
        assert_eq!(
            [&first, &a1, &a2, &a3].map(|slot| slot.was_evicted()),
            [false, true, false, false]
        );
        drop(a1);
        let _b = new("::ffff:10.0.0.1");
        assert!(!first.was_evicted(), "four fit");
        drop((a2, a3));
        assert_eq!(slots.lock().sorted.len(), 2);
    }

    /// Regression: a full table evicted the oldest of all, so one network evicted those of others.
    #[test]
    fn a_full_table_evicts_the_oldest_of_the_block_that_holds_most() {
        let slots = HandshakeSlots::new(4, 4);
        let new = |ip: &str| acquire(&slots, ip);
        let other = new("10.0.0.1");
        let crowd = ["10.0.1.1", "10.0.1.2", "10.0.1.2", "10.0.1.3", "10.0.1.2"].map(new);
        let evicted = |slots: &[Slot<'_>]| Vec::from_iter(slots.iter().map(Slot::was_evicted));
        assert_eq!(evicted(&crowd), [false, true, true, false, false]);
        let newcomer = new("10.0.2.1");
        assert_eq!(evicted(&crowd), [true, true, true, false, false]);
        assert_eq!(evicted(&[newcomer, other]), [false, false]);
    }

    #[test]
    fn among_equals_the_oldest_is_evicted() {
        let clock = Clock::install();
        let slots = HandshakeSlots::new(3, 3);
        let entries = ["10.0.2.1", "10.0.1.1", "10.0.3.1", "10.0.0.1"].map(|ip| {
            clock.advance(Duration::from_millis(1));
            acquire(&slots, ip)
        });
        assert_eq!(entries.map(|slot| slot.was_evicted()), [true, false, false, false]);
    }

    #[test]
    fn an_evicted_handshake_is_woken_and_its_stream_aborted() {
        let slots = HandshakeSlots::new(2, 2);
        let new = || acquire(&slots, "10.0.0.1");
        let stream = Pipe::pair().0;
        let first = slots.acquire("10.0.0.1".parse().unwrap(), stream.clone());
        let second = new();
        let wakers = [TestWaker::new(), TestWaker::new()];
        let mut waits = [Box::pin(first.evicted()), Box::pin(second.evicted())];
        let mut poll = |at: usize| wakers[at].poll(waits[at].as_mut()).is_some();
        assert!(!poll(0) && !poll(1));
        let _third = new();
        assert_eq!([0, 1].map(|at: usize| wakers[at].was_woken()), [true, false]);
        assert!(poll(0) && !poll(1));
        assert!(stream.outgoing().is_closed && stream.incoming().is_broken);
    }
}
