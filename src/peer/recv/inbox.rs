//! The inbox of one peer: its frames that await the router, and what the router still holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;

use atomic_waker::AtomicWaker;

use crate::peer::PeerClass;
use crate::peer::recv::batch::Batch;
use crate::peer::recv::receive_pool::MIN_WINDOW;
use crate::peer::recv::stranger_memory::Account;
use crate::primitives::lock::Mutex;
use crate::proto::Target;

/// The received frames of one peer. Allocated with the first frame.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) target: Target,
    queue: Mutex<Queue>,
    /// Cost of the frames that are queued, or that the router has not released yet.
    held: AtomicUsize,
    /// Cost of those that are forwarded, or that the router holds to forward them.
    forwarded: AtomicUsize,
    /// The reader is woken once `held` is less than this. Zero while it does not wait.
    wake_below: AtomicUsize,
    /// The size of the receive window, for those who cannot ask the queue of the peer.
    window: AtomicUsize,
    reader: AtomicWaker,
    /// The account of the network of the peer, for as long as it is a stranger.
    account: Arc<Account>,
}

/// Cost of the frames of a peer that are not released yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) all: usize,
    /// Those that are forwarded, or that the router holds to forward them.
    pub(crate) forwarded: usize,
}

impl Held {
    /// Those that await the router.
    pub(crate) fn queued(self) -> usize {
        self.all.saturating_sub(self.forwarded)
    }
}

#[derive(Debug)]
struct Queue {
    batches: VecDeque<Batch>,
    class: PeerClass,
    /// Whether the consumer knows of the inbox. It forgets it when it finds it empty.
    is_listed: bool,
    /// What is left of the quantum of the peer, or, as a negative number, what it took beyond it.
    deficit: isize,
    /// The inboxes of peers that are merged into this one: their frames were sent before those that
    /// come now.
    after: Vec<Arc<Inbox>>,
}

impl Inbox {
    pub(crate) fn new(target: Target, account: Arc<Account>) -> Arc<Inbox> {
        Arc::new(Inbox {
            target,
            queue: Mutex::new(Queue {
                batches: VecDeque::new(),
                class: PeerClass::Stranger,
                is_listed: false,
                deficit: 0,
                after: Vec::new(),
            }),
            held: AtomicUsize::new(0),
            forwarded: AtomicUsize::new(0),
            wake_below: AtomicUsize::new(0),
            window: AtomicUsize::new(MIN_WINDOW),
            reader: AtomicWaker::new(),
            account,
        })
    }

    /// Appends a batch of a peer of this class. Returns whether the inbox has to be listed for
    /// the consumer.
    pub(crate) fn push(&self, batch: Batch, class: PeerClass) -> bool {
        let cost = batch.cost();
        self.held.fetch_add(cost, Ordering::SeqCst);
        if batch.is_stranger {
            self.account.charge(cost);
        }
        let mut queue = self.queue.lock();
        queue.class = class;
        queue.batches.push_back(batch);
        !std::mem::replace(&mut queue.is_listed, true)
    }

    /// Removes the first batch. If there is none, the consumer must forget the inbox.
    pub(crate) fn pop(&self) -> Option<Batch> {
        let mut queue = self.queue.lock();
        let batch = queue.batches.pop_front();
        if batch.is_none() {
            // An idle peer keeps no memory here.
            (queue.batches, queue.is_listed, queue.deficit) = (VecDeque::new(), false, 0);
        }
        batch
    }

    /// Makes the frames wait until those of another peer are handed out, which is about to be merged
    /// into this one.
    pub(crate) fn wait_for(&self, merged: &Arc<Inbox>) {
        let mut queue = self.queue.lock();
        // Of those of which nothing is left, one may be merged again and again.
        queue.after.retain(|inbox| inbox.held() > 0);
        queue.after.push(merged.clone());
    }

    /// Does not wait any more for another peer, which is not merged after all.
    pub(crate) fn stop_waiting_for(&self, other: &Arc<Inbox>) {
        self.queue.lock().after.retain(|inbox| !Arc::ptr_eq(inbox, other));
    }

    /// Whether the frames have to wait for those of a peer that is merged into this one.
    pub(crate) fn has_to_wait(&self) -> bool {
        let after = match &self.queue.lock().after {
            after if after.is_empty() => return false,
            after => after.clone(),
        };
        // Without the lock: it takes those of others.
        let has_to_wait = after.iter().any(|inbox| inbox.has_queued());
        if !has_to_wait {
            after.iter().for_each(|inbox| self.stop_waiting_for(inbox));
        }
        has_to_wait
    }

    /// Whether there are batches, while the consumer serves another inbox: of the one that it serves
    /// it has the present batch.
    fn has_queued(&self) -> bool {
        !self.queue.lock().batches.is_empty()
    }

    /// Adds the quantum of another round. Returns how many bytes the peer may take. Zero or less if it
    /// has to wait for the next round.
    pub(crate) fn add_quantum(&self) -> isize {
        let mut queue = self.queue.lock();
        queue.deficit += quantum(queue.class);
        queue.deficit
    }

    /// Bytes that the peer may take in one round.
    pub(crate) fn quantum(&self) -> isize {
        quantum(self.queue.lock().class)
    }

