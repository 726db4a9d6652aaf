//! The inbound queue: received frames that await the router, bounded in bytes and in frames.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_channel::{Receiver, Sender, TryRecvError, TrySendError};
use bytes::{Buf, Bytes};

use crate::error::Closed;
use crate::peer::recv::receive_window::{Permit, ReceiveWindow};
use crate::peer::send::queue::register_waker;
use crate::primitives::buffer_pool::BufferPool;
use crate::proto::Target;
use crate::proto::{Frame, Header, LENGTH_PREFIX, peek_len};

/// Capacity of the channel, in batches. It bounds only the memory of the channel itself, which is
/// allocated up front. The limits proper are those of the [`ReceiveWindow`].
const CHANNEL_CAPACITY: usize = 512;

/// The fraction of the byte limit that the read buffer pool keeps while it is idle. With a quarter
/// of 4 MiB nearly all reads of large frames find a pooled buffer; half as much causes page faults.
const POOL_FRACTION: usize = 4;

/// Valid frames of one peer, as they were received: each with its length prefix.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) target: Target,
    pub(crate) messages: Bytes,
    /// Size of the allocation behind `messages`.
    pub(crate) pinned: usize,
    /// Whether in each message the frame fills its length. If not, which is rare, frames are
    /// truncated.
    pub(crate) no_trailing: bool,
    /// The share of the receive window, held until the last frame is handed out.
    pub(crate) _permit: Permit,
}

impl Batch {
    /// Removes the first frame.
    fn pop(&mut self) -> Option<(Target, Frame)> {
        let len = peek_len(&self.messages).ok()??;
        let mut message = match len == self.messages.len() {
            true => std::mem::take(&mut self.messages),
            false if len < self.messages.len() => self.messages.split_to(len),
            false => return None,
        };
        message.advance(LENGTH_PREFIX);
        if !self.no_trailing {
            // Bytes after the payload are not part of the frame.
            message.truncate(Header::parse(&message).ok()?.frame_len());
        }
        Some((self.target, Frame::from_slice(message, self.pinned)))
    }
}

/// The receiving end of the queue, read by the router.
#[derive(Debug)]
pub(crate) struct Inbound {
    batches: Receiver<Batch>,
    /// The batch that is being handed out. It stays here if a pending call is cancelled.
    partial_batch: Mutex<Option<Batch>>,
    /// Held by the task that waits for the next batch, so that batches keep their order though
    /// several tasks wait for frames.
    fifo: async_lock::Mutex<()>,
    window: Arc<ReceiveWindow>,
    consumer: Arc<ConsumerWaker>,
}

/// The sending end of the queue, held by the receive loops.
#[derive(Debug, Clone)]
pub(crate) struct InboundSender {
    batches: Sender<Batch>,
    /// Dropped after `batches`: the last sender closes the channel, and then wakes up the consumer.
    wake_on_drop: WakeOnDrop,
    gate: Arc<ReceiveWindow>,
    buffers: Arc<BufferPool>,
}

