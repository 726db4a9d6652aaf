//! Who serves a peer: one task at a time.

use std::sync::Arc;

use super::Peer;

/// A task's turn to serve a peer. Dropping it lets the next one begin.
#[derive(Debug)]
pub(crate) struct Turn {
    peer: Arc<Peer>,
    /// How often the peer had been taken over when this turn began.
    takeovers: u64,
}

impl Turn {
    /// Has the task that serves `peer`, if there is one, let go of it, and waits until it has.
    ///
    /// Its reader is stopped by then: the count of frames that were received stands still.
    pub(crate) async fn take(peer: &Arc<Peer>) -> Turn {
        peer.history().takeovers += 1;
        peer.signal.notify(usize::MAX);
        loop {
            let changed = peer.signal.listen();
            if let Some(turn) = Turn::try_begin(peer) {
                return turn;
            }
            changed.await;
        }
    }

    /// Begins the first turn of a peer that nobody serves.
    pub(crate) fn begin(peer: &Arc<Peer>) -> Option<Turn> {
        Turn::try_begin(peer)
    }

    fn try_begin(peer: &Arc<Peer>) -> Option<Turn> {
        let mut history = peer.history();
        if history.is_served {
            return None;
        }
        history.is_served = true;
        Some(Turn { peer: peer.clone(), takeovers: history.takeovers })
    }

    /// Waits until another task wants to serve the peer. The future may go to another task.
    pub(crate) fn wanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let (peer, takeovers) = (self.peer.clone(), self.takeovers);
        async move {
            loop {
                let changed = peer.signal.listen();
                if peer.history().takeovers != takeovers {
                    return;
                }
                changed.await;
            }
        }
    }

    /// Whether another task wants to serve the peer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.peer.history().takeovers != self.takeovers
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.peer.history().is_served = false;
        self.peer.signal.notify(usize::MAX);
    }
}
