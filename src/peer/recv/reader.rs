//! The receive loop of a link.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::error::{Closed, DownReason};
use crate::peer::recv::classify::{FrameClass, LinkRules, classify_run};
use crate::peer::recv::inbound_queue::{Batch, InboundSender};
use crate::peer::recv::receive_window::Permit;
use crate::peer::{MergeMessage, OnMergeMessage, Peer};
use crate::primitives::buffer_pool::BufferPool;
use crate::proto::{Frame, InvalidAck, LENGTH_PREFIX, Records};
use crate::transport::{Link, ReadBuffer};

/// Consecutive reads before the reader yields, so that a busy peer does not starve other tasks.
const READS_PER_TURN: u8 = 8;

/// Number of times that the reader of a busy link yields and polls it again before it parks.
///
/// Parking the task, and waking it again, costs the receiver and the sender more than that, if the
/// router runs on the same thread. More spins are no faster.
const MAX_SPINS: u8 = 3;

/// Reads frames and delivers them to the router until the link ends. Returns why it ended. Once the
/// last handle of the endpoint was dropped, it reads to the end of the stream and discards the
/// data.
///
/// An idle link uses no CPU time: after a read without data the reader yields, and then waits for
/// readiness. It holds little memory, too: the futures that wait for the router are boxed on
/// demand.
pub(crate) fn run_reader<'a>(
    peer: &'a Peer,
    link: &'a Link,
    inbound: &'a InboundSender,
    on_merge: OnMergeMessage<'a>,
) -> impl Future<Output = DownReason> + Send + Unpin + use<'a> {
    let (room, waiting) = (None, None);
    let mut reader = Reader {
        peer,
        link,
        inbound,
        notices: on_merge,
        permit: room,
        backpressure_wait: waiting,
        reads: 0,
        spins: 0,
        needs_readiness: false,
        discards: false,
    };
    poll_fn(move |cx| reader.poll(cx))
}

/// The state of the receive loop.
struct Reader<'a> {
    peer: &'a Peer,
    link: &'a Link,
    inbound: &'a InboundSender,
    notices: OnMergeMessage<'a>,
    /// The permit for the next read, or for the unread bytes of the last one.
    permit: Option<Permit>,
    /// A wait for the router, while back-pressure blocks the reader.
    backpressure_wait: Option<Waiting<'a>>,
    /// Reads since the reader last yielded.
    reads: u8,
    /// Spins since the last read with data.
    spins: u8,
    /// Whether the last read found no data, so that the next one waits for readiness.
    needs_readiness: bool,
    /// Whether the endpoint has no handles any more, so that received data is discarded.
    discards: bool,
}

/// A wait for a permit, or for the delivery of a batch.
type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Option<Permit>, Closed>> + Send + 'a>>;

