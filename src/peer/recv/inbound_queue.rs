//! The inbound queue: received frames that await the router, of all peers in turn.
//!
//! Each peer has an [`Inbox`] of its own. The readers and the router meet in one channel of inboxes
//! that have something, each in it at most once. The router serves them by deficit round robin, so
//! that no peer delays another by more than its share.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_channel::{Receiver, Sender, TrySendError};
use atomic_waker::AtomicWaker;

use crate::error::Closed;
use crate::peer::PeerClass;
use crate::peer::recv::batch::Batch;
use crate::peer::recv::inbox::Inbox;
use crate::peer::recv::permit::Permit;
use crate::peer::recv::receive_pool::ReceivePool;
use crate::primitives::buffer_pool::BufferPool;
use crate::primitives::lock::Mutex;
use crate::proto::{Frame, Target};

/// The fraction of the byte limit that the read buffer pool keeps while it is idle. With a quarter
/// of 4 MiB nearly all reads of large frames find a pooled buffer; half as much causes page faults.
const POOL_FRACTION: usize = 4;

/// Capacity of the list of waiting peers that is kept while none waits.
const IDLE_CAPACITY: usize = 64;

/// Cost of the frames that are released together. A window that only whole batches free, which may
/// be as large as it, would let the sender wait for each.
const RELEASE_STEP: usize = 16 << 10;

/// The receiving end of the queue, read by the router.
#[derive(Debug)]
pub(crate) struct Inbound {
    ready: Receiver<Arc<Inbox>>,
    round_robin: Mutex<RoundRobin>,
    /// Held by the task that waits for the next frame, so that frames keep their order though
    /// several tasks wait.
    fifo: async_lock::Mutex<()>,
    /// The task that waits for the next frame. At most one registers at a time: the one that holds
    /// `fifo`.
    ///
    /// It replaces the notification of the channel, which wakes the task while it holds a lock that
    /// the task takes first: a router on another thread would park once more.
    consumer: Arc<AtomicWaker>,
    pool: Arc<ReceivePool>,
}

/// The peers in the order in which they are served.
#[derive(Debug, Default)]
struct RoundRobin {
    current: Option<ActiveInbox>,
    /// The peers that have something, but for the current one.
    waiting: VecDeque<Arc<Inbox>>,
}

/// The peer that is being served. It stays if a pending call is cancelled.
#[derive(Debug)]
struct ActiveInbox {
    inbox: Arc<Inbox>,
    batch: Batch,
    /// Bytes that the peer may still take, including `taken`. Invariant: more than `taken`.
    deficit: isize,
    /// Cost of the frames that were handed out and not released yet. They are released together: a
    /// frame alone would take two atomic operations more.
    taken: usize,
}

/// The sending end of the queue, held by the receive loops.
#[derive(Debug, Clone)]
pub(crate) struct InboundSender {
    ready: Sender<Arc<Inbox>>,
    /// Dropped after `ready`: the last sender closes the channel, and then wakes up the consumer.
    wake_on_drop: WakeOnDrop,
    pool: Arc<ReceivePool>,
    buffers: Arc<BufferPool>,
}

