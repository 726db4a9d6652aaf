//! Control extensions that the local node sends on a link.

use std::time::{Duration, Instant};

use crate::peer::send::queue::{SendQueue, SendState, wake_writer};
use crate::primitives::clock;
use crate::primitives::lazy_box::StaticDefault;
use crate::proto::{AckTiming, Records};

/// The state that the liveness monitor of a link depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LivenessInputs {
    /// Whether frames are queued that the remote has yet to receive or acknowledge.
    pub(crate) owes: bool,
    /// Whether the local reader is blocked by back-pressure from the router.
    pub(crate) is_backpressured: bool,
    /// Whether the remote is suspected to be gone, and is being probed.
    pub(crate) is_probing: bool,
}

impl StaticDefault for Records {
    const DEFAULT: &'static Records = Records::NONE;
}

impl LivenessInputs {
    /// Whether the link has to be monitored.
    pub(crate) fn is_needed(&self) -> bool {
        self.owes || self.is_backpressured || self.is_probing
    }
}

impl SendState {
    /// Adds the count of received frames to the last extensions of a link. Always, even if no
    /// acknowledgement is pending: one that the writer took may not have been written.
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
    /// Sets whether the reader is blocked by back-pressure from the router.
    pub(crate) fn set_backpressured(&self, is_held_up: bool) {
        self.lock().is_backpressured = is_held_up;
    }

    /// The inputs of the liveness monitor of an extended link.
    pub(crate) fn liveness_inputs(&self) -> LivenessInputs {
        self.lock().liveness_inputs()
    }

    /// Returns the inputs of the liveness monitor, and records whether it runs from now on.
    pub(crate) fn arm_monitor(&self) -> LivenessInputs {
        let mut state = self.lock();
        let watched = state.liveness_inputs();
        state.monitor_armed = watched.is_needed();
        watched
    }

    /// Queues a ping, which requests an immediate acknowledgement.
    pub(crate) fn queue_ping(&self) {
        self.queue_control(|state| state.control.probe = Some(()));
    }

    /// Queues a ping whose missing reply soon ends the link. Returns `false`, and does nothing, if
    /// the link does not support the extension.
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

    /// Ends the probe: the remote is alive.
    pub(crate) fn clear_probe(&self) {
        self.lock().is_probing = false;
    }

    /// Records that the remote sent its goodbye.
    pub(crate) fn on_remote_close(&self) {
        self.queue_control(|state| state.remote_closing = true);
    }

    /// Queues the announcement of a duplicate link to the same node.
    pub(crate) fn queue_duplicate(&self, name: &[u8; 8], proof: &[u8; 16]) {
        self.queue_control(|state| state.control.same = Some((*name, *proof)));
    }

    /// Queues the request to merge the session `name` into that of this link.
    pub(crate) fn queue_merge(&self, name: &[u8; 8], received: u64, proof: &[u8; 16]) {
        self.queue_control(|state| state.control.merge = Some((*name, (received, *proof))));
    }

    /// Queues the reply to a merge request.
    pub(crate) fn queue_merge_ack(&self, name: &[u8; 8], received: u64) {
        self.queue_control(|state| state.control.merged = Some((*name, received)));
    }

    /// Queues the notice that the local node is alive, though back-pressure keeps it from reading.
    pub(crate) fn queue_paused(&self) {
        self.queue_control(|state| state.control.busy = Some(()));
    }

    /// Queues an immediate acknowledgement.
    pub(crate) fn queue_ack(&self) {
        self.queue_control(|state| state.control.received = Some(state.acks.total()));
    }

    /// Changes the pending control extensions and wakes up the writer.
    fn queue_control(&self, add: impl FnOnce(&mut SendState)) {
        let mut state = self.lock();
        add(&mut state);
        wake_writer(state);
    }

    /// Takes the pending acknowledgement. `None` if there is none, or the link is not extended.
    pub(crate) fn pending_ack(&self) -> Option<Records> {
        let mut state = self.lock();
        let (count, held) = state.acks.take_ack(clock::now())?;
        let (received, held) = (Some(count), Some(micros(held)));
        state.is_extended.then(|| Records { received, held, ..Records::default() })
    }

    /// Takes the control extensions that are due now, with the acknowledgement if that is due.
    pub(crate) fn take_pending_control(state: &mut SendState, now: Instant) -> Option<Records> {
        let is_last_chance = state.closing.is_some() || state.remote_closing;
        if state.acks.timing(now) == AckTiming::Now || is_last_chance {
            // Without new frames to acknowledge, a pending reply to a ping stays unchanged.
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

    /// When the delayed acknowledgement is due. `None` if there is none, or it is due already.
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