impl<'a> Reader<'a> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<DownReason> {
        loop {
            if let Err(reason) = ready!(self.poll_ready(cx)) {
                return Poll::Ready(reason);
            }
            let Reader { peer, link, inbound, notices, .. } = *self;
            let step = match self.reads {
                READS_PER_TURN.. => {
                    self.reads = 0;
                    return yield_now(cx);
                }
                _ if self.discards => discard(link, inbound.buffers()),
                _ => read_frames(peer, link, &mut self.permit, inbound, notices),
            };
            match step {
                ReadOutcome::WouldBlock
                    if self.spins < MAX_SPINS && link.read_buffer().is_busy() =>
                {
                    self.spins += 1;
                    return yield_now(cx);
                }
                ReadOutcome::WouldBlock => {
                    self.permit = None;
                    link.read_buffer().release_memory(inbound.buffers());
                    (self.reads, self.needs_readiness) = (0, true);
                    return yield_now(cx);
                }
                ReadOutcome::WindowFull(bytes) => {
                    self.backpressure_wait = Some(Box::pin(wait_for_permit(peer, inbound, bytes)))
                }
                ReadOutcome::QueueFull(found) => {
                    self.backpressure_wait = Some(Box::pin(wait_for_queue(peer, inbound, found)))
                }
                ReadOutcome::InboundClosed => (self.permit, self.discards) = (None, true),
                ReadOutcome::Progress => (self.reads, self.spins) = (self.reads + 1, 0),
                ReadOutcome::Closed(reason) => return Poll::Ready(reason),
            }
        }
    }

    /// Waits for what the last step lacked: readiness, a permit, or space in the inbound queue.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownReason>> {
        if self.needs_readiness {
            ready!(self.link.stream.poll_readable(cx)).map_err(DownReason::io)?;
            self.needs_readiness = false;
        }
        if let Some(waiting) = &mut self.backpressure_wait {
            let done = ready!(waiting.as_mut().poll(cx));
            self.backpressure_wait = None;
            match done {
                Ok(Some(room)) => self.permit = Some(room),
                Ok(None) => self.reads += 1,
                Err(Closed) => self.discards = true,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Yields to other tasks.
fn yield_now<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

async fn wait_for_permit(
    peer: &Peer,
    inbound: &InboundSender,
    bytes: usize,
) -> Result<Option<Permit>, Closed> {
    while_backpressured(peer, inbound.acquire(bytes)).await.map(Some)
}

async fn wait_for_queue(
    peer: &Peer,
    inbound: &InboundSender,
    found: Box<DecodedBatch>,
) -> Result<Option<Permit>, Closed> {
    let DecodedBatch { batch, frames, bytes } = *found;
    while_backpressured(peer, inbound.send(batch)).await?;
    peer.count_received(frames, bytes);
    Ok(None)
}

/// Waits for the router to make progress. Meanwhile the liveness monitor informs the remote that
/// the local node is alive.
async fn while_backpressured<T>(peer: &Peer, waiting: impl Future<Output = T>) -> T {
    peer.queue.set_backpressured(true);
    let done = waiting.await;
    peer.queue.set_backpressured(false);
    done
}

/// The outcome of one step of the receive loop.
enum ReadOutcome {
    /// The socket has no data.
    WouldBlock,
    /// The receive window has no permit for this many bytes.
    WindowFull(usize),
    /// The inbound queue has no slot for this batch.
    QueueFull(Box<DecodedBatch>),
    /// The endpoint has no handles any more.
    InboundClosed,
    /// Data was read, or frames were delivered.
    Progress,
    /// The link has ended.
    Closed(DownReason),
}

/// Whole frames for the router, with their number and their bytes on the wire.
struct DecodedBatch {
    batch: Batch,
    frames: usize,
    bytes: usize,
}

/// Decodes whole frames from the buffer and delivers them, or else performs one non-blocking read.
///
/// A permit is acquired first. While the router is slow nothing is read, and TCP flow control
/// throttles the sender. The permit of a read is kept until its last whole frame was decoded.
fn read_frames(
    peer: &Peer,
    link: &Link,
    room: &mut Option<Permit>,
    inbound: &InboundSender,
    notices: OnMergeMessage<'_>,
) -> ReadOutcome {
    let mut half = link.read_buffer();
    let step = read_once(peer, link, &mut half, room, inbound, notices);
    // Do not hold memory while waiting for the router.
    match step {
        ReadOutcome::WindowFull(_) => half.release_memory(inbound.buffers()),
        ReadOutcome::QueueFull(_) => half.maybe_release(inbound.buffers()),
        ReadOutcome::WouldBlock
        | ReadOutcome::InboundClosed
        | ReadOutcome::Progress
        | ReadOutcome::Closed(_) => {}
    }
    step
}

fn read_once(
    peer: &Peer,
    link: &Link,
    half: &mut ReadBuffer,
    room: &mut Option<Permit>,
    inbound: &InboundSender,
    notices: OnMergeMessage<'_>,
) -> ReadOutcome {
    let unread = half.unread().len();
    if unread > 0 {
        let room = match ensure_permit(room, unread, inbound) {
            Ok(room) => room,
            Err(step) => return step,
        };
        match decode_run(peer, link, half, room, inbound.buffers(), notices) {
            Ok(Some(Taken::Frames(found))) => return deliver(peer, found, inbound),
            Ok(Some(Taken::Consumed)) => return ReadOutcome::Progress,
            Ok(None) => {}
            Err(reason) => return ReadOutcome::Closed(reason),
        }
    }
    let (room, target) = match extend_permit(room, half, inbound) {
        Ok(found) => found,
        Err(step) => return step,
    };
    half.reserve(target, inbound.buffers());
    room.force_grow(half.buffer.capacity());
    read_socket(link, half, target)
}

/// Reads once and discards the data. Closing a socket with unread input would reset the connection,
/// and could lose the last data that the local node sent.
fn discard(link: &Link, buffers: &BufferPool) -> ReadOutcome {
    let mut half = link.read_buffer();
    half.discard();
    let target = half.next_capacity();
    half.reserve(target, buffers);
    let step = read_socket(link, &mut half, target);
    half.discard();
    step
}

fn read_socket(link: &Link, half: &mut ReadBuffer, target: usize) -> ReadOutcome {
    match half.read(link, target) {
        Ok(0) if half.unread().is_empty() => ReadOutcome::Closed(DownReason::Closed),
        Ok(0) => ReadOutcome::Closed(DownReason::ClosedInsideFrame),
        Ok(_) => {
            link.reads.fetch_add(1, Ordering::Relaxed);
            ReadOutcome::Progress
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ReadOutcome::WouldBlock,
        Err(error) => ReadOutcome::Closed(DownReason::io(error)),
    }
}

/// Extends the permit to the next read. Returns the permit and the capacity for the read.
///
/// If the window is exhausted, a partially read frame may overdraw it by up to a quarter, so that
/// it can be completed. Partial frames on thousands of links, with 16 KiB each, would otherwise
/// occupy more.
fn extend_permit<'a>(
    room: &'a mut Option<Permit>,
    half: &mut ReadBuffer,
    inbound: &InboundSender,
) -> Result<(&'a mut Permit, usize), ReadOutcome> {
    let target = half.next_capacity();
    let old = match room.take() {
        // Keep a permit that was waited for: others may be queued up behind it.
        Some(room_there) if room_there.covers(target) => {
            return Ok((room.insert(room_there), target));
        }
        old => old,
    };
    match inbound.try_acquire(target) {
        Ok(Some(new)) => return Ok((room.insert(new), target)),
        Ok(None) => {}
        Err(Closed) => return Err(ReadOutcome::InboundClosed),
    }
    let Some((len, mut old)) = half.partial_len().zip(old) else {
        return Err(ReadOutcome::WindowFull(target));
    };
    // The length prefix alone never causes a large allocation.
    let least = len.min(target);
    match old.try_overdraw(least) {
        true => {
            half.reserve_exact(least, inbound.buffers());
            Ok((room.insert(old), least))
        }
        false => Err(ReadOutcome::WindowFull(target)),
    }
}

/// Delivers frames to the router, if the inbound queue has a free slot.
fn deliver(peer: &Peer, found: DecodedBatch, inbound: &InboundSender) -> ReadOutcome {
    let DecodedBatch { batch, frames, bytes } = found;
    match inbound.try_send(batch) {
        Ok(None) => {
            // Count only delivered frames: an acknowledged frame must not be lost with this task.
            peer.count_received(frames, bytes);
            ReadOutcome::Progress
        }
        Ok(Some(batch)) => ReadOutcome::QueueFull(Box::new(DecodedBatch { batch, frames, bytes })),
        Err(Closed) => ReadOutcome::InboundClosed,
    }
}

/// Returns the present permit, or acquires one for `bytes` bytes.
fn ensure_permit<'a>(
    room: &'a mut Option<Permit>,
    bytes: usize,
    inbound: &InboundSender,
) -> Result<&'a mut Permit, ReadOutcome> {
    let taken = match room.take().filter(|room| room.frames() > 0) {
        Some(room) => room,
        None => match inbound.try_acquire(bytes) {
            Ok(Some(room)) => room,
            Ok(None) => return Err(ReadOutcome::WindowFull(bytes)),
            Err(Closed) => return Err(ReadOutcome::InboundClosed),
        },
    };
    Ok(room.insert(taken))
}