/// Wakes up the consumer when it is dropped.
#[derive(Debug, Clone)]
struct WakeOnDrop(Arc<AtomicWaker>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// Creates the queue, with a limit in bytes.
pub(crate) fn inbound(bytes: usize) -> (InboundSender, Inbound) {
    // Each inbox is in the channel at most once, so it is bounded by the number of peers. A bounded
    // channel would be allocated up front.
    let (sender, receiver) = async_channel::unbounded();
    let consumer = Arc::<AtomicWaker>::default();
    let (pool, buffers) = (ReceivePool::new(bytes), BufferPool::new(bytes / POOL_FRACTION));
    (
        InboundSender {
            ready: sender,
            wake_on_drop: WakeOnDrop(consumer.clone()),
            pool: pool.clone(),
            buffers,
        },
        Inbound {
            ready: receiver,
            round_robin: Mutex::default(),
            fifo: async_lock::Mutex::new(()),
            consumer,
            pool,
        },
    )
}

/// How a frame is taken out of the batch of the peer that is being served, with its cost.
trait Dequeue<T>: Fn(&mut ActiveInbox, Frame, usize) -> T + Copy {}

impl<T, F: Fn(&mut ActiveInbox, Frame, usize) -> T + Copy> Dequeue<T> for F {}

/// Takes a frame whose part of the window is released together with that of others.
fn dequeue_frame(active: &mut ActiveInbox, frame: Frame, cost: usize) -> (Target, Frame) {
    active.taken += cost;
    (active.inbox.target, frame)
}

/// Takes a frame that keeps its part of the window.
fn dequeue_with_permit(
    active: &mut ActiveInbox,
    frame: Frame,
    cost: usize,
) -> (Target, Frame, Permit) {
    active.deficit -= cost as isize;
    let permit = Permit::new(active.inbox.clone(), cost, active.batch.is_stranger);
    (active.inbox.target, frame, permit)
}

impl Inbound {
    /// Waits for the next frame, and releases its part of the window.
    pub(crate) async fn next(&self) -> Result<(Target, Frame), Closed> {
        self.next_by(dequeue_frame).await
    }

    /// Waits for the next frame, which keeps its part of the window.
    pub(crate) async fn recv(&self) -> Result<(Target, Frame, Permit), Closed> {
        self.next_by(dequeue_with_permit).await
    }

    pub(crate) fn try_next(&self) -> Result<Option<(Target, Frame)>, Closed> {
        self.try_next_by(dequeue_frame)
    }

    pub(crate) fn try_recv(&self) -> Result<Option<(Target, Frame, Permit)>, Closed> {
        self.try_next_by(dequeue_with_permit)
    }

    async fn next_by<T, F: Dequeue<T>>(&self, take: F) -> Result<T, Closed> {
        // Fast path: the present batch has more frames.
        if let Some(frame) = self.pop_current(take) {
            return Ok(frame);
        }
        let _guard = self.fifo.lock().await;
        poll_fn(|cx| self.poll_next(cx, take)).await
    }

    fn poll_next<T, F: Dequeue<T>>(&self, cx: &Context<'_>, take: F) -> Poll<Result<T, Closed>> {
        if let Poll::Ready(next) = self.take(take) {
            return Poll::Ready(next);
        }
        self.consumer.register(cx.waker());
        // A frame may have arrived before the waker was registered.
        self.take(take)
    }

    fn take<T, F: Dequeue<T>>(&self, take: F) -> Poll<Result<T, Closed>> {
        // Checked first: what was delivered before the end is still handed out.
        let is_closed = self.ready.is_closed();
        match self.pop(take) {
            Some(frame) => Poll::Ready(Ok(frame)),
            None if is_closed => Poll::Ready(Err(Closed)),
            None => Poll::Pending,
        }
    }

    fn try_next_by<T, F: Dequeue<T>>(&self, take: F) -> Result<Option<T>, Closed> {
        if let Some(frame) = self.pop_current(take) {
            return Ok(Some(frame));
        }
        // Another task waits for the next frame, so there is none.
        let Some(_guard) = self.fifo.try_lock() else { return Ok(None) };
        match self.take(take) {
            Poll::Ready(next) => next.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// Whether a frame is available.
    pub(crate) fn has_frame(&self) -> bool {
        let peers = self.round_robin.lock();
        peers.current.is_some() || !peers.waiting.is_empty() || !self.ready.is_empty()
    }

    /// Removes the next frame.
    fn pop<T, F: Dequeue<T>>(&self, take: F) -> Option<T> {
        loop {
            if let Some(frame) = self.pop_current(take) {
                return Some(frame);
            }
            if !self.round_robin.lock().next_peer(&self.ready) {
                return None;
            }
        }
    }

    /// Removes the next frame of the peer that is being served.
    fn pop_current<T, F: Dequeue<T>>(&self, take: F) -> Option<T> {
        let mut peers = self.round_robin.lock();
        let active = peers.current.as_mut()?;
        let (frame, cost) = active.batch.pop()?;
        let taken = take(active, frame, cost);
        let goes_on = (active.taken as isize) < active.deficit && !active.batch.messages.is_empty();
        if goes_on && active.taken < RELEASE_STEP {
            return Some(taken);
        }
        let released = active.release();
        if !goes_on {
            peers.advance(&self.ready);
        }
        drop(peers);
        // Without the lock: it may wake up the reader.
        released.apply();
        Some(taken)
    }

    /// The memory that all peers share.
    pub(crate) fn pool(&self) -> &Arc<ReceivePool> {
        &self.pool
    }

    /// Closes the queue and wakes up all who wait for it, on both ends.
    pub(crate) fn close(&self) {
        self.ready.close();
        self.pool.strangers().close();
        self.consumer.wake();
    }
}

/// What frames that were handed out cost, to be released without a lock.
struct Released {
    inbox: Arc<Inbox>,
    cost: usize,
    is_stranger: bool,
}

impl Released {
    fn apply(self) {
        self.inbox.release(self.cost, self.is_stranger);
    }
}

impl ActiveInbox {
    /// Takes what the frames cost that were handed out.
    fn release(&mut self) -> Released {
        let cost = std::mem::take(&mut self.taken);
        self.deficit -= cost as isize;
        Released { inbox: self.inbox.clone(), cost, is_stranger: self.batch.is_stranger }
    }
}

impl RoundRobin {
    /// Continues with the peer that is being served, or with the next one if it has taken its share
    /// or has no more batches.
    fn advance(&mut self, ready: &Receiver<Arc<Inbox>>) {
        let Some(active) = &mut self.current else { return };
        let has_to_wait = active.inbox.has_to_wait();
        if active.batch.messages.is_empty() && !has_to_wait {
            match active.inbox.pop() {
                Some(batch) => active.batch = batch,
                None => return self.current = None,
            }
        }
        if active.deficit > 0 && !has_to_wait {
            return;
        }
        if !has_to_wait && self.waiting.is_empty() && ready.is_empty() {
            // Nobody waits, so the next rounds are its own.
            let quantum = active.inbox.quantum();
            while active.deficit <= 0 {
                active.deficit += quantum;
            }
            return;
        }
        self.next_peer(ready);
    }

    /// Continues with the next peer. Returns `false` if no peer has anything.
    fn next_peer(&mut self, ready: &Receiver<Arc<Inbox>>) -> bool {
        while let Ok(inbox) = ready.try_recv() {
            self.waiting.push_back(inbox);
        }
        if let Some(active) = self.current.take() {
            active.inbox.suspend(active.deficit, active.batch);
            self.waiting.push_back(active.inbox);
        }
        // Those that are waited for are among the others.
        let mut may_skip = self.waiting.len();
        while let Some(inbox) = self.waiting.pop_front() {
            if may_skip > 0 && inbox.has_to_wait() {
                may_skip -= 1;
                self.waiting.push_back(inbox);
                continue;
            }
            let Some(batch) = inbox.pop() else { continue };
            let deficit = inbox.add_quantum();
            if deficit > 0 {
                self.current = Some(ActiveInbox { inbox, batch, deficit, taken: 0 });
                return true;
            }
            inbox.suspend(deficit, batch);
            self.waiting.push_back(inbox);
        }
        if self.waiting.capacity() > IDLE_CAPACITY {
            self.waiting = VecDeque::new();
        }
        false
    }
}

impl InboundSender {
    /// The memory that all peers share.
    pub(crate) fn pool(&self) -> &Arc<ReceivePool> {
        &self.pool
    }

    /// The pool of read buffers.
    pub(crate) fn buffers(&self) -> &Arc<BufferPool> {
        &self.buffers
    }

    /// Whether the router takes no more frames.
    pub(crate) fn is_closed(&self) -> bool {
        self.ready.is_closed()
    }

    /// Delivers a batch of a peer of this class to its inbox.
    pub(crate) fn deliver(
        &self,
        inbox: &Arc<Inbox>,
        batch: Batch,
        class: PeerClass,
    ) -> Result<(), Closed> {
        if self.is_closed() {
            return Err(Closed);
        }
        if inbox.push(batch, class) {
            match self.ready.try_send(inbox.clone()) {
                // The channel is unbounded.
                Ok(()) | Err(TrySendError::Full(_)) => self.wake_on_drop.0.wake(),
                Err(TrySendError::Closed(_)) => return Err(Closed),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
