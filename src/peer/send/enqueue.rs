//! Enqueuing frames: immediately, or after waiting for queue space.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use futures_lite::future;

use crate::error::{SendError, SendErrorKind};
use crate::peer::Peer;
use crate::peer::recv::permit::Permit;
use crate::peer::send::direct_write::DirectWrite;
use crate::peer::send::memory_budget::{OVERHEAD, cost};
use crate::peer::send::queue::{Admission, SendQueue};
use crate::primitives::clock::{self, Timer};
use crate::proto::Frame;

/// The result of enqueuing a frame. Must be dropped after all locks: dropping bytes that a user
/// owns may run code of the user.
#[derive(Debug)]
pub(crate) struct Enqueued {
    /// Whether the link is up.
    pub(crate) is_up: bool,
    /// The direct write, if there was one. Boxed, since for most frames there is none.
    pub(crate) direct: Option<Box<DirectWrite>>,
    /// The original frame, if the queue made a copy.
    _copied: Option<Frame>,
}

impl SendQueue {
    /// Appends a frame, and has it written: by this task or by the writer. Returns the frame with
    /// the reason if it is refused.
    pub(crate) fn push(
        &self,
        frame: Frame,
        admission: Admission<'_>,
    ) -> Result<Enqueued, (SendErrorKind, Frame)> {
        let (state, copied) = self.append(frame, admission)?;
        let is_up = state.up;
        let direct = self.write_or_wake(state);
        Ok(Enqueued { is_up, direct, _copied: copied })
    }
}

impl Peer {
    /// Enqueues a frame; see [`SendQueue::push`].
    pub(crate) fn push(
        &self,
        frame: Frame,
        admission: Admission<'_>,
    ) -> Result<Enqueued, (SendErrorKind, Frame)> {
        if !self.peer_type.may_send() {
            return Err((SendErrorKind::WrongDirection, frame));
        }
        let pushed = self.queue.push(frame, admission)?;
        if let Some(written) = &pushed.direct {
            self.count_sent(written.frames, written.bytes);
        }
        Ok(pushed)
    }

    /// Enqueues several frames; see [`SendQueue::push_many`].
    pub(crate) fn push_many(
        &self,
        frames: &VecDeque<Frame>,
        check: impl Fn(&Frame) -> Option<SendErrorKind>,
    ) -> (usize, bool, Option<SendErrorKind>) {
        match self.peer_type.may_send() {
            true => self.queue.push_many(frames, check),
            false => (0, self.queue.is_up(), Some(SendErrorKind::WrongDirection)),
        }
    }

    /// Enqueues a forwarded frame, which cannot wait, beyond the limits of the queue, and takes the
    /// permit in its admission. Fails with [`LinkDown`](SendErrorKind::LinkDown) if the peer has been
    /// down for longer than `down_limit`.
    pub(crate) fn forward(
        &self,
        frame: Frame,
        admission: Admission<'_>,
        down_limit: Duration,
    ) -> Result<Enqueued, (SendErrorKind, Frame)> {
        if !self.queue.is_up() && clock::since(self.since()) > down_limit {
            return Err((SendErrorKind::LinkDown, frame));
        }
        self.push(frame, admission)
    }

    /// Enqueues a frame. Waits until the deadline for queue space, whether the link is up or being
    /// re-established. `reclaim` is called when memory of the shared budget runs out, to free so
    /// many bytes for this peer.
    pub(crate) async fn send(
        &self,
        frame: Frame,
        deadline: &mut Timer,
        reclaim: &(dyn Fn(usize) + Sync),
    ) -> Result<(), SendError> {
        let mut frame = frame;
        let mut lacks_budget = false;
        loop {
            let room = self.listen_for_room(lacks_budget);
            let error = match self.push(frame, Admission::Bounded) {
                Ok(_) => return Ok(()),
                Err((error, back)) => {
                    frame = back;
                    error
                }
            };
            if !error.is_temporary() {
                return Err(SendError::new(error, frame));
            }
            let listens =
                std::mem::replace(&mut lacks_budget, error == SendErrorKind::EndpointFull);
            if lacks_budget && !listens {
                // Once: while this waits, peers that come after it get none of the memory that it
                // lacks. Try again in any case, since some may have been released before the
                // listener was registered.
                reclaim(cost(&frame));
                continue;
            }
            let waited = async {
                room.await;
                true
            };
            let gave_up = async {
                (&mut *deadline).await;
                false
            };
            if !future::or(waited, gave_up).await {
                return Err(SendError::new(SendErrorKind::TimedOut, frame));
            }
        }
    }

    /// Waits until a frame of this length would be accepted, or refused for a reason other than
    /// lack of queue space.
    pub(crate) async fn until_room(&self, len: usize) {
        loop {
            let room = self.listen_for_room(true);
            if self.queue.is_ready(len + OVERHEAD) {
                return;
            }
            room.await;
        }
    }

    /// Waits until a frame with this permit would be forwarded, or refused for a reason other than
    /// that too much waits of the peer that it came from.
    pub(crate) async fn until_forwardable(&self, permit: &Permit) {
        loop {
            let room = self.queue.listen();
            if !self.queue.lock().is_clogged(permit) || self.is_closing() {
                return;
            }
            room.await;
        }
    }

    /// Listens for released queue space, and with `to_budget` also for released memory of the
    /// shared budget. The latter wakes up on the acknowledgements of all peers.
    fn listen_for_room(&self, to_budget: bool) -> impl Future<Output = ()> + Send + use<> {
        let queue = self.queue.listen();
        let budget = to_budget.then(|| self.queue.listen_to_budget());
        let budget = async {
            match budget {
                Some(budget) => budget.await,
                None => future::pending().await,
            }
        };
        future::or(queue, budget)
    }
}
