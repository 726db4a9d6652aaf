//! The receive loop of a link.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_lock::MutexGuardArc;
use futures_lite::future;

use crate::error::DownReason;
use crate::peer::merge_state::OnMergeMessage;
use crate::peer::recv::batch::Batch;
use crate::peer::recv::decode::{Taken, decode_run};
use crate::peer::recv::inbound_queue::InboundSender;
use crate::peer::recv::inbox::Inbox;
use crate::peer::recv::receive_pool::MIN_WINDOW;
use crate::peer::{Peer, PeerClass};
use crate::primitives::clock::{self, Timer};
use crate::transport::{Link, ReadBuffer};

/// Bytes after which the reader waits for readiness, though it might read on. A task that only yields
/// is run again, up to two hundred times with smol, before the executor looks for the data of
/// others. So a busy link delays those by little more than a turn of each that is as busy.
fn turn(class: PeerClass) -> usize {
    match class {
        PeerClass::Stranger => 64 << 10,
        PeerClass::Trusted | PeerClass::Dialed => 512 << 10,
    }
}

/// Frames that never enter the inbound queue, by which a turn ends too: control frames, or any number
/// of ignored ones. No window bounds them.
const MAX_UNQUEUED: u8 = 16;

/// Number of times that the reader of a busy link yields and polls it again before it parks.
///
/// Parking the task, and waking it again, costs the receiver and the sender more than that, if the
/// router runs on the same thread. More spins are no faster.
const MAX_SPINS: u8 = 3;

/// How long a stranger may take to complete its frame while strangers have used up their memory,
/// and others wait to complete theirs.
const OVERDRAFT_TIMEOUT: Duration = Duration::from_secs(5);

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
    if let Some(inbox) = peer.inbox() {
        // The session may be another one, with another window.
        inbox.set_window(peer.queue.window());
    }
    let mut reader = Reader {
        peer,
        link,
        inbound,
        on_merge,
        class: peer.class(),
        // The router may have taken frames while there was no link.
        raise_below: peer.queue.raise_below(),
        partial_charge: 0,
        backpressure_wait: None,
        overdraft: None,
        turn: 0,
        spins: 0,
        unqueued: 0,
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
    on_merge: OnMergeMessage<'a>,
    class: PeerClass,
    /// The credit of the remote is to be raised once less than this is held in the inbox.
    raise_below: usize,
    /// Bytes of a partial frame that are counted as held by a stranger.
    partial_charge: usize,
    /// A wait for the router, while back-pressure blocks the reader.
    backpressure_wait: Option<Waiting<'a>>,
    /// The right to complete a frame, and until when.
    overdraft: Option<Box<Overdraft>>,
    /// Bytes that were read since the reader last waited for readiness.
    turn: usize,
    /// Spins since the last read with data.
    spins: u8,
    /// Frames that did not enter the inbound queue meanwhile.
    unqueued: u8,
    /// Whether the last read found no data, so that the next one waits for readiness.
    needs_readiness: bool,
    /// Whether the endpoint has no handles any more, so that received data is discarded.
    discards: bool,
}

/// A wait for the router, which may end with the right to complete a frame.
type Waiting<'a> = Pin<Box<dyn Future<Output = Option<Box<Overdraft>>> + Send + 'a>>;

/// The right of a stranger to complete its frame, though strangers have used up their memory.
struct Overdraft {
    _guard: MutexGuardArc<()>,
    until: Timer,
}

