//! Which task calls `next`, and what it handed out last.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use netmod_inet::{Frame, Received};

/// The receive loop of the router, as far as it can be seen from here.
///
/// The router does whatever it does for a frame inside the loop that calls `next`. So what is sent
/// between two calls is sent by that loop, or beside it.
#[derive(Debug)]
pub(crate) struct ReceiveLoop(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Calls of `next` that wait now.
    waiting: usize,
    /// When the last one returned, or was given up.
    since: Instant,
    /// Wakes the task that called it last.
    task: Option<Waker>,
    last: Option<Last>,
}

/// What `next` handed out last.
#[derive(Debug)]
struct Last {
    frame: Frame,
    /// The right to forward it, until it was used.
    received: Option<Received>,
}

/// What is sent is what `next` handed out last: the router forwards it.
#[derive(Debug)]
pub(crate) enum Forwarded {
    /// For the first time.
    First(Received),
    /// Once more, to somebody else.
    Again,
}

/// A call of `next`. Dropping it ends the call.
#[derive(Debug)]
pub(crate) struct Call<'a>(&'a ReceiveLoop);

impl ReceiveLoop {
    pub(crate) fn new() -> ReceiveLoop {
        ReceiveLoop(Mutex::new(State { waiting: 0, since: Instant::now(), task: None, last: None }))
    }

    /// Records that `next` is called.
    pub(crate) fn enter(&self) -> Call<'_> {
        let mut state = self.lock();
        state.waiting += 1;
        // The caller has forwarded the last frame, or never will.
        let last = state.last.take();
        drop(state);
        drop(last);
        Call(self)
    }

    /// Records which task calls `next`.
    pub(crate) fn set_task(&self, task: &Waker) {
        let mut state = self.lock();
        if !state.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            state.task = Some(task.clone());
        }
    }

    /// Whether a task is the one that called `next` last: while it waits for something else, it
    /// does not call that again.
    pub(crate) fn is_task(&self, task: &Waker) -> bool {
        self.lock().task.as_ref().is_some_and(|known| known.will_wake(task))
    }

    /// Records what `next` hands out.
    pub(crate) fn set_last(&self, received: Received) {
        let frame = received.frame().clone();
        self.lock().last = Some(Last { frame, received: Some(received) });
    }

    /// Whether a frame is what was handed out last.
    pub(crate) fn forwarded(&self, frame: &Frame) -> Option<Forwarded> {
        let mut state = self.lock();
        let last = state.last.as_mut().filter(|last| last.frame == *frame)?;
        Some(last.received.take().map_or(Forwarded::Again, Forwarded::First))
    }

    /// Since when nobody has called `next`. `None`: somebody waits in it.
    pub(crate) fn away_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.waiting == 0).then_some(state.since)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting -= 1;
        state.since = Instant::now();
    }
}
