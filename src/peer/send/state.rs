//! The state of an outbound queue: its frames, the acknowledgements, and what its writer waits for.

use std::sync::{Arc, MutexGuard};
use std::task::{Context, Waker};
use std::time::Instant;

use crate::peer::recv::batch::MAX_FRAME_COST;
use crate::peer::recv::receive_window::ReceiveWindow;
use crate::peer::send::ack_progress::AckSample;
use crate::peer::send::lanes::Lanes;
use crate::peer::send::memory_budget::OVERHEAD;
use crate::peer::send::send_buffer::SendBuffer;
use crate::peer::send::write_batch::WriteBatch;
use crate::primitives::lazy_box::LazyBox;
use crate::proto::{ACK_BYTES, AckScheduler, Extension, LENGTH_PREFIX, SendCounter};
use crate::transport::Link;

/// How a queue closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Queued frames are sent first, as far as the drain timeout permits.
    Drain,
    /// Only a partially written frame is completed; the others are returned.
    Now,
}

/// The state of an outbound queue, behind its lock.
#[derive(Debug, Default)]
pub(crate) struct SendState {
    /// Frames to be written. On an extended link also those that were written and not acknowledged.
    pub(crate) buffer: SendBuffer,
    /// Whether the peer is a stranger, which cannot use the reserve of the memory budget.
    pub(crate) is_stranger: bool,
    /// Whether a link is up.
    pub(crate) up: bool,
    /// Whether the present or last link supports the extension in the local direction.
    pub(crate) is_extended: bool,
    /// Counts the frames sent in this session.
    pub(crate) sent: SendCounter,
    /// Counts received frames and schedules their acknowledgement.
    pub(crate) acks: AckScheduler,
    /// The receive window: how much the remote may send.
    pub(crate) window: ReceiveWindow,
    /// Cost of the frames that were written and not acknowledged.
    unacked_bytes: usize,
    /// Cost of the frames that were acknowledged on the present or last link.
    pub(crate) acknowledged_here: usize,
    /// The credit: frames may begin below this offset of the session. Without meaning on a plain
    /// link.
    credit: u64,
    /// The offset behind the last frame that left the queue.
    popped: u64,
    /// The credit that the router's own frames leave for those that it forwards.
    bubble: u32,
    /// Frames that wait for credit. Not allocated while there are none.
    pub(crate) lanes: LazyBox<Lanes>,
    /// The rate of acknowledgements on this link, as the liveness monitor measured it last.
    pub(crate) ack_rate: usize,
    /// For how many seconds the remote has held, or will hold, unacknowledged frames, as the
    /// liveness monitor saw it last.
    pub(crate) hold_time: usize,
    /// Whether an acknowledgement was requested since the last one arrived.
    ack_requested: bool,
    /// Whether an acknowledgement is to be requested with the next frames: a forwarder waits for it.
    wants_ack: bool,
    /// Whether the reader is blocked by back-pressure from the router.
    pub(crate) is_backpressured: bool,
    /// Whether the remote is suspected to be gone, and is being probed.
    pub(crate) is_probing: bool,
    /// Whether the remote sent its goodbye: it neither sends nor accepts frames any more.
    pub(crate) remote_closing: bool,
    /// Whether the liveness monitor of the link is running.
    pub(crate) monitor_armed: bool,
    /// The link, while its writer is parked with nothing to write, though there is credit: only then
    /// does a frame have to wake it up.
    ///
    /// Invariant: `None` while `partial_batch` is set.
    pub(crate) parked_link: Option<Arc<Link>>,
    /// An unfinished direct write, to be completed by the writer.
    pub(crate) partial_batch: Option<Box<WriteBatch>>,
    /// Time of the last write of frames.
    pub(crate) last_write: Option<Instant>,
    /// Whether frames were received since the last write, so that the next frame is likely a reply.
    pub(crate) is_reply: bool,
    /// Pending control extensions. They are written before any frame.
    pub(crate) control: LazyBox<Extension>,
    /// Set once the queue is closing: frames are not accepted any more.
    pub(crate) closing: Option<Closing>,
    /// Whether the queue has ended: it is drained, and accepts no frames any more.
    pub(crate) ended: bool,
    /// The parked writer task.
    writer: Option<Waker>,
}

impl SendState {
    /// Records that a link is up, and whether it supports the extension.
    pub(crate) fn link_up(&mut self, is_extended: bool) {
        self.up = true;
        self.is_extended = is_extended;
        self.control = LazyBox::default();
        self.is_backpressured = false;
        self.is_probing = false;
        self.remote_closing = false;
        self.monitor_armed = false;
        self.acknowledged_here = 0;
        (self.ack_rate, self.hold_time) = (0, 0);
        self.acks.resume();
    }

    /// Starts a session in which the remote gave this credit.
    pub(crate) fn reset_credit(&mut self, credit: u64) {
        (self.credit, self.popped, self.bubble) = (credit, 0, 0);
        self.raise_bubble(credit);
    }

    /// Raises the credit. Returns whether it was lower.
    pub(crate) fn add_credit(&mut self, credit: u64) -> bool {
        if credit <= self.credit {
            return false;
        }
        let used = self.credit.max(self.sent_offset());
        self.credit = credit;
        self.raise_bubble(credit.saturating_sub(used));
        true
    }

    /// The offset behind the last frame that was written.
    fn sent_offset(&self) -> u64 {
        self.popped + self.buffer.written_cost() as u64
    }

