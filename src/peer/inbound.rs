//! What arrived and waits for the router: bounded in bytes and in frames.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender, TryRecvError, TrySendError};
use bytes::{Buf, Bytes};
use event_listener::Event;

use super::buffers::Buffers;
use crate::Target;
use crate::error::Closed;
use crate::proto::{Frame, Header, PREFIX, whole_message};

/// Batches that may wait. It bounds the channel's own memory only, which is allocated at once;
/// the bounds that count are those of the [`Gate`].
const BATCHES: usize = 512;

/// What a batch costs beside its bytes: its place in the channel and its allocation.
const OVERHEAD: usize = 128;

/// The part of the bound on bytes that is kept as buffers to read into while nothing waits. With a
/// quarter of 4 MiB nearly all reads of 32 000 B find one; with an eighth a third of a page fault
/// was left for each, and 8 % of the speed.
const KEPT: usize = 4;

/// The part of the bound on bytes by which frames that were begun may go beyond it.
const STRETCH: usize = 4;

/// Frames of one peer, just as they came: each with its length in front, all of them valid.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) target: Target,
    pub(crate) messages: Bytes,
    /// Size of the allocation behind `messages`.
    pub(crate) pinned: usize,
    /// Whether nothing follows the payload inside the length, in any of them. It hardly ever does.
    pub(crate) is_exact: bool,
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
        if !self.is_exact {
            // What follows the payload inside the length is not part of the frame.
            message.truncate(Header::parse(&message).ok()?.frame_len());
        }
        Some((self.target, Frame::slice_of(message, self.pinned)))
    }
}

/// The end of the channel that the router reads.
#[derive(Debug)]
pub(crate) struct Inbound {
    batches: Receiver<Batch>,
    /// The batch that is being handed out. A waiter that is dropped leaves it where it is.
    current: Mutex<Option<Batch>>,
    /// Held by the task that waits for the next batch, so that batches follow each other in order
    /// though several tasks wait for frames.
    turn: async_lock::Mutex<()>,
    gate: Arc<Gate>,
}

/// The end of the channel that receive loops write.
#[derive(Debug, Clone)]
pub(crate) struct InboundSender {
    batches: Sender<Batch>,
    gate: Arc<Gate>,
    buffers: Arc<Buffers>,
}

/// Makes the channel.
pub(crate) fn inbound(bytes: usize, frames: usize) -> (InboundSender, Inbound) {
    let (sender, receiver) = async_channel::bounded(BATCHES.min(frames));
    let gate = Arc::new(Gate {
        used: Mutex::default(),
        limit: Size { bytes, frames },
        opened: Event::new(),
        turn: async_lock::Mutex::new(()),
    });
    let (current, turn) = (Mutex::new(None), async_lock::Mutex::new(()));
    (
        InboundSender { batches: sender, gate: gate.clone(), buffers: Buffers::new(bytes / KEPT) },
        Inbound { batches: receiver, current, turn, gate },
    )
}

impl Inbound {
    pub(crate) async fn next(&self) -> Result<(Target, Frame), Closed> {
        // Most frames are there already.
        if let Some(frame) = self.pop() {
            return Ok(frame);
        }
        let _turn = self.turn.lock().await;
        loop {
            if let Some(frame) = self.pop() {
                return Ok(frame);
            }
            let batch = self.batches.recv().await.map_err(|_| Closed)?;
            *self.current() = Some(batch);
        }
    }

    pub(crate) fn try_next(&self) -> Result<Option<(Target, Frame)>, Closed> {
        if let Some(frame) = self.pop() {
            return Ok(Some(frame));
        }
        // Somebody else is waiting for the next frame, so there is none.
        let Some(_turn) = self.turn.try_lock() else { return Ok(None) };
        loop {
            if let Some(frame) = self.pop() {
                return Ok(Some(frame));
            }
            match self.batches.try_recv() {
                Ok(batch) => *self.current() = Some(batch),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Closed) => return Err(Closed),
            }
        }
    }

    /// Takes the first frame off the batch that is being handed out.
    fn pop(&self) -> Option<(Target, Frame)> {
        let mut current = self.current();
        let frame = current.as_mut()?.pop();
        if current.as_ref().is_some_and(|batch| batch.messages.is_empty()) {
            *current = None;
        }
        frame
    }

    fn current(&self) -> MutexGuard<'_, Option<Batch>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what waits: nobody will ask for it.
    pub(crate) fn close(&self) {
        self.batches.close();
        self.gate.opened.notify(usize::MAX);
    }
}

impl InboundSender {
    /// Bytes for which there is no room any more.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.gate.lock().bytes
    }

    /// Waits for room to read at most `bytes` bytes and to hand on one frame at least.
    ///
    /// Whoever came first is served first: one that wants much would otherwise wait for as long as
    /// others want little.
    pub(crate) async fn room(&self, bytes: usize) -> Result<Room, Closed> {
        let _turn = self.gate.turn.lock().await;
        loop {
            let opened = self.gate.opened.listen();
            if let Some(room) = self.take(bytes)? {
                return Ok(room);
            }
            opened.await;
        }
    }

    /// Room to read at most `bytes` bytes, if there is some now and nobody waits for it.
    pub(crate) fn try_room(&self, bytes: usize) -> Result<Option<Room>, Closed> {
        match self.gate.turn.try_lock() {
            Some(_turn) => self.take(bytes),
            None => Ok(None),
        }
    }

    fn take(&self, bytes: usize) -> Result<Option<Room>, Closed> {
        match self.batches.is_closed() {
            true => Err(Closed),
            false => Ok(Gate::take(&self.gate, bytes)),
        }
    }

    /// What to read into.
    pub(crate) fn buffers(&self) -> &Arc<Buffers> {
        &self.buffers
    }

    /// Hands a batch to the router, or gives it back if there is no place for it now.
    pub(crate) fn try_send(&self, batch: Batch) -> Result<Option<Batch>, Closed> {
        match self.batches.try_send(batch) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(batch)) => Ok(Some(batch)),
            Err(TrySendError::Closed(_)) => Err(Closed),
        }
    }

    /// Hands a batch to the router.
    pub(crate) async fn send(&self, batch: Batch) -> Result<(), Closed> {
        self.batches.send(batch).await.map_err(|_| Closed)
    }
}