/// What was taken from the buffer.
enum Taken {
    Frames(DecodedBatch),
    /// Frames that were handled here, and are not for the router.
    Consumed,
}

/// Decodes the run of whole frames at the front of the buffer. `None` if there is none.
fn decode_run(
    peer: &Peer,
    link: &Link,
    half: &mut ReadBuffer,
    room: &mut Permit,
    buffers: &Arc<BufferPool>,
    notices: OnMergeMessage<'_>,
) -> Result<Option<Taken>, DownReason> {
    let rules =
        LinkRules { peer_type: peer.peer_type(), is_extended: link.control_sender.is_some() };
    let run = classify_run(half.unread(), rules, room.frames())?;
    match run.class {
        _ if run.frames == 0 => Ok(None),
        FrameClass::Ignored => {
            peer.count_ignored(run.frames);
            half.skip(run.len);
            Ok(Some(Taken::Consumed))
        }
        FrameClass::Control => {
            let heard = handle_control(peer, &half.unread()[LENGTH_PREFIX..run.len], notices);
            half.skip(run.len);
            heard.map(|()| Some(Taken::Consumed))
        }
        FrameClass::Router => {
            let (messages, pinned) = half.split_front(run.len, buffers);
            let _room = room.split(pinned, run.frames);
            let (target, is_exact) = (peer.target(), run.no_trailing);
            let batch = Batch { target, messages, pinned, no_trailing: is_exact, _permit: _room };
            Ok(Some(Taken::Frames(DecodedBatch { batch, frames: run.frames, bytes: run.len })))
        }
    }
}

