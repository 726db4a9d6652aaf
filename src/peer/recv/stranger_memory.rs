//! The memory that received frames of strangers take, shared fairly by address block.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use async_lock::MutexGuardArc;
use event_listener::Event;

use crate::primitives::lock::Mutex;
use crate::proto::AddrBlock;

/// The memory of all strangers, in bytes.
#[derive(Debug)]
pub(crate) struct StrangerMemory {
    limit: usize,
    /// Sum of all accounts. Exceeds `limit` by a little for each stranger, and by a share for each
    /// network.
    used: AtomicUsize,
    /// Number of accounts that hold anything.
    holders: AtomicUsize,
    /// The accounts that exist, one for each network.
    accounts: Mutex<Vec<(AddrBlock, Weak<Account>)>>,
    /// Notified when memory is released.
    released: Event,
    /// Held by the one stranger that may complete its frame, though the memory is used up.
    overdraft: Arc<async_lock::Mutex<()>>,
    /// Whether the router takes no more frames, so that nobody is to wait for it.
    is_closed: AtomicBool,
}

/// What the strangers of one network hold: an IPv4 /24, or an IPv6 /48.
#[derive(Debug)]
pub(crate) struct Account {
    memory: Arc<StrangerMemory>,
    used: AtomicUsize,
}

impl StrangerMemory {
    pub(crate) fn new(limit: usize) -> Arc<StrangerMemory> {
        Arc::new(StrangerMemory {
            limit,
            used: AtomicUsize::new(0),
            holders: AtomicUsize::new(0),
            accounts: Mutex::default(),
            released: Event::new(),
            overdraft: Arc::default(),
            is_closed: AtomicBool::new(false),
        })
    }

    /// The account of the network of this address.
    pub(crate) fn account(self: &Arc<Self>, block: AddrBlock) -> Arc<Account> {
        let mut accounts = self.accounts.lock();
        let of_network = accounts.iter().filter(|(other, _)| other.is_same_network(block));
        if let Some(account) = of_network.filter_map(|(_, account)| account.upgrade()).next() {
            return account;
        }
        accounts.retain(|(_, account)| account.strong_count() > 0);
        let account = Arc::new(Account { memory: self.clone(), used: AtomicUsize::new(0) });
        accounts.push((block, Arc::downgrade(&account)));
        account
    }

    /// What is not used.
    pub(crate) fn free(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Records that the router takes no more frames, and wakes up all who wait for it.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.released.notify(usize::MAX);
    }

    /// Waits until the router takes no more frames.
    pub(crate) async fn closed(&self) {
        self.until(|| false).await;
    }

    /// Waits until `condition` holds, or the router takes no more frames.
    async fn until(&self, condition: impl Fn() -> bool) {
        loop {
            let released = self.released.listen();
            if condition() || self.is_closed.load(Ordering::SeqCst) {
                return;
            }
            released.await;
        }
    }
}

impl Account {
    /// Counts bytes that are held.
    pub(crate) fn charge(&self, bytes: usize) {
        self.memory.used.fetch_add(bytes, Ordering::SeqCst);
        if bytes > 0 && self.used.fetch_add(bytes, Ordering::SeqCst) == 0 {
            self.memory.holders.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Releases bytes that were held.
    pub(crate) fn release(&self, bytes: usize) {
        if bytes > 0 && self.used.fetch_sub(bytes, Ordering::SeqCst) == bytes {
            self.memory.holders.fetch_sub(1, Ordering::SeqCst);
        }
        self.memory.used.fetch_sub(bytes, Ordering::SeqCst);
        // All who wait: each has another share, and checks it again.
        self.memory.released.notify(usize::MAX);
    }

    /// How many more bytes may be held: what is left of the memory, or of the share of the network.
    pub(crate) fn allowance(&self) -> usize {
        let StrangerMemory { limit, holders, .. } = &*self.memory;
        let share = limit / holders.load(Ordering::SeqCst).max(1);
        self.memory.free().max(share.saturating_sub(self.used.load(Ordering::SeqCst)))
    }

    /// Whether all strangers together have used up their memory.
    pub(crate) fn is_used_up(&self) -> bool {
        self.memory.free() == 0
    }

    /// Waits until `condition` holds, which is checked whenever a stranger releases memory, or until
    /// the router takes no more frames.
    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        self.memory.until(condition).await;
    }

    /// Waits for the right to complete a frame, though the memory is used up. One stranger at a
    /// time has it.
    pub(crate) async fn overdraft(&self) -> MutexGuardArc<()> {
        self.memory.overdraft.lock_arc().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use std::net::IpAddr;

    fn account(memory: &Arc<StrangerMemory>, ip: &str) -> Arc<Account> {
        memory.account(ip.parse::<IpAddr>().unwrap().into())
    }

    #[test]
    fn a_network_that_holds_less_than_its_share_is_not_refused() {
        let memory = StrangerMemory::new(1000);
        let hoarder = account(&memory, "10.0.0.1");
        hoarder.charge(1500);
        let (same, other) = (account(&memory, "10.0.0.2"), account(&memory, "10.0.1.1"));
        assert_eq!((same.allowance(), other.allowance()), (0, 1000));
        other.charge(499);
        assert_eq!(other.allowance(), 1);
        other.charge(1);
        assert_eq!(other.allowance(), 0, "half is its share");
        hoarder.release(1500);
        assert_eq!(other.allowance(), 500);
        other.release(500);
        assert_eq!((memory.used(), memory.holders.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn accounts_last_as_long_as_they_are_used() {
        let memory = StrangerMemory::new(1000);
        let kept = account(&memory, "10.0.0.1");
        (0..99).for_each(|network| drop(account(&memory, &format!("10.0.{network}.1"))));
        assert!(Arc::ptr_eq(&kept, &account(&memory, "10.0.0.99")));
        assert!(memory.accounts.lock().len() <= 3);
    }

    #[test]
    fn strangers_wait_for_memory_or_for_the_end() {
        block_on(async {
            let memory = StrangerMemory::new(1000);
            let account = account(&memory, "10.0.0.1");
            account.charge(1000);
            let mut waiting = Box::pin(account.until(|| account.allowance() > 0));
            assert!(poll_once(&mut waiting).await.is_none());
            account.release(1);
            assert!(poll_once(&mut waiting).await.is_some());
            account.charge(1);
            let (mut waiting, mut end) =
                (Box::pin(account.until(|| account.allowance() > 0)), Box::pin(memory.closed()));
            assert!(poll_once(&mut waiting).await.is_none() && poll_once(&mut end).await.is_none());
            memory.close();
            assert!(poll_once(&mut waiting).await.is_some() && poll_once(&mut end).await.is_some());
        });
    }

    #[test]
    fn one_stranger_at_a_time_may_complete_its_frame() {
        block_on(async {
            let memory = StrangerMemory::new(1000);
            let (one, other) = (account(&memory, "10.0.0.1"), account(&memory, "10.0.1.1"));
            let first = one.overdraft().await;
            let mut second = Box::pin(other.overdraft());
            assert!(poll_once(&mut second).await.is_none());
            drop(first);
            assert!(poll_once(&mut second).await.is_some());
        });
    }
}
