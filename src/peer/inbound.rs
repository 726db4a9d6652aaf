//! What arrived and waits for the router: bounded in bytes and in frames.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender, TryRecvError};
use bytes::{Buf, Bytes};
use event_listener::Event;

use crate::Target;
use crate::error::Closed;
use crate::proto::{Frame, Header, PREFIX, whole_message};

/// Batches that may wait. It bounds the channel's own memory only, which is allocated at once;
/// the bounds that count are those of the [`Gate`].
const BATCHES: usize = 512;

/// What a batch costs beside its bytes: its place in the channel and its allocation.
const OVERHEAD: usize = 128;

/// Frames of one peer, just as they came: each with its length in front, all of them valid.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) target: Target,
    pub(crate) messages: Bytes,
    /// Size of the allocation behind `messages`.
    pub(crate) pinned: usize,
    /// Holds the batch's place until it was handed out whole.
    pub(crate) _room: Room,
}

impl Batch {
    /// Takes the first frame off.
    fn pop(&mut self) -> Option<(Target, Frame)> {
        let len = whole_message(&self.messages).ok()??;
        let mut message = match len == self.messages.len() {
            true => std::mem::take(&mut self.messages),
            false if len < self.messages.len() => self.messages.split_to(len),
            false => return None,
        };
        message.advance(PREFIX);
        // What follows the payload inside the length is not part of the frame.
        message.truncate(Header::parse(&message).ok()?.frame_len());
        Some((self.target, Frame::slice_of(message, self.pinned)))
    }
}

/// The end of the channel that the router reads.
#[derive(Debug)]
pub(crate) struct Inbound {
    batches: Receiver<Batch>,
    /// The batch that is being handed out. Several tasks may wait for frames; the lock goes from
    /// one to the next in turn, and a waiter that is dropped leaves the batch where it is.
    current: async_lock::Mutex<Option<Batch>>,
    gate: Arc<Gate>,
}

/// The end of the channel that receive loops write.
#[derive(Debug, Clone)]
pub(crate) struct InboundSender {
    batches: Sender<Batch>,
    gate: Arc<Gate>,
}

/// Makes the channel.
pub(crate) fn inbound(bytes: usize, frames: usize) -> (InboundSender, Inbound) {
    let (sender, receiver) = async_channel::bounded(BATCHES.min(frames));
    let gate = Arc::new(Gate {
        free: Mutex::new(Free { bytes, frames }),
        limit: bytes,
        opened: Event::new(),
    });
    let current = async_lock::Mutex::new(None);
    (
        InboundSender { batches: sender, gate: gate.clone() },
        Inbound { batches: receiver, current, gate },
    )
}

impl Inbound {
    pub(crate) async fn next(&self) -> Result<(Target, Frame), Closed> {
        let mut current = self.current.lock().await;
        loop {
            if let Some(frame) = pop(&mut current) {
                return Ok(frame);
            }
            *current = Some(self.batches.recv().await.map_err(|_| Closed)?);
        }
    }

    pub(crate) fn try_next(&self) -> Result<Option<(Target, Frame)>, Closed> {
        // Somebody else is waiting for the next frame, so there is none.
        let Some(mut current) = self.current.try_lock() else { return Ok(None) };
        loop {
            if let Some(frame) = pop(&mut current) {
                return Ok(Some(frame));
            }
            match self.batches.try_recv() {
                Ok(batch) => *current = Some(batch),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Closed) => return Err(Closed),
            }
        }
    }

    /// Lets go of what waits: nobody will ask for it.
    pub(crate) fn close(&self) {
        self.batches.close();
        self.gate.opened.notify(usize::MAX);
    }
}

fn pop(current: &mut Option<Batch>) -> Option<(Target, Frame)> {
    let frame = current.as_mut()?.pop();
    if current.as_ref().is_some_and(|batch| batch.messages.is_empty()) {
        *current = None;
    }
    frame
}

impl InboundSender {
    /// Waits for room to read at most `bytes` bytes and to hand on one frame at least.
    pub(crate) async fn room(&self, bytes: usize) -> Result<Room, Closed> {
        loop {
            if let Some(room) = self.try_room(bytes)? {
                return Ok(room);
            }
            let opened = self.gate.opened.listen();
            if let Some(room) = self.try_room(bytes)? {
                return Ok(room);
            }
            opened.await;
        }
    }

    /// Room to read at most `bytes` bytes, if there is some now.
    pub(crate) fn try_room(&self, bytes: usize) -> Result<Option<Room>, Closed> {
        match self.batches.is_closed() {
            true => Err(Closed),
            false => Ok(Gate::take(&self.gate, bytes)),
        }
    }

