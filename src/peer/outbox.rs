//! What the writer of a link has in hand.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::queue::{Closing, Entry, Queue, register};
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

/// The frames that the writer of a link has in hand, and the records that go before them.
///
/// They stay charged to the queue until they were written whole. Dropping the outbox, as when the
/// link ends in the middle of a frame, puts those that were not back to the front of the queue.
#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    queue: &'a Queue,
    frames: VecDeque<Entry>,
    control: Option<Records>,
    /// Runs only while the other side is owed a count.
    tell: Option<(Instant, Timer)>,
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(queue: &'a Queue) -> Outbox<'a> {
        Outbox { queue, frames: VecDeque::new(), control: None, tell: None }
    }

    /// Waits for something to write, and takes all of it. To be called with empty hands.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Filled> {
        debug_assert!(self.is_empty());
        let mut state = self.queue.lock();
        let now = timer::now();
        self.control = Queue::take_control(&mut state, now);
        let may_send = match state.closing {
            Some(how) => how == Closing::Drain,
            None => !state.is_parting,
        };
        if may_send && !state.waiting.is_empty() {
            std::mem::swap(&mut state.waiting, &mut self.frames);
        }
        if !self.is_empty() {
            return Poll::Ready(Filled::Something);
        }
        if state.closing.is_some() || state.is_parting {
            return Poll::Ready(Filled::Closing);
        }
        // Nothing to do: an idle queue keeps no memory.
        self.frames = VecDeque::new();
        state.waiting = VecDeque::new();
        register(&mut state.writer, cx);
        let tell_at = Queue::tell_at(&state, now);
        drop(state);
        self.poll_timer(cx, tell_at)
    }

    /// After the goodbye: waits for records to write, until the other side said goodbye too.
    pub(crate) fn poll_last_records(&mut self, cx: &mut Context<'_>) -> Poll<Filled> {
        let mut state = self.queue.lock();
        self.control = Queue::take_control(&mut state, timer::now());
        match self.control {
            Some(_) => Poll::Ready(Filled::Something),
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
        if at.is_some_and(|at| self.tell.as_ref().is_none_or(|(set_to, _)| *set_to > at)) {
            self.tell = at.map(|at| (at, timer::at(at)));
        }
        let Some((_, timer)) = &mut self.tell else { return Poll::Pending };
        match Pin::new(timer).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                self.tell = None;
                self.poll_fill(cx)
            }
        }
    }

    /// Whether the frames behind the one being written should stay unwritten.
    pub(crate) fn is_cut_short(&self) -> bool {
        let state = self.queue.lock();
        match state.closing {
            Some(how) => how == Closing::Now,
            None => state.is_parting,
        }
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.control.is_none()
    }

    /// Takes the records that go before the frames.
    pub(crate) fn take_control(&mut self) -> Option<Records> {
        self.control.take()
    }

    /// The frames, oldest first.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().map(|entry| &entry.frame)
    }

    /// The oldest `count` frames were written whole.
    pub(crate) fn written(&mut self, count: usize) {
        self.queue.written(&mut self.frames, count);
    }
}

impl Outbox<'_> {
    /// Puts what was not written whole back to the front of the queue.
    pub(crate) fn put_back(&mut self) {
        if self.frames.is_empty() {
            return;
        }
        let mut state = self.queue.lock();
        self.frames.append(&mut state.waiting);
        state.waiting = std::mem::take(&mut self.frames);
    }
}

impl Drop for Outbox<'_> {
    fn drop(&mut self) {
        self.put_back();
    }
}
