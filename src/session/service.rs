//! What a task that serves a peer holds: its turn, and the duty to end the peer.

use std::sync::Arc;

use crate::context::{EndOnDrop, Running};
use crate::peer::{Peer, Turn};

/// A task's service to a peer. Dropping it ends the peer, whatever happened to the task.
pub(super) struct Service {
    pub(super) peer: Arc<Peer>,
    /// Before the turn, so that nobody begins to serve a peer that is about to end.
    end: Arc<EndOnDrop>,
    pub(super) turn: Turn,
}

impl Service {
    /// Begins to serve a new peer. `None` if another task does.
    pub(super) fn begin(running: &Arc<Running>, peer: &Arc<Peer>) -> Option<Service> {
        Turn::begin(peer).map(|turn| Service::of(running, peer, turn))
    }

    /// Has the task that serves the peer let go of it, and serves it from then on.
    pub(super) async fn take(running: &Arc<Running>, peer: &Arc<Peer>) -> Service {
        let turn = Turn::take(peer).await;
        Service::of(running, peer, turn)
    }

    fn of(running: &Arc<Running>, peer: &Arc<Peer>, turn: Turn) -> Service {
        Service { peer: peer.clone(), turn, end: EndOnDrop::new(running, peer) }
    }

    /// For a second task, which runs the peer's link: while that has frames in hand, the peer must
    /// not end.
    pub(super) fn share(&self) -> Arc<EndOnDrop> {
        self.end.clone()
    }

    /// Lets the task serve the peer that wants to. If none does any more, it stays with this one.
    pub(super) async fn give_way(self) -> Option<Service> {
        let Service { peer, turn, end } = self;
        match turn.give_way().await {
            Some(turn) => Some(Service { peer, turn, end }),
            None => {
                end.hand_over();
                None
            }
        }
    }
}