    /// Hands a batch to the router.
    pub(crate) async fn send(&self, batch: Batch) -> Result<(), Closed> {
        self.batches.send(batch).await.map_err(|_| Closed)
    }
}

/// The room that is left for what arrives.
#[derive(Debug)]
struct Gate {
    free: Mutex<Free>,
    limit: usize,
    opened: Event,
}

#[derive(Debug)]
struct Free {
    bytes: usize,
    frames: usize,
}

impl Gate {
    fn take(gate: &Arc<Gate>, bytes: usize) -> Option<Room> {
        // A read larger than the whole bound could never be let through.
        let bytes = (bytes + OVERHEAD).min(gate.limit);
        let mut free = gate.lock();
        if free.bytes < bytes || free.frames == 0 {
            return None;
        }
        let frames = free.frames.min(MOST_FRAMES);
        free.bytes -= bytes;
        free.frames -= frames;
        let more = free.bytes > 0 && free.frames > 0;
        drop(free);
        if more {
            // One notification wakes one reader; it passes the word on while there is room.
            gate.opened.notify(1);
        }
        Some(Room { gate: gate.clone(), bytes, frames })
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames that one read may hand on, so that one reader does not hold the room of all.
const MOST_FRAMES: usize = 8192;

/// Room that was taken; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room {
    gate: Arc<Gate>,
    bytes: usize,
    frames: usize,
}

impl Room {
    /// How many frames fit.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// Gives back what turned out not to be needed.
    pub(crate) fn shrink(&mut self, bytes: usize, frames: usize) {
        let bytes = self.bytes.min(bytes + OVERHEAD);
        let frames = self.frames.min(frames);
        self.give(self.bytes - bytes, self.frames - frames);
        (self.bytes, self.frames) = (bytes, frames);
    }

    fn give(&self, bytes: usize, frames: usize) {
        let mut free = self.gate.lock();
        free.bytes += bytes;
        free.frames += frames;
        drop(free);
        self.gate.opened.notify(1);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give(self.bytes, self.frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Id, encode_length};
    use futures_lite::future::{block_on, poll_once};

    fn message(number: u8, trailing: usize) -> Vec<u8> {
        let frame = Frame::builder(8, Id::from_bytes([number; 32])).build().unwrap();
        let len = encode_length(frame.len() + trailing);
        [&len, frame.as_bytes(), &vec![0xEE; trailing]].concat()
    }

    fn batch(room: Room, messages: Vec<u8>) -> Batch {
        Batch { target: 7, pinned: messages.len(), messages: messages.into(), _room: room }
    }

    #[test]
    fn frames_come_out_whole_and_trailing_bytes_do_not() {
        block_on(async {
            let (sender, inbound) = inbound(10_000, 100);
            let room = sender.room(1000).await.unwrap();
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
    fn room_is_taken_waited_for_and_given_back() {
        block_on(async {
            let (sender, inbound) = inbound(1000, 100);
            let mut first = sender.room(800).await.unwrap();
            let mut second = Box::pin(sender.room(800));
            assert!(poll_once(&mut second).await.is_none());
            first.shrink(45, 1);
            assert!(poll_once(&mut second).await.is_none(), "still too little");
            sender.send(batch(first, message(1, 0))).await.unwrap();
            inbound.next().await.unwrap();
            let second = second.await.unwrap();
            assert_eq!((second.bytes, second.frames), (928, 100));
            drop(second);
            assert_eq!(sender.room(5000).await.unwrap().bytes, 1000, "never more than there is");
        });
    }

    #[test]
    fn a_waiter_that_is_dropped_loses_nothing() {
        block_on(async {
            let (sender, inbound) = inbound(10_000, 100);
            assert!(poll_once(inbound.next()).await.is_none());
            let room = sender.room(100).await.unwrap();
            sender.send(batch(room, [message(1, 0), message(2, 0)].concat())).await.unwrap();
            assert!(poll_once(inbound.next()).await.is_some());
            assert!(poll_once(inbound.next()).await.is_some());
            assert!(poll_once(inbound.next()).await.is_none());
        });
    }

    #[test]
    fn closing_frees_those_who_wait_for_room() {
        block_on(async {
            let (sender, inbound) = inbound(1000, 100);
            let _all = sender.room(1000).await.unwrap();
            let mut waiting = Box::pin(sender.room(1));
            assert!(poll_once(&mut waiting).await.is_none());
            inbound.close();
            assert!(matches!(waiting.await, Err(Closed)));
        });
    }
}
