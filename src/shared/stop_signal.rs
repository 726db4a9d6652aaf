//! The signals by which the tasks of an endpoint stop.

use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::Event;

/// Whether the tasks should stop, and whether they have.
#[derive(Debug)]
pub(super) struct StopSignal {
    stopping: AtomicBool,
    stopped: AtomicBool,
    /// Notified whenever a flag is set.
    changed: Event,
}

impl StopSignal {
    pub(super) fn new() -> StopSignal {
        StopSignal {
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            changed: Event::new(),
        }
    }

    /// Signals all tasks to stop.
    pub(super) fn set_stopping(&self) {
        self.set(&self.stopping);
    }

    /// Signals that all tasks have ended.
    pub(super) fn set_stopped(&self) {
        self.set(&self.stopped);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until the tasks are signalled to stop.
    pub(super) async fn stopping(&self) {
        self.wait_for(&self.stopping).await;
    }

    /// Waits until all tasks have ended.
    pub(super) async fn stopped(&self) {
        self.wait_for(&self.stopped).await;
    }

    fn set(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::SeqCst);
        self.changed.notify(usize::MAX);
    }

    async fn wait_for(&self, flag: &AtomicBool) {
        loop {
            let changed = self.changed.listen();
            if flag.load(Ordering::SeqCst) {
                return;
            }
            changed.await;
        }
    }
}
