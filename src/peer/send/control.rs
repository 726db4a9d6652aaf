//! What this node says to the other side of a link by records of its own.

use std::time::{Duration, Instant};

use crate::peer::send::queue::{SendQueue, SendState, wake_writer};
use crate::primitives::clock;
use crate::primitives::lazy_box::StaticDefault;
use crate::proto::{AckTiming, Records};

/// What there is to watch on a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LivenessInputs {
    /// Frames wait for the other side to take them, or to say that it has them.
    pub(crate) owes: bool,
    /// This side does not read, because its router is slow.
    pub(crate) is_backpressured: bool,
    /// There is reason to think that the other side is gone.
    pub(crate) is_probing: bool,
}

impl StaticDefault for Records {
    const DEFAULT: &'static Records = Records::NONE;
}

impl LivenessInputs {
    /// Whether there is something to watch.
    pub(crate) fn is_needed(&self) -> bool {
        self.owes || self.is_backpressured || self.is_probing
    }
}

impl SendState {
    /// Adds the count of received frames to the last records of a link. Even if none is owed: a
    /// count that the writer took may not have been written.
    pub(crate) fn add_last_count(&mut self, records: Records) -> Records {
        let held = self.acks.take_ack(clock::now()).map(|(_, held)| micros(held));
        Records { received: Some(self.acks.total()), held, ..records }
    }

    fn liveness_inputs(&self) -> LivenessInputs {
        let SendState { is_backpressured: is_held_up, is_probing: is_suspected, .. } = *self;
        LivenessInputs {
            owes: self.buffer.size().0 > 0,
            is_backpressured: is_held_up,
            is_probing: is_suspected,
        }
    }
}

impl SendQueue {
    /// Notes whether the reader waits for the router.
    pub(crate) fn set_backpressured(&self, is_held_up: bool) {
        self.lock().is_backpressured = is_held_up;
    }

    /// What there is to watch on a link that carries records.
    pub(crate) fn liveness_inputs(&self) -> LivenessInputs {
        self.lock().liveness_inputs()
    }

    /// The same for somebody who watches from now on if there is anything, and else does not.
    pub(crate) fn arm_monitor(&self) -> LivenessInputs {
        let mut state = self.lock();
        let watched = state.liveness_inputs();
        state.monitor_armed = watched.is_needed();
        watched
    }

    /// Asks the other side for a sign of life.
    pub(crate) fn queue_ping(&self) {
        self.queue_control(|state| state.control.probe = Some(()));
    }

    /// Asks the other side for a sign of life, and gives the link up soon if there is none. Not if
    /// the link carries no records.
    pub(crate) fn probe_now(&self) -> bool {
        let can_ask = self.lock().is_extended;
        if can_ask {
            self.queue_control(|state| {
                state.is_probing = true;
                state.control.probe = Some(());
            });
        }
        can_ask
    }

    /// The other side lives.
    pub(crate) fn clear_probe(&self) {
        self.lock().is_probing = false;
    }

    /// Notes that the other side said goodbye.
    pub(crate) fn on_remote_close(&self) {
        self.queue_control(|state| state.remote_closing = true);
    }

    /// Tells the other side of another link to the same node.
    pub(crate) fn queue_duplicate(&self, name: &[u8; 8], proof: &[u8; 16]) {
        self.queue_control(|state| state.control.same = Some((*name, *proof)));
    }

    /// Tells the other side that the pair called `name` goes.
    pub(crate) fn queue_merge(&self, name: &[u8; 8], received: u64, proof: &[u8; 16]) {
        self.queue_control(|state| state.control.merge = Some((*name, (received, *proof))));
    }

    /// Answers that.
    pub(crate) fn queue_merge_ack(&self, name: &[u8; 8], received: u64) {
        self.queue_control(|state| state.control.merged = Some((*name, received)));
    }

    /// Tells the other side that this one lives, though it does not read.
    pub(crate) fn queue_paused(&self) {
        self.queue_control(|state| state.control.busy = Some(()));
    }

    /// Tells the other side at once how many frames were received.
    pub(crate) fn queue_ack(&self) {
        self.queue_control(|state| state.control.received = Some(state.acks.total()));
    }

    /// Adds to the records that go out next, and wakes the writer.
    fn queue_control(&self, add: impl FnOnce(&mut SendState)) {
        let mut state = self.lock();
        add(&mut state);
        wake_writer(state);
    }

    /// The count of received frames, if the other side is owed one.
    pub(crate) fn pending_ack(&self) -> Option<Records> {
        let mut state = self.lock();
        let (count, held) = state.acks.take_ack(clock::now())?;
        let (received, held) = (Some(count), Some(micros(held)));
        state.is_extended.then(|| Records { received, held, ..Records::default() })
    }

    /// When the count of received frames is to be told, and the records that go with it if that is
    /// now.
    pub(crate) fn take_pending_control(state: &mut SendState, now: Instant) -> Option<Records> {
        let is_last_chance = state.closing.is_some() || state.remote_closing;
        if state.acks.timing(now) == AckTiming::Now || is_last_chance {
            // With nothing new to tell, the answer to a probe that waits stays as it is.
            if let Some((count, held)) = state.acks.take_ack(now) {
                state.control.received = Some(count);
                state.control.held = Some(micros(held));
            }
        }
        match state.is_extended {
            true => state.control.take().filter(|records| records != Records::NONE),
            false => None,
        }
    }

    /// When the count of received frames is to be told at the latest.
    pub(crate) fn ack_deadline(state: &SendState, now: Instant) -> Option<Instant> {
        match state.acks.timing(now) {
            AckTiming::At(at) if state.is_extended => Some(at),
            _ => None,
        }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