    /// Suspends the peer until the next round, and puts back the rest of its last batch.
    pub(crate) fn suspend(&self, deficit: isize, rest: Batch) {
        let mut queue = self.queue.lock();
        queue.deficit = deficit;
        if !rest.messages.is_empty() {
            queue.batches.push_front(rest);
        }
    }

    /// The size of the receive window.
    pub(crate) fn window(&self) -> usize {
        self.window.load(Ordering::Relaxed)
    }

    pub(crate) fn set_window(&self, bytes: usize) {
        self.window.store(bytes, Ordering::Relaxed);
    }

    /// The account that strangers are charged to.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Cost of the frames that are queued, or that the router has not released yet.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// The same, and how much of it is forwarded.
    pub(crate) fn held_by_use(&self) -> Held {
        Held { all: self.held(), forwarded: self.forwarded.load(Ordering::Relaxed) }
    }

    /// Counts a frame that the router takes to forward it.
    pub(crate) fn count_forwarded(&self, cost: usize) {
        self.forwarded.fetch_add(cost, Ordering::Relaxed);
    }

    /// Counts frames that are not to be forwarded any more, or were delivered.
    pub(crate) fn uncount_forwarded(&self, cost: usize) {
        self.forwarded.fetch_sub(cost, Ordering::Relaxed);
    }

    /// Makes the reader wake up once less than `held` bytes are held. Returns `false`, and does
    /// nothing more, if that is so already.
    pub(crate) fn wake_below(&self, held: usize, cx: &Context<'_>) -> bool {
        self.reader.register(cx.waker());
        self.wake_below.store(held, Ordering::SeqCst);
        // The router may have released bytes before it could see that the reader waits.
        self.held() >= held
    }

    /// Releases what frames cost.
    pub(crate) fn release(&self, cost: usize, is_stranger: bool) {
        let held = self.held.fetch_sub(cost, Ordering::SeqCst) - cost;
        if held < self.wake_below.load(Ordering::SeqCst)
            && self.wake_below.swap(0, Ordering::SeqCst) > 0
        {
            self.reader.wake();
        }
        if is_stranger {
            self.account.release(cost);
        }
    }
}

/// Bytes that a peer may take in one round. They bound how long it delays the others: with a hundred
/// busy strangers, by little more than a megabyte. A dialed or trusted peer takes four times what a
/// stranger does.
fn quantum(class: PeerClass) -> isize {
    match class {
        PeerClass::Stranger => 16 << 10,
        PeerClass::Trusted | PeerClass::Dialed => 64 << 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::recv::stranger_memory::StrangerMemory;
    use crate::peer::recv::test_support::message;
    use crate::testing::kit::pipe::TestWaker;
    use futures_lite::future::poll_fn;

    fn inbox(memory: &Arc<StrangerMemory>) -> Arc<Inbox> {
        Inbox::new(7.into(), memory.account(None.into()))
    }

    fn batch(is_stranger: bool) -> Batch {
        let messages = message(8, 10);
        let pinned = messages.len();
        Batch { messages: messages.into(), frames: 1, pinned, no_trailing: true, is_stranger }
    }

    #[test]
    fn a_peer_keeps_what_it_took_beyond_its_quantum() {
        let inbox = inbox(&StrangerMemory::new(1000));
        assert!(inbox.push(batch(true), PeerClass::Stranger), "it has to be listed");
        assert!(!inbox.push(batch(true), PeerClass::Stranger), "it is listed");
        let quantum = inbox.add_quantum();
        inbox.suspend(-100, inbox.pop().unwrap());
        assert_eq!(inbox.add_quantum(), quantum - 100);
        assert!(inbox.pop().is_some() && inbox.pop().is_some() && inbox.pop().is_none());
        assert!(inbox.push(batch(true), PeerClass::Dialed));
        assert!(inbox.add_quantum() > quantum, "a peer without frames keeps no debt");
    }

    #[test]
    fn what_strangers_hold_is_released_in_full() {
        let memory = StrangerMemory::new(1000);
        let inbox = inbox(&memory);
        inbox.push(batch(true), PeerClass::Stranger);
        inbox.push(batch(false), PeerClass::Dialed);
        let cost = batch(true).cost();
        assert_eq!((inbox.held(), memory.used()), (2 * cost, cost));
        inbox.release(cost, true);
        inbox.release(cost, false);
        assert_eq!((inbox.held(), memory.used()), (0, 0));
    }

    #[test]
    fn the_reader_is_woken_when_enough_was_released() {
        let inbox = inbox(&StrangerMemory::new(1000));
        for _ in 0..4 {
            inbox.push(batch(false), PeerClass::Dialed);
        }
        let cost = batch(false).cost();
        let waker = TestWaker::new();
        let mut waits = Vec::new();
        let mut wait = Box::pin(poll_fn(|cx| {
            waits.push(inbox.wake_below(2 * cost, cx));
            std::task::Poll::<()>::Pending
        }));
        assert!(waker.poll(wait.as_mut()).is_none());
        for is_woken in [false, false, true, true] {
            inbox.release(cost, false);
            assert_eq!(waker.was_woken(), is_woken);
        }
        assert!(waker.poll(wait.as_mut()).is_none());
        drop(wait);
        assert_eq!(waits, [true, false], "nothing is held");
    }
}