/// Wakes up the consumer when it is dropped.
#[derive(Debug, Clone)]
struct WakeOnDrop(Arc<ConsumerWaker>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// The waker of the task that waits for the next batch.
///
/// It replaces the notification of the channel, which wakes the task while it holds a lock that the
/// task takes first: a router on another thread would park once more.
#[derive(Debug, Default)]
struct ConsumerWaker(Mutex<Option<Waker>>);

impl ConsumerWaker {
    fn register(&self, cx: &Context<'_>) {
        register_waker(&mut self.slot(), cx);
    }

    fn wake(&self) {
        let waker = self.slot().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the queue, with limits in bytes and in frames.
pub(crate) fn inbound(bytes: usize, frames: usize) -> (InboundSender, Inbound) {
    let (sender, receiver) = async_channel::bounded(CHANNEL_CAPACITY.min(frames));
    let (gate, waiter) = (ReceiveWindow::new(bytes, frames), Arc::<ConsumerWaker>::default());
    let buffers = BufferPool::new(bytes / POOL_FRACTION);
    let (current, turn) = (Mutex::new(None), async_lock::Mutex::new(()));
    (
        InboundSender {
            batches: sender,
            wake_on_drop: WakeOnDrop(waiter.clone()),
            gate: gate.clone(),
            buffers,
        },
        Inbound {
            batches: receiver,
            partial_batch: current,
            fifo: turn,
            window: gate,
            consumer: waiter,
        },
    )
}

impl Inbound {
    pub(crate) async fn next(&self) -> Result<(Target, Frame), Closed> {
        // Fast path: the present batch has more frames.
        if let Some(frame) = self.pop() {
            return Ok(frame);
        }
        let _turn = self.fifo.lock().await;
        loop {
            if let Some(frame) = self.pop() {
                return Ok(frame);
            }
            let batch = poll_fn(|cx| self.poll_batch(cx)).await?;
            *self.partial_batch() = Some(batch);
        }
    }

    fn poll_batch(&self, cx: &Context<'_>) -> Poll<Result<Batch, Closed>> {
        if let Poll::Ready(found) = self.take_batch() {
            return Poll::Ready(found);
        }
        self.consumer.register(cx);
        // A batch may have arrived before the waker was registered.
        self.take_batch()
    }

    fn take_batch(&self) -> Poll<Result<Batch, Closed>> {
        match self.batches.try_recv() {
            Ok(batch) => Poll::Ready(Ok(batch)),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Closed) => Poll::Ready(Err(Closed)),
        }
    }

    pub(crate) fn try_next(&self) -> Result<Option<(Target, Frame)>, Closed> {
        if let Some(frame) = self.pop() {
            return Ok(Some(frame));
        }
        // Another task waits for the next frame, so there is none.
        let Some(_turn) = self.fifo.try_lock() else { return Ok(None) };
        loop {
            if let Some(frame) = self.pop() {
                return Ok(Some(frame));
            }
            match self.take_batch() {
                Poll::Ready(batch) => *self.partial_batch() = Some(batch?),
                Poll::Pending => return Ok(None),
            }
        }
    }

    /// Whether a frame is available.
    pub(crate) fn has_frame(&self) -> bool {
        self.partial_batch().is_some() || !self.batches.is_empty()
    }

    /// Removes the first frame of the batch that is being handed out.
    fn pop(&self) -> Option<(Target, Frame)> {
        let mut current = self.partial_batch();
        let frame = current.as_mut()?.pop();
        if current.as_ref().is_some_and(|batch| batch.messages.is_empty()) {
            *current = None;
        }
        frame
    }

    fn partial_batch(&self) -> MutexGuard<'_, Option<Batch>> {
        self.partial_batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the queue and wakes up all who wait for it, on both ends.
    pub(crate) fn close(&self) {
        self.batches.close();
        self.window.wake_waiters();
        self.consumer.wake();
    }
}

impl InboundSender {
    /// Bytes that are covered by permits.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.gate.used()
    }

    /// Waits for a permit to read at most `bytes` bytes, and at least one frame.
    pub(crate) async fn acquire(&self, bytes: usize) -> Result<Permit, Closed> {
        self.gate.acquire(bytes, || self.batches.is_closed()).await.ok_or(Closed)
    }

    /// Acquires a permit to read at most `bytes` bytes, if it is available and nobody waits for
    /// one.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Result<Option<Permit>, Closed> {
        match self.batches.is_closed() {
            true => Err(Closed),
            false => Ok(self.gate.try_acquire(bytes)),
        }
    }

    /// The pool of read buffers.
    pub(crate) fn buffers(&self) -> &Arc<BufferPool> {
        &self.buffers
    }

    /// Delivers a batch, or returns it if the channel is full.
    pub(crate) fn try_send(&self, batch: Batch) -> Result<Option<Batch>, Closed> {
        match self.batches.try_send(batch) {
            Ok(()) => {
                self.wake_on_drop.0.wake();
                Ok(None)
            }
            Err(TrySendError::Full(batch)) => Ok(Some(batch)),
            Err(TrySendError::Closed(_)) => Err(Closed),
        }
    }

    /// Delivers a batch. Waits while the channel is full.
    pub(crate) async fn send(&self, batch: Batch) -> Result<(), Closed> {
        self.batches.send(batch).await.map_err(|_| Closed)?;
        self.wake_on_drop.0.wake();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Id, encode_length};
    use crate::testing::kit::pipe::TestWaker;
    use futures_lite::future::{block_on, poll_once};

    fn message(number: u8, trailing: usize) -> Vec<u8> {
        let frame = Frame::builder(8, Id::from_bytes([number; 32])).build().unwrap();
        let len = encode_length(frame.len() + trailing);
        [&len, frame.as_bytes(), &vec![0xEE; trailing]].concat()
    }

    fn batch(room: Permit, messages: Vec<u8>) -> Batch {
        let pinned = messages.len();
        let messages = messages.into();
        Batch { target: 7, messages, pinned, no_trailing: false, _permit: room }
    }

    #[test]
    fn frames_come_out_whole_and_trailing_bytes_do_not() {
        block_on(async {
            let (sender, inbound) = inbound(10_000, 100);
            let room = sender.acquire(1000).await.unwrap();
            let messages = [message(1, 0), message(2, 5), message(3, 0)].concat();
            sender.send(batch(room, messages)).await.unwrap();
            for number in 1..=3 {
                let (target, frame) = inbound.next().await.unwrap();
                assert_eq!((target, frame.len()), (7, 41));
                assert_eq!(frame.sender(), Id::from_bytes([number; 32]));
            }
            assert_eq!(inbound.try_next(), Ok(None));
            drop(sender);
            assert_eq!(inbound.next().await, Err(Closed));
        });
    }

    #[test]
    fn a_waiter_that_is_dropped_loses_nothing() {
        block_on(async {
            let (sender, inbound) = inbound(10_000, 100);
            assert!(poll_once(inbound.next()).await.is_none());
            let room = sender.acquire(100).await.unwrap();
            sender.send(batch(room, [message(1, 0), message(2, 0)].concat())).await.unwrap();
            assert!(poll_once(inbound.next()).await.is_some());
            assert!(poll_once(inbound.next()).await.is_some());
            assert!(poll_once(inbound.next()).await.is_none());
        });
    }

    #[test]
    fn who_waits_for_a_frame_is_woken_by_it_and_by_the_end() {
        let (sender, inbound) = inbound(10_000, 100);
        let other = sender.clone();
        let wakes = TestWaker::new();
        let next = || Box::pin(inbound.next());
        let mut first = next();
        assert!(wakes.poll(first.as_mut()).is_none());
        let room = sender.try_acquire(100).unwrap().unwrap();
        assert!(sender.try_send(batch(room, message(1, 0))).unwrap().is_none());
        assert!(wakes.was_woken() && wakes.poll(first.as_mut()).unwrap().is_ok());
        let mut second = next();
        assert!(wakes.poll(second.as_mut()).is_none());
        let room = sender.try_acquire(100).unwrap().unwrap();
        block_on(sender.send(batch(room, message(1, 0)))).unwrap();
        assert!(wakes.was_woken() && wakes.poll(second.as_mut()).unwrap().is_ok());
        let mut third = next();
        assert!(wakes.poll(third.as_mut()).is_none());
        drop(sender);
        assert!(wakes.poll(third.as_mut()).is_none(), "there is another one");
        drop(other);
        assert!(wakes.was_woken());
        assert_eq!(wakes.poll(third.as_mut()), Some(Err(Closed)));
    }

    #[test]
    fn closing_wakes_who_waits_for_a_frame() {
        let (_sender, inbound) = inbound(10_000, 100);
        let wakes = TestWaker::new();
        let mut next = Box::pin(inbound.next());
        assert!(wakes.poll(next.as_mut()).is_none());
        inbound.close();
        assert!(wakes.was_woken());
        assert_eq!(wakes.poll(next.as_mut()), Some(Err(Closed)));
    }

    #[test]
    fn closing_frees_those_who_wait_for_room() {
        block_on(async {
            let (sender, inbound) = inbound(1000, 100);
            let _all = sender.acquire(1000).await.unwrap();
            let mut waiting = Box::pin(sender.acquire(1));
            assert!(poll_once(&mut waiting).await.is_none());
            inbound.close();
            assert!(matches!(waiting.await, Err(Closed)));
        });
    }
}