/// Handles the extensions in a control frame.
fn handle_control(
    peer: &Peer,
    frame: &[u8],
    notices: OnMergeMessage<'_>,
) -> Result<(), DownReason> {
    let records = Frame::parse(frame.to_vec()).ok();
    let Some(records) = records.and_then(|frame| Records::decode(frame.payload())) else {
        peer.count_ignored(1);
        return Ok(());
    };
    if let Some(count) = records.received {
        let held = records.held.map(|held| Duration::from_micros(held.into()));
        let done = peer.queue.acknowledge(count, held);
        done.map_err(|InvalidAck| DownReason::InvalidAck(count))?;
        peer.count_ack();
    }
    if let Some((name, proof)) = records.same {
        notices(MergeMessage::Duplicate { name, proof });
    }
    if let Some((name, (received, proof))) = records.merge {
        notices(MergeMessage::Request { name, received, proof });
    }
    if let Some((name, received)) = records.merged {
        notices(MergeMessage::Ack { name, received });
    }
    if records.probe.is_some() {
        peer.queue.queue_ack();
    }
    if let Some(end) = records.end {
        peer.on_remote_close(end.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::peer::{MemoryBudget, Origin, SendQueue, inbound};
    use crate::proto::{Id, PeerType, encode_length};
    use crate::testing::kit::pipe::{Pipe, TestWaker};
    use std::pin::pin;

    fn message(modes: u16, payload: usize) -> Vec<u8> {
        let id = Id::from_bytes([3; 32]);
        let frame = Frame::builder(modes, id).payload(vec![1; payload]).build().unwrap();
        [&encode_length(frame.len())[..], frame.as_bytes()].concat()
    }

    /// Single frames fill the slots of the channel before the limits of the window are reached.
    #[test]
    fn a_reader_that_waits_for_a_place_in_the_channel_is_held_up() {
        let limits = Limits::default();
        let (sender, inbound) = inbound(limits.inbound_bytes, limits.inbound_frames);
        let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
        let peer = Peer::linked(7, PeerType::Standard, Origin::Accepted, queue);
        let (line, other) = Pipe::pair();
        let link = Link::new(line, None, Vec::new(), None);
        let mut receiving = pin!(run_reader(&peer, &link, &sender, &|_| ()));
        let wakes = TestWaker::new();
        let mut come = || {
            let mut way = other.outgoing();
            way.write(&message(8, 0));
            way.arrive(usize::MAX);
            drop(way);
            assert!(wakes.poll(receiving.as_mut()).is_none());
            peer.queue.liveness_inputs().is_backpressured
        };
        let came = 1 + (0..limits.inbound_frames).take_while(|_| !come()).count();
        assert!(came < limits.inbound_frames, "it was not told");
        let taken = std::iter::from_fn(|| inbound.try_next().unwrap()).count();
        assert_eq!(taken, came - 1);
        assert!(wakes.poll(receiving.as_mut()).is_none());
        assert!(
            !peer.queue.liveness_inputs().is_backpressured && inbound.try_next().unwrap().is_some()
        );
    }

    #[test]
    fn a_reader_that_waits_holds_no_more_than_a_part_of_a_frame() {
        let (small, large) = (message(8, 0), message(8, 60_000));
        let both = [&small[..], &large].concat();
        for (frames, flow) in [(5_000, &small), (65_536, &small), (65_536, &large), (65_536, &both)]
        {
            let (sender, _inbound) = inbound(1 << 20, frames);
            let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
            let peer = Peer::linked(7, PeerType::Standard, Origin::Accepted, queue);
            let (line, other) = Pipe::pair();
            let link = Link::new(line, None, Vec::new(), None);
            let mut receiving = Box::pin(run_reader(&peer, &link, &sender, &|_| ()));
            let wakes = TestWaker::new();
            while !peer.queue.liveness_inputs().is_backpressured {
                let mut way = other.outgoing();
                (0..(1 << 20) / flow.len()).for_each(|_| way.write(flow));
                way.arrive(usize::MAX);
                drop(way);
                assert!(wakes.poll(receiving.as_mut()).is_none());
            }
            drop(receiving);
            let held = link.read_buffer().buffer.capacity();
            assert!(
                held < LENGTH_PREFIX + Frame::MAX_LEN,
                "{held} bytes: {frames}, {}",
                flow.len()
            );
        }
    }

    /// Regression: it ended with unread input, and the reset lost what had been sent last.
    #[test]
    fn a_reader_whose_frames_nobody_takes_reads_to_the_end() {
        for is_waiting in [false, true] {
            let (sender, inbound) = inbound(10_000, 2);
            let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
            let peer = Peer::linked(7, PeerType::Standard, Origin::Accepted, queue);
            let (line, other) = Pipe::pair();
            let link = Link::new(line, None, Vec::new(), Some(Id::from_bytes([1; 32])));
            let mut receiving = pin!(run_reader(&peer, &link, &sender, &|_| ()));
            let wakes = TestWaker::new();
            let send = |frames| {
                let mut way = other.outgoing();
                (0..frames).for_each(|_| way.write(&message(8, 1000)));
                way.write(&message(8, 1000)[..500]);
                way.arrive(usize::MAX);
            };
            if is_waiting {
                send(3);
                assert!(wakes.poll(receiving.as_mut()).is_none());
            }
            let received = peer.info().frames_received;
            inbound.close();
            send(300);
            assert!(wakes.poll(receiving.as_mut()).is_none());
            assert!(other.outgoing().bytes.is_empty());
            assert_eq!(peer.info().frames_received, received);
            assert_eq!(link.read_buffer().buffer.capacity(), 0);
            other.outgoing().ended = true;
            let reason = wakes.poll(receiving.as_mut());
            assert!(matches!(reason, Some(DownReason::Closed)), "{reason:?}");
        }
    }

    /// Regression: frame after frame was read beyond the limit, each as the rest of a partial one.
    #[test]
    fn what_waits_for_a_router_that_takes_little_stays_near_the_bound() {
        const LIMIT: usize = 1 << 20;
        for payload in [3000, 20_000, 60_000, 65_400, 65_535] {
            let (sender, inbound) = inbound(LIMIT, 65_536);
            let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
            let peer = Peer::linked(7, PeerType::Standard, Origin::Accepted, queue);
            let (line, other) = Pipe::pair();
            let link = Link::new(line, None, Vec::new(), None);
            let mut receiving = Box::pin(run_reader(&peer, &link, &sender, &|_| ()));
            let wakes = TestWaker::new();
            let flow = message(8, payload);
            for _ in 0..3 {
                while !peer.queue.liveness_inputs().is_backpressured {
                    let mut way = other.outgoing();
                    (0..(10 * LIMIT) / flow.len()).for_each(|_| way.write(&flow));
                    way.arrive(usize::MAX);
                    drop(way);
                    assert!(wakes.poll(receiving.as_mut()).is_none());
                }
                let used = sender.used();
                assert!(used <= LIMIT + LIMIT / 4, "{used} bytes, payload {payload}");
                for _ in 0..(LIMIT / 2) / flow.len() {
                    inbound.try_next().unwrap();
                }
                assert!(wakes.poll(receiving.as_mut()).is_none());
            }
        }
    }
}
