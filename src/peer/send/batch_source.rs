//! The source of write batches: selects what the writer of a link writes next.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::peer::send::queue::SendQueue;
use crate::peer::send::state::SendState;
use crate::peer::send::write_batch::WriteBatch;
use crate::primitives::clock::{self, Timer};
use crate::primitives::lazy_box::LazyBox;
use crate::proto::{Extension, Frame};
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
        if let Some(batch) = self.batch.get_mut() {
            batch.reset(None);
        }
        let mut state = self.queue.lock();
        state.parked_link = None;
        if let Some(batch) = state.partial_batch.take() {
            self.batch = batch.into();
            return Poll::Ready(Staged::Batch);
        }
        let now = clock::now();
        stage_batch(|| self.batch.get_or_allocate(), &mut state, self.link, now);
        if self.batch.unwritten() > 0 {
            return Poll::Ready(Staged::Batch);
        }
        if (state.closing.is_some() || state.remote_closing) && !state.waits_for_credit() {
            return Poll::Ready(Staged::Closing);
        }
        state.register_writer(cx);
        state.parked_link = (state.credit_left() > 0).then(|| self.link.clone());
        let deadline = state.ack_deadline(now);
        drop(state);
        self.batch = LazyBox::default();
        self.poll_ack_timer(cx, deadline)
    }

    /// Stages the goodbye alone.
    pub(crate) fn stage_goodbye(&mut self, goodbye: Extension) {
        if let Some(frame) = control_frame(self.link, Some(goodbye)) {
            self.batch.get_or_allocate().begin_goodbye(&frame);
        }
    }

    /// Stages control extensions alone.
    pub(crate) fn stage_control(&mut self, extension: Extension) {
        let frame = control_frame(self.link, Some(extension));
        self.batch.get_or_allocate().reset(frame.as_ref());
    }

    /// After the goodbye: waits for control extensions to write, until the remote's goodbye
    /// arrives.
    pub(crate) fn poll_final_control(&mut self, cx: &mut Context<'_>) -> Poll<Staged> {
        let mut state = self.queue.lock();
        match state.take_pending_control(clock::now()) {
            Some(extension) => {
                drop(state);
                self.stage_control(extension);
                Poll::Ready(Staged::Batch)
            }
            None if state.remote_closing => Poll::Ready(Staged::Closing),
            None => {
                state.register_writer(cx);
                Poll::Pending
            }
        }
    }

    /// Polls the delayed-ack timer, and stages a batch once the acknowledgement is due.
    fn poll_ack_timer(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<Staged> {
        // A timer that fires too early is set again then. Resetting it for every frame would
        // wake up the reactor each time.
        if deadline.is_some_and(|at| self.ack_timer.as_ref().is_none_or(|timer| timer.0 > at)) {
            self.ack_timer = deadline.map(|at| Box::new((at, clock::at(at))));
        }
        let Some(timer) = &mut self.ack_timer else { return Poll::Pending };
        match Pin::new(&mut timer.1).poll(cx) {
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

/// Stages the control extensions that are due, and as many queued frames as fit into one write.
///
/// `batch` returns an empty batch. It may allocate one: it is not called if there is nothing to
/// write.
pub(crate) fn stage_batch<'a>(
    batch: impl FnOnce() -> &'a mut WriteBatch,
    state: &mut SendState,
    link: &Link,
    now: Instant,
) {
    let extension = state.take_pending_control(now);
    let control = control_frame(link, extension);
    state.fill_buffer();
    let has_frames = state.may_send() && state.is_writable();
    if control.is_none() && !has_frames {
        return;
    }
    let batch = batch();
    batch.reset(control.as_ref());
    if has_frames {
        state.buffer.fill_batch(batch, state.credit_left());
    }
}

/// Encodes control extensions as a frame. `None` if there are none, or the link is not extended.
pub(crate) fn control_frame(link: &Link, extension: Option<Extension>) -> Option<Frame> {
    extension?.into_frame(**link.control_sender.as_ref()?).ok()
}
