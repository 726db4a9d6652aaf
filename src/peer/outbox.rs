//! What the writer of a link has in hand.

use std::future::Future;
use std::ops::DerefMut;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::plan::Plan;
use super::queue::{Closing, Queue, State, register};
use super::seldom::Seldom;
use crate::link::Link;
use crate::proto::{Frame, Records};
use crate::timer::{self, Timer};

/// What [`Outbox::poll_fill`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There is something to write.
    Something,
    /// The queue is closing, and nothing more is to be written.
    Closing,
}

/// What the writer of a link writes next: records of ours, and then frames.
///
/// The frames stay in the queue. Dropping the outbox, as when the link ends in the middle of a
/// frame, has the queue write that one anew.
#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    queue: &'a Queue,
    pub(super) link: &'a Arc<Link>,
    /// An idle link has none.
    pub(super) plan: Seldom<Plan>,
    /// Runs only while the other side is owed a count.
    tell: Option<Box<(Instant, Timer)>>,
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(queue: &'a Queue, link: &'a Arc<Link>) -> Outbox<'a> {
        Outbox { queue, link, plan: Seldom::default(), tell: None }
    }

    /// Waits for something to write, and plans as much of it as one write takes.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Filled> {
        // Before the lock: bytes that the caller lent may run code of his when they are let go.
        if !self.plan.is_empty() {
            self.plan.begin(None);
        }
        let mut state = self.queue.lock();
        state.idle = None;
        if let Some(begun) = state.begun.take() {
            self.plan = begun.into();
            return Poll::Ready(Filled::Something);
        }
        let now = timer::now();
        fill(&mut self.plan, &mut state, self.link, now);
        if self.plan.unwritten() > 0 {
            return Poll::Ready(Filled::Something);
        }
        if state.closing.is_some() || state.is_parting {
            return Poll::Ready(Filled::Closing);
        }
        register(&mut state.writer, cx);
        state.idle = Some(self.link.clone());
        let tell_at = Queue::tell_at(&state, now);
        drop(state);
        self.plan = Seldom::default();
        self.poll_timer(cx, tell_at)
    }

    /// Plans the goodbye alone.
    pub(crate) fn stage_goodbye(&mut self, records: Records) {
        if let Some(frame) = control_frame(self.link, Some(records)) {
            self.plan.begin_goodbye(&frame);
        }
    }

    /// Plans records alone.
    pub(crate) fn say(&mut self, records: Records) {
        self.plan.begin(control_frame(self.link, Some(records)).as_ref());
    }

    /// After the goodbye: waits for records to write, until the other side said goodbye too.
    pub(crate) fn poll_last_records(&mut self, cx: &mut Context<'_>) -> Poll<Filled> {
        let mut state = self.queue.lock();
        match Queue::take_control(&mut state, timer::now()) {
            Some(records) => {
                drop(state);
                self.say(records);
                Poll::Ready(Filled::Something)
            }
            None if state.is_parting => Poll::Ready(Filled::Closing),
            None => {
                register(&mut state.writer, cx);
                Poll::Pending
            }
        }
    }

    /// Wakes the task when the count is to be told.
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<Filled> {
        // One that fires too early is set again then: setting it anew for every frame would wake
        // the reactor each time.
        if at.is_some_and(|at| self.tell.as_ref().is_none_or(|tell| tell.0 > at)) {
            self.tell = at.map(|at| Box::new((at, timer::at(at))));
        }
        let Some(tell) = &mut self.tell else { return Poll::Pending };
        match Pin::new(&mut tell.1).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                self.tell = None;
                self.poll_fill(cx)
            }
        }
    }
}

impl Drop for Outbox<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.backlog.interrupt();
        let rest = (state.idle.take(), state.begun.take());
        drop(state);
        drop(rest);
    }
}

/// Plans the records that are due, and as much of what waits as one write takes. The plan may be one
/// that takes memory only if there is something to write.
pub(super) fn fill(
    plan: &mut impl DerefMut<Target = Plan>,
    state: &mut State,
    link: &Link,
    now: Instant,
) {
    let records = Queue::take_control(state, now);
    if let Some(frame) = control_frame(link, records) {
        plan.begin(Some(&frame));
    }
    let may_send = match state.closing {
        Some(how) => how == Closing::Drain,
        None => !state.is_parting,
    };
    if may_send && state.backlog.has_unwritten() {
        state.backlog.plan(plan);
    }
}

/// The frame for records, on a link that carries them.
pub(super) fn control_frame(link: &Link, records: Option<Records>) -> Option<Frame> {
    records?.into_frame(**link.records_as.as_ref()?).ok()
}