/// The room for what arrives.
#[derive(Debug)]
struct Gate {
    used: Mutex<Size>,
    limit: Size,
    /// Notified when room was given back.
    opened: Event,
    /// Held by the one that waits for room; the next ones wait for this.
    turn: async_lock::Mutex<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    bytes: usize,
    frames: usize,
}

impl Gate {
    fn take(gate: &Arc<Gate>, bytes: usize) -> Option<Room> {
        // No more of them can be in so many bytes. With room for fewer, what was read would have to
        // wait for the rest of it, and it has no bound while it does.
        let most_frames = 1 + bytes / (PREFIX + Frame::MIN_LEN);
        // A read larger than the whole bound could never be let through.
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
        Some(Room { gate: gate.clone(), bytes, frames })
    }

    fn lock(&self) -> MutexGuard<'_, Size> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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

    /// Whether so many bytes may be read.
    pub(crate) fn is_enough_for(&self, bytes: usize) -> bool {
        self.bytes >= (bytes + OVERHEAD).min(self.gate.limit.bytes)
    }

    /// Makes it hold so many bytes at least, if that does not go too far beyond the bound.
    pub(crate) fn stretch(&mut self, bytes: usize) -> bool {
        let more = (bytes + OVERHEAD).saturating_sub(self.bytes);
        let mut used = self.gate.lock();
        let limit = self.gate.limit.bytes;
        let fits = used.bytes.saturating_add(more) <= limit.saturating_add(limit / STRETCH);
        if fits {
            used.bytes += more;
            self.bytes += more;
        }
        fits
    }

    /// Makes it hold so many bytes at least, if need be beyond the bound: the next one waits longer.
    pub(crate) fn cover(&mut self, bytes: usize) {
        let more = (bytes + OVERHEAD).saturating_sub(self.bytes);
        if more > 0 {
            self.gate.lock().bytes += more;
            self.bytes += more;
        }
    }

    /// Takes the part of it that a batch of so many frames keeps, which pins `bytes`.
    pub(crate) fn split(&mut self, bytes: usize, frames: usize) -> Room {
        let bytes = self.bytes.min(bytes + OVERHEAD);
        let frames = self.frames.min(frames);
        self.bytes -= bytes;
        self.frames -= frames;
        Room { gate: self.gate.clone(), bytes, frames }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut used = self.gate.lock();
        used.bytes -= self.bytes;
        used.frames -= self.frames;
        drop(used);
        self.gate.opened.notify(1);
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
        let pinned = messages.len();
        let messages = messages.into();
        Batch { target: 7, messages, pinned, is_exact: false, _room: room }
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
            sender.send(batch(first.split(45, 1), message(1, 0))).await.unwrap();
            drop(first);
            assert!(poll_once(&mut second).await.is_none(), "still too little");
            inbound.next().await.unwrap();
            let second = second.await.unwrap();
            assert_eq!((second.bytes, second.frames), (928, 18));
            drop(second);
            let all = sender.room(5000).await.unwrap();
            assert_eq!((all.bytes, all.frames), (1000, 100), "never more than there is");
        });
    }

    #[test]
    fn what_goes_beyond_the_bound_has_the_next_one_wait() {
        let (sender, _inbound) = inbound(1000, 100);
        let mut room = sender.try_room(100).unwrap().unwrap();
        room.cover(50);
        assert_eq!(room.bytes, 228);
        room.cover(2000);
        let batch = room.split(2000, 1);
        assert_eq!((batch.bytes, room.bytes), (2128, 0));
        drop(room);
        assert!(sender.try_room(1).unwrap().is_none());
        drop(batch);
        assert_eq!(sender.try_room(5000).unwrap().unwrap().bytes, 1000);
    }

    #[test]
    fn no_room_is_given_for_a_part_of_the_frames() {
        let (sender, _inbound) = inbound(100_000, 30);
        let room = sender.try_room(900).unwrap().unwrap();
        assert_eq!(room.frames(), 21);
        assert!(sender.try_room(450).unwrap().is_none(), "11 may come");
        assert_eq!(sender.try_room(400).unwrap().unwrap().frames(), 9);
    }

    #[test]
    fn who_wants_much_is_not_passed_by_who_wants_little() {
        block_on(async {
            let (sender, _inbound) = inbound(1000, 100);
            let first = sender.room(100).await.unwrap();
            let mut much = Box::pin(sender.room(800));
            assert!(poll_once(&mut much).await.is_none());
            assert!(sender.try_room(100).unwrap().is_none(), "there is some, and it is taken");
            let mut little = Box::pin(sender.room(10));
            assert!(poll_once(&mut little).await.is_none());
            drop(first);
            let much = poll_once(&mut much).await.unwrap().unwrap();
            assert!(poll_once(&mut little).await.is_none(), "930 of 1000 are taken");
            drop(much);
            assert!(poll_once(&mut little).await.is_some());
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