    /// Raises the bubble to a frame of the maximum length, or to half of the window if that is less.
    /// The window of the remote, which never becomes smaller, is at least what its credit increases
    /// by at once.
    fn raise_bubble(&mut self, increase: u64) {
        // Fits: a frame costs less than 128 KiB.
        self.bubble = self.bubble.max((increase / 2).min(MAX_FRAME_COST as u64) as u32);
    }

    /// The credit that the router's own frames leave for those that it forwards.
    pub(crate) fn bubble(&self) -> usize {
        self.bubble as usize
    }

    /// The credit that the frames in the send buffer, written or not, leave.
    pub(crate) fn uncommitted_credit(&self) -> usize {
        if !self.is_extended {
            return usize::MAX;
        }
        let committed = self.popped + self.buffer.credit_cost() as u64;
        usize::try_from(self.credit.saturating_sub(committed)).unwrap_or(usize::MAX)
    }

    /// Counts frames that leave the queue, of this cost in terms of credit.
    pub(crate) fn count_popped(&mut self, cost: usize) {
        self.popped += cost as u64;
    }

    /// What the remote still accepts: a frame may begin while it is not zero.
    pub(crate) fn credit_left(&self) -> usize {
        if !self.is_extended {
            return usize::MAX;
        }
        usize::try_from(self.credit.saturating_sub(self.sent_offset())).unwrap_or(usize::MAX)
    }

    /// Whether queued frames are still to be sent once the remote gives more credit.
    pub(crate) fn waits_for_credit(&self) -> bool {
        self.may_send() && self.has_unwritten() && !self.is_writable()
    }

    /// Whether frames may still be sent. A node that drains its queue sends them to a remote that
    /// has said goodbye, since that reads to the end.
    pub(crate) fn may_send(&self) -> bool {
        match self.closing {
            Some(how) => how == Closing::Drain,
            None => !self.remote_closing,
        }
    }

    /// Whether the writer can write a frame.
    pub(crate) fn is_writable(&self) -> bool {
        self.buffer.has_unwritten() && self.credit_left() > 0
    }

    /// Marks all frames as unwritten, for the next link.
    pub(crate) fn rewind(&mut self) {
        self.buffer.rewind();
        (self.unacked_bytes, self.ack_requested) = (0, false);
    }

    /// Number of frames that the remote may have received: those that were written, and those that
    /// await retransmission.
    pub(crate) fn possibly_received(&self) -> usize {
        self.buffer.written() + self.sent.retransmit_count()
    }

    /// Records that `bytes` more bytes of frames were written. Returns the number of frames that
    /// this completed, and their bytes. On an extended link they count as unacknowledged.
    pub(crate) fn record_written(&mut self, bytes: usize, now: Instant) -> (usize, usize) {
        let (frames, bytes) = self.buffer.advance(bytes);
        (self.last_write, self.is_reply) = (Some(now), false);
        if self.is_extended {
            self.sent.add(frames, now);
            self.unacked_bytes += bytes + frames * (OVERHEAD - LENGTH_PREFIX);
        }
        (frames, bytes)
    }

    /// Records that frames of this cost were acknowledged.
    pub(crate) fn record_acked(&mut self, cost: usize) {
        self.unacked_bytes = self.unacked_bytes.saturating_sub(cost);
        self.acknowledged_here = self.acknowledged_here.saturating_add(cost);
        self.ack_requested = false;
    }

    /// What the liveness monitor samples.
    pub(crate) fn ack_sample(&self) -> AckSample {
        AckSample {
            frames: self.sent.acknowledged(),
            bytes: self.acknowledged_here,
            unacked: self.unacked_bytes,
            oldest: self.buffer.first_len(),
        }
    }

    /// Requests an acknowledgement if half of the queue is unacknowledged, though that is too
    /// little for the remote to acknowledge by size: the queue would stall until the delayed
    /// acknowledgement.
    pub(crate) fn request_ack_if_half_full(&mut self, max_bytes: usize, max_frames: usize) {
        let frames = self.buffer.written();
        let is_half = self.unacked_bytes >= max_bytes / 2 || frames >= max_frames / 2;
        if is_half && self.unacked_bytes < ACK_BYTES || self.wants_ack {
            self.request_ack();
        }
    }

    /// Requests an acknowledgement, unless that was done since the last one arrived: now, or with the
    /// next frames if none is owed. Returns whether it did so now.
    pub(crate) fn request_ack(&mut self) -> bool {
        self.wants_ack = self.buffer.written() == 0;
        let requests = self.is_extended && !self.ack_requested && !self.wants_ack;
        if requests {
            self.ack_requested = true;
            self.control.get_or_allocate().ping = Some(());
        }
        requests
    }

    /// Parks the task that writes, or waits for the queue to close.
    ///
    /// A plain slot, not an `AtomicWaker`: under the lock the check before and the registration are
    /// one step. An `AtomicWaker` would need a second check, and may wake while it registers, which
    /// must not happen under the lock.
    pub(crate) fn register_writer(&mut self, cx: &Context<'_>) {
        self.writer.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
    }
}

/// Releases the lock and wakes up the writer.
pub(crate) fn wake_writer(mut state: MutexGuard<'_, SendState>) {
    let writer = state.writer.take();
    drop(state);
    if let Some(writer) = writer {
        writer.wake();
    }
}
