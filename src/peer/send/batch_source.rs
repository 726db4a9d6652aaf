//! The source of write batches: selects what the writer of a link writes next.

use std::future::Future;
use std::ops::DerefMut;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::peer::send::queue::{Closing, SendQueue, SendState, register_waker};
use crate::peer::send::write_batch::WriteBatch;
use crate::primitives::clock::{self, Timer};
use crate::primitives::lazy_box::LazyBox;
use crate::proto::{Frame, Records};
use crate::transport::Link;

/// The outcome of [`BatchSource::poll_stage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staged {
    /// A batch is staged.
    Batch,
    /// The queue or the remote is closing, and nothing is left to be written.
    Closing,
}

/// Stages the next write of a link: control extensions first, then frames.
///
/// Frames stay in the queue while they are written. Dropping the source, as when a link ends in the
/// middle of a frame, resets the partial write, so that the frame is written again.
#[derive(Debug)]
pub(crate) struct BatchSource<'a> {
    queue: &'a SendQueue,
    pub(crate) link: &'a Arc<Link>,
    /// The staged batch. Not allocated while the link is idle.
    pub(crate) batch: LazyBox<WriteBatch>,
    /// The delayed-ack timer and its deadline. Set only while an acknowledgement is pending.
    ack_timer: Option<Box<(Instant, Timer)>>,
}

impl<'a> BatchSource<'a> {
    pub(crate) fn new(queue: &'a SendQueue, link: &'a Arc<Link>) -> BatchSource<'a> {
        BatchSource { queue, link, batch: LazyBox::default(), ack_timer: None }
    }

    /// Waits for something to write, and stages as much of it as fits into one write.
    pub(crate) fn poll_stage(&mut self, cx: &mut Context<'_>) -> Poll<Staged> {
        // Before locking: dropping bytes that a user owns may run code of the user.
        if !self.batch.is_empty() {
            self.batch.reset(None);
        }
        let mut state = self.queue.lock();
        state.parked_link = None;
        if let Some(begun) = state.partial_batch.take() {
            self.batch = begun.into();
            return Poll::Ready(Staged::Batch);
        }
        let now = clock::now();
        stage_batch(&mut self.batch, &mut state, self.link, now);
        if self.batch.unwritten() > 0 {
            return Poll::Ready(Staged::Batch);
        }
        if state.closing.is_some() || state.remote_closing {
            return Poll::Ready(Staged::Closing);
        }
        register_waker(&mut state.writer, cx);
        state.parked_link = Some(self.link.clone());
        let tell_at = SendQueue::ack_deadline(&state, now);
        drop(state);
        self.batch = LazyBox::default();
        self.poll_ack_timer(cx, tell_at)
    }

    /// Stages the goodbye alone.
    pub(crate) fn stage_goodbye(&mut self, records: Records) {
        if let Some(frame) = control_frame(self.link, Some(records)) {
            self.batch.begin_goodbye(&frame);
        }
    }

    /// Stages control extensions alone.
    pub(crate) fn stage_control(&mut self, records: Records) {
        self.batch.reset(control_frame(self.link, Some(records)).as_ref());
    }

    /// After the goodbye: waits for control extensions to write, until the remote's goodbye
    /// arrives.
    pub(crate) fn poll_final_control(&mut self, cx: &mut Context<'_>) -> Poll<Staged> {
        let mut state = self.queue.lock();
        match SendQueue::take_pending_control(&mut state, clock::now()) {
            Some(records) => {
                drop(state);
                self.stage_control(records);
                Poll::Ready(Staged::Batch)
            }
            None if state.remote_closing => Poll::Ready(Staged::Closing),
            None => {
                register_waker(&mut state.writer, cx);
                Poll::Pending
            }
        }
    }

    /// Polls the delayed-ack timer, and stages a batch once the acknowledgement is due.
    fn poll_ack_timer(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<Staged> {
        // A timer that fires too early is set again then. Resetting it for every frame would
        // wake up the reactor each time.
        if at.is_some_and(|at| self.ack_timer.as_ref().is_none_or(|tell| tell.0 > at)) {
            self.ack_timer = at.map(|at| Box::new((at, clock::at(at))));
        }
        let Some(tell) = &mut self.ack_timer else { return Poll::Pending };
        match Pin::new(&mut tell.1).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                self.ack_timer = None;
                self.poll_stage(cx)
            }
        }
    }
}

impl Drop for BatchSource<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.buffer.reset_partial();
        let rest = (state.parked_link.take(), state.partial_batch.take());
        drop(state);
        drop(rest);
    }
}

/// Stages the control extensions that are due, and as many queued frames as fit into one write. The
/// batch may be lazily allocated: it is not touched if there is nothing to write.
pub(crate) fn stage_batch(
    plan: &mut impl DerefMut<Target = WriteBatch>,
    state: &mut SendState,
    link: &Link,
    now: Instant,
) {
    let records = SendQueue::take_pending_control(state, now);
    if let Some(frame) = control_frame(link, records) {
        plan.reset(Some(&frame));
    }
    let may_send = match state.closing {
        Some(how) => how == Closing::Drain,
        None => !state.remote_closing,
    };
    if may_send && state.buffer.has_unwritten() {
        state.buffer.fill_batch(plan);
    }
}

/// Encodes control extensions as a frame. `None` if there are none, or the link is not extended.
pub(crate) fn control_frame(link: &Link, records: Option<Records>) -> Option<Frame> {
    records?.into_frame(**link.control_sender.as_ref()?).ok()
}
