//! What the writer of a link has in hand.

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

/// What [`BatchSource::poll_stage`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staged {
    /// There is something to write.
    Batch,
    /// The queue is closing, and nothing more is to be written.
    Closing,
}

/// What the writer of a link writes next: records of ours, and then frames.
///
/// The frames stay in the queue. Dropping the outbox, as when the link ends in the middle of a
/// frame, has the queue write that one anew.
#[derive(Debug)]
pub(crate) struct BatchSource<'a> {
    queue: &'a SendQueue,
    pub(crate) link: &'a Arc<Link>,
    /// An idle link has none.
    pub(crate) batch: LazyBox<WriteBatch>,
    /// Runs only while the other side is owed a count.
    ack_timer: Option<Box<(Instant, Timer)>>,
}

impl<'a> BatchSource<'a> {
    pub(crate) fn new(queue: &'a SendQueue, link: &'a Arc<Link>) -> BatchSource<'a> {
        BatchSource { queue, link, batch: LazyBox::default(), ack_timer: None }
    }

    /// Waits for something to write, and plans as much of it as one write takes.
    pub(crate) fn poll_stage(&mut self, cx: &mut Context<'_>) -> Poll<Staged> {
        // Before the lock: bytes that the caller lent may run code of his when they are let go.
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

    /// Plans the goodbye alone.
    pub(crate) fn stage_goodbye(&mut self, records: Records) {
        if let Some(frame) = control_frame(self.link, Some(records)) {
            self.batch.begin_goodbye(&frame);
        }
    }

    /// Plans records alone.
    pub(crate) fn stage_control(&mut self, records: Records) {
        self.batch.reset(control_frame(self.link, Some(records)).as_ref());
    }

    /// After the goodbye: waits for records to write, until the other side said goodbye too.
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

    /// Wakes the task when the count is to be told.
    fn poll_ack_timer(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<Staged> {
        // One that fires too early is set again then: setting it anew for every frame would wake
        // the reactor each time.
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

/// Plans the records that are due, and as much of what waits as one write takes. The plan may be one
/// that takes memory only if there is something to write.
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

/// The frame for records, on a link that carries them.
pub(crate) fn control_frame(link: &Link, records: Option<Records>) -> Option<Frame> {
    records?.into_frame(**link.control_sender.as_ref()?).ok()
}
