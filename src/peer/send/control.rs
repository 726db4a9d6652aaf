//! Control extensions that the local node sends on a link.

use std::time::{Duration, Instant};

use crate::peer::send::queue::SendQueue;
use crate::peer::send::state::{SendState, wake_writer};
use crate::primitives::clock;
use crate::primitives::lazy_box::StaticDefault;
use crate::proto::{AckTiming, Extension, Proof, SessionName};

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

impl StaticDefault for Extension {
    const DEFAULT: &'static Extension = Extension::NONE;
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
    pub(crate) fn add_last_count(&mut self, extension: Extension) -> Extension {
        let ack_delay = self.acks.take_ack(clock::now()).map(|(_, delay)| micros(delay));
        Extension { ack: Some(self.acks.total()), ack_delay, ..extension }
    }

    /// Takes the control extensions that are due now, with the acknowledgement if that is due.
    pub(crate) fn take_pending_control(&mut self, now: Instant) -> Option<Extension> {
        let is_last_chance = self.closing.is_some() || self.remote_closing;
        let has_credit = self.control.credit.is_some();
        if self.acks.timing(now) == AckTiming::Now || is_last_chance || has_credit {
            // Without new frames to acknowledge, a pending reply to a ping stays unchanged.
            if let Some((count, delay)) = self.acks.take_ack(now) {
                let control = self.control.get_or_allocate();
                (control.ack, control.ack_delay) = (Some(count), Some(micros(delay)));
            }
        }
        match self.is_extended {
            true => self.control.take().filter(|extension| extension != Extension::NONE),
            false => None,
        }
    }

    /// When the delayed acknowledgement is due. `None` if there is none, or it is due already.
    pub(crate) fn ack_deadline(&self, now: Instant) -> Option<Instant> {
        match self.acks.timing(now) {
            AckTiming::At(at) if self.is_extended => Some(at),
            _ => None,
        }
    }

    fn liveness_inputs(&self) -> LivenessInputs {
        LivenessInputs {
            owes: self.size().0 > 0,
            is_backpressured: self.is_backpressured,
            is_probing: self.is_probing,
        }
    }
}

impl SendQueue {
    /// Sets whether the reader is blocked by back-pressure from the router.
    pub(crate) fn set_backpressured(&self, is_backpressured: bool) {
        self.lock().is_backpressured = is_backpressured;
    }

    /// The inputs of the liveness monitor of an extended link.
    pub(crate) fn liveness_inputs(&self) -> LivenessInputs {
        self.lock().liveness_inputs()
    }

    /// Returns the inputs of the liveness monitor, and records whether it runs from now on.
    pub(crate) fn arm_monitor(&self) -> LivenessInputs {
        let mut state = self.lock();
        let inputs = state.liveness_inputs();
        state.monitor_armed = inputs.is_needed();
        inputs
    }

    /// Queues a ping, which requests an immediate acknowledgement.
    pub(crate) fn queue_ping(&self) {
        self.queue_control(|state| state.control.get_or_allocate().ping = Some(()));
    }

    /// Queues a ping whose missing reply soon ends the link. Returns `false`, and does nothing, if
    /// the link does not support the extension.
    pub(crate) fn probe_now(&self) -> bool {
        let is_extended = self.lock().is_extended;
        if is_extended {
            self.queue_control(|state| {
                state.is_probing = true;
                state.control.get_or_allocate().ping = Some(());
            });
        }
        is_extended
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
    pub(crate) fn queue_duplicate(&self, name: &SessionName, proof: &Proof) {
        self.queue_control(|state| {
            state.control.get_or_allocate().duplicate = Some((*name, *proof))
        });
    }

    /// Queues the request to merge the session `name` into that of this link.
    pub(crate) fn queue_merge(&self, name: &SessionName, received: u64, proof: &Proof) {
        self.queue_control(|state| {
            state.control.get_or_allocate().merge = Some((*name, (received, *proof)))
        });
    }

    /// Queues the reply to a merge request.
    pub(crate) fn queue_merge_ack(&self, name: &SessionName, received: u64) {
        self.queue_control(|state| {
            state.control.get_or_allocate().merge_ack = Some((*name, received))
        });
    }

    /// Queues the notice that the local node is alive, though back-pressure keeps it from reading.
    pub(crate) fn queue_paused(&self) {
        self.queue_control(|state| state.control.get_or_allocate().paused = Some(()));
    }

    /// Queues an immediate acknowledgement.
    pub(crate) fn queue_ack(&self) {
        self.queue_control(|state| state.control.get_or_allocate().ack = Some(state.acks.total()));
    }

    /// Changes the pending control extensions and wakes up the writer.
    fn queue_control(&self, add: impl FnOnce(&mut SendState)) {
        let mut state = self.lock();
        add(&mut state);
        wake_writer(state);
    }

    /// Takes the pending acknowledgement. `None` if there is none, or the link is not extended.
    pub(crate) fn pending_ack(&self) -> Option<Extension> {
        let mut state = self.lock();
        let (count, delay) = state.acks.take_ack(clock::now())?;
        let (ack, ack_delay) = (Some(count), Some(micros(delay)));
        state.is_extended.then(|| Extension { ack, ack_delay, ..Extension::default() })
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