impl Reader<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<DownReason> {
        loop {
            if let Err(reason) = ready!(self.poll_ready(cx)) {
                return Poll::Ready(reason);
            }
            let outcome = match self.discards {
                true => self.discard(),
                false => self.read_frames(),
            };
            match outcome {
                ReadOutcome::WouldBlock
                    if self.spins < MAX_SPINS && self.link.read_buffer().is_busy() =>
                {
                    self.spins += 1;
                    return yield_now(cx);
                }
                ReadOutcome::WouldBlock | ReadOutcome::TurnOver => {
                    self.end_turn();
                    return yield_now(cx);
                }
                ReadOutcome::Paused(cause) => self.pause(cause),
                ReadOutcome::InboundClosed => self.discards = true,
                ReadOutcome::Progress => self.spins = 0,
                ReadOutcome::Closed(reason) => return Poll::Ready(reason),
            }
        }
    }

    /// Raises the credit if that is due, and waits for what the last outcome lacked: readiness, or
    /// the router.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownReason>> {
        if let Some(inbox) = self.peer.inbox() {
            while self.raise_below > 0
                && (inbox.held() < self.raise_below || !inbox.wake_below(self.raise_below, cx))
            {
                self.raise_below = self.peer.queue.raise_credit(inbox.held_by_use(), self.class);
                inbox.set_window(self.peer.queue.window());
            }
        }
        if let Some(overdraft) = &mut self.overdraft {
            if Pin::new(&mut overdraft.until).poll(cx).is_ready() {
                return Poll::Ready(Err(DownReason::FrameTimeout(OVERDRAFT_TIMEOUT)));
            }
        }
        if self.needs_readiness {
            ready!(self.link.stream.poll_readable(cx)).map_err(DownReason::io)?;
            self.needs_readiness = false;
        }
        if let Some(waiting) = &mut self.backpressure_wait {
            self.overdraft = ready!(waiting.as_mut().poll(cx));
            self.backpressure_wait = None;
            self.peer.queue.resume_reading(self.class);
            if let Some(inbox) = self.peer.inbox() {
                inbox.set_window(self.peer.queue.window());
            }
            self.discards = self.inbound.is_closed();
        }
        Poll::Ready(Ok(()))
    }

    /// Decodes whole frames from the buffer and delivers them, or else performs one non-blocking
    /// read.
    ///
    /// A node that supports the extension sends no more than its credit, so that it is always read:
    /// its acknowledgements must not wait behind frames that the router does not take. Only a
    /// stranger pauses, while strangers hold all that is theirs.
    fn read_frames(&mut self) -> ReadOutcome {
        let mut read_buffer = self.link.read_buffer();
        if !read_buffer.unread().is_empty() {
            let Reader { peer, link, inbound, on_merge, class, .. } = *self;
            match decode_run(peer, link, &mut read_buffer, inbound.buffers(), class, on_merge) {
                Ok(Some(Taken::Frames(batch))) => return self.deliver(batch),
                Ok(Some(taken)) => {
                    self.overdraft = None;
                    let is_ignored = matches!(taken, Taken::Ignored);
                    let cost = if is_ignored { MAX_UNQUEUED } else { 1 };
                    self.unqueued = self.unqueued.saturating_add(cost);
                    if self.unqueued >= MAX_UNQUEUED {
                        read_buffer.restrict_next();
                    }
                    return ReadOutcome::Progress;
                }
                Ok(None) => {}
                Err(reason) => return ReadOutcome::Closed(reason),
            }
        }
        if self.inbound.is_closed() {
            return ReadOutcome::InboundClosed;
        }
        if self.is_window_full() {
            return ReadOutcome::Paused(Cause::Window);
        }
        let mut target = read_buffer.next_capacity();
        if self.class == PeerClass::Stranger {
            let partial = self.link.partial_bytes(&read_buffer);
            match self.allowance(partial) {
                0 => return ReadOutcome::Paused(Cause::Memory { partial }),
                allowance => {
                    target = target.min(read_buffer.unread().len().saturating_add(allowance))
                }
            }
        }
        if self.unqueued >= MAX_UNQUEUED || self.turn >= turn(self.class) {
            // The buffer holds no whole frame, so this waits for the socket only.
            return ReadOutcome::TurnOver;
        }
        read_buffer.reserve(target, self.inbound.buffers());
        self.read_socket(&mut read_buffer, target)
    }

    /// Reads once and discards the data. Closing a socket with unread input would reset the
    /// connection, and could lose the last data that the local node sent.
    fn discard(&mut self) -> ReadOutcome {
        if self.turn >= turn(self.class) {
            return ReadOutcome::TurnOver;
        }
        let mut read_buffer = self.link.read_buffer();
        read_buffer.discard();
        let target = read_buffer.next_capacity();
        read_buffer.reserve(target, self.inbound.buffers());
        let outcome = self.read_socket(&mut read_buffer, target);
        read_buffer.discard();
        outcome
    }

    fn read_socket(&mut self, read_buffer: &mut ReadBuffer, target: usize) -> ReadOutcome {
        match read_buffer.read(self.link, target) {
            Ok(0) if read_buffer.unread().is_empty() => ReadOutcome::Closed(DownReason::Closed),
            Ok(0) => ReadOutcome::Closed(DownReason::ClosedInsideFrame),
            Ok(bytes) => {
                self.turn += bytes;
                self.link.reads.fetch_add(1, Ordering::Relaxed);
                ReadOutcome::Progress
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => ReadOutcome::WouldBlock,
                io::ErrorKind::Interrupted => {
                    // A part of an encrypted record, of at most this length.
                    self.turn += target.saturating_sub(read_buffer.unread().len());
                    ReadOutcome::Progress
                }
                _ => ReadOutcome::Closed(DownReason::io(error)),
            },
        }
    }

    /// Makes the next read wait for readiness, and holds no memory meanwhile. The caller yields: an
    /// encrypted link may be ready without a wait.
    fn end_turn(&mut self) {
        self.release_memory();
        self.link.stream.end_turn();
        (self.turn, self.unqueued, self.needs_readiness) = (0, 0, true);
    }

    /// Whether a plain node has to wait until the router has taken frames of it.
    fn is_window_full(&self) -> bool {
        !self.link.is_extended()
            && self.peer.inbox().is_some_and(|inbox| {
                let held = inbox.held();
                held > 0 && held >= inbox.window()
            })
    }

    /// How many bytes of a stranger, with a partial frame of `partial` bytes, may be read at once.
    fn allowance(&mut self, partial: usize) -> usize {
        if self.overdraft.is_some() {
            return usize::MAX;
        }
        // The partial frame counts as it grows. The first bytes of one count once nothing more
        // arrives, so that not every link takes an account.
        if partial.max(self.partial_charge) >= MIN_WINDOW {
            self.charge_partial(partial);
        }
        let held = self.peer.inbox().map_or(0, |inbox| inbox.held());
        if held + partial < MIN_WINDOW {
            return self.inbound.pool().strangers().free().max(MIN_WINDOW);
        }
        match self.peer.get_inbox(self.inbound.pool()).account().allowance() {
            0 => 0,
            allowance => allowance.max(MIN_WINDOW),
        }
    }

    /// Delivers frames to the router.
    fn deliver(&mut self, batch: Batch) -> ReadOutcome {
        self.overdraft = None;
        let (frames, bytes) = (batch.frames, batch.messages.len());
        let inbox = match self.peer.inbox() {
            Some(inbox) => inbox,
            None => {
                let inbox = self.peer.get_inbox(self.inbound.pool());
                inbox.set_window(self.peer.queue.window());
                inbox
            }
        };
        if self.inbound.deliver(inbox, batch, self.class).is_err() {
            return ReadOutcome::InboundClosed;
        }
        // Count only delivered frames: an acknowledged frame must not be lost with this task.
        match self.peer.count_received(frames, bytes) {
            Ok(raise_below) => {
                self.raise_below = raise_below;
                ReadOutcome::Progress
            }
            Err(reason) => ReadOutcome::Closed(reason),
        }
    }

    /// Waits for the router to make progress. Meanwhile the liveness monitor informs the remote
    /// that the local node is alive.
    fn pause(&mut self, cause: Cause) {
        self.release_memory();
        self.peer.queue.set_backpressured(true);
        let (inbox, inbound) = (self.peer.get_inbox(self.inbound.pool()), self.inbound);
        let half = self.peer.queue.window() / 2;
        let closed = async move {
            inbound.pool().strangers().closed().await;
            None
        };
        self.backpressure_wait = Some(match cause {
            Cause::Window => Box::pin(future::or(closed, held_below(inbox, half + 1))),
            Cause::Memory { partial } => {
                Box::pin(future::or(closed, space_or_overdraft(inbox, partial)))
            }
        });
    }

    /// Releases the memory of the read buffer but for a partial frame, which counts as held.
    fn release_memory(&mut self) {
        let mut read_buffer = self.link.read_buffer();
        read_buffer.release_memory(self.inbound.buffers());
        self.link.set_inside_frame(&read_buffer);
        if self.class == PeerClass::Stranger {
            let partial = self.link.partial_bytes(&read_buffer);
            drop(read_buffer);
            self.charge_partial(partial);
        }
    }

    /// Sets how many bytes of a partial frame count as held.
    fn charge_partial(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.partial_charge, bytes);
        if before == bytes {
            return;
        }
        let account = self.peer.get_inbox(self.inbound.pool()).account();
        match before < bytes {
            true => account.charge(bytes - before),
            false => account.release(before - bytes),
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.charge_partial(0);
    }
}

