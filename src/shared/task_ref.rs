//! References to the shared state that tasks hold, and what ends with them.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use crate::config::Task;
use crate::events::Event;
use crate::peer::{Closing, InboundSender, Peer};
use crate::primitives::callback::catch_panic;
use crate::shared::Shared;

/// The reference to the shared state that every task of an endpoint holds, and no handle does.
///
/// It is dropped when the last task has ended, or was dropped with its executor. `next` and
/// `events` then return an error instead of waiting forever.
#[derive(Debug)]
pub(crate) struct TaskRef {
    shared: Arc<Shared>,
    pub(crate) inbound: InboundSender,
}

impl TaskRef {
    pub(crate) fn new(shared: Arc<Shared>, inbound: InboundSender) -> Arc<TaskRef> {
        Arc::new(TaskRef { shared, inbound })
    }

    /// Spawns a background task. A spawner that panics has dropped it, so what it served ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_boxed(Box::pin(task));
    }

    fn spawn_boxed(&self, task: Task) {
        if catch_panic(|| self.spawner.spawn(task)).is_none() {
            self.events.emit(Event::SpawnFailed);
        }
    }
}

impl Deref for TaskRef {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // The executor may have been dropped without a call to `stop`.
        self.shared.stop(Closing::Now);
        for peer in self.shared.peers() {
            self.shared.end_peer(&peer);
        }
        // Peers hold no reference to the shared state; this only frees their memory early.
        self.shared.sessions.clear_disconnected();
        self.shared.stop_signal.set_stopped();
        self.shared.events.close();
    }
}

/// Ends a peer if the task that serves it is dropped before it has done so itself.
#[derive(Debug)]
pub(crate) struct PeerGuard {
    running: Arc<TaskRef>,
    peer: Option<Arc<Peer>>,
}

impl PeerGuard {
    pub(crate) fn new(running: &Arc<TaskRef>, peer: &Arc<Peer>) -> PeerGuard {
        PeerGuard { running: running.clone(), peer: Some(peer.clone()) }
    }

    /// Disarms the guard: another task serves the peer.
    pub(crate) fn disarm(mut self) {
        self.peer = None;
    }
}

impl Drop for PeerGuard {
    fn drop(&mut self) {
        if let Some(peer) = self.peer.take() {
            self.running.end_peer(&peer);
        }
    }
}