/// Waits until less than `bytes` bytes are held in an inbox.
async fn held_below(inbox: &Inbox, bytes: usize) -> Option<Box<Overdraft>> {
    poll_fn(|cx| match inbox.wake_below(bytes, cx) {
        true => Poll::Pending,
        false => Poll::Ready(None),
    })
    .await
}

/// Waits until a stranger may hold more, or complete its partial frame nonetheless.
async fn space_or_overdraft(inbox: &Inbox, partial: usize) -> Option<Box<Overdraft>> {
    let account = inbox.account();
    let space = async {
        account.until(|| inbox.held() + partial < MIN_WINDOW || account.allowance() > 0).await;
        None
    };
    let overdraft = async {
        if partial == 0 {
            return future::pending().await;
        }
        let guard = account.overdraft().await;
        Some(Box::new(Overdraft { _guard: guard, until: clock::after(OVERDRAFT_TIMEOUT) }))
    };
    future::or(space, overdraft).await
}

/// Yields to other tasks.
fn yield_now<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// The outcome of one step of the receive loop.
enum ReadOutcome {
    /// The socket has no data.
    WouldBlock,
    /// Enough was read for now.
    TurnOver,
    /// The router has to make progress first.
    Paused(Cause),
    /// The endpoint has no handles any more.
    InboundClosed,
    /// Data was read, or frames were delivered.
    Progress,
    /// The link has ended.
    Closed(DownReason),
}

/// Why a reader pauses.
enum Cause {
    /// The plain node at the other end has used up its window.
    Window,
    /// Strangers have used up their memory.
    Memory { partial: usize },
}

#[cfg(test)]
mod tests;
