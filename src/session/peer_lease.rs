//! The exclusive right to serve a peer, combined with the duty to end it.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

use crate::peer::{Lease, Peer};
use crate::shared::{PeerGuard, TaskRef};

/// The lease of a peer, held by the task that serves it. Dropping it ends the peer, however the
/// task ended.
///
/// Fields drop in declaration order: the guard ends the peer before another task can acquire the
/// lease.
pub(crate) struct PeerLease {
    pub(crate) peer: Arc<Peer>,
    guard: PeerGuard,
    lease: Lease,
}

impl PeerLease {
    /// Acquires the lease of a peer that no task serves. `None` if one does.
    pub(crate) fn try_acquire(running: &Arc<TaskRef>, peer: &Arc<Peer>) -> Option<PeerLease> {
        Lease::try_acquire(peer).map(|lease| PeerLease::new(running, peer, lease))
    }

    /// Requests the lease from the task that serves the peer, and waits for it.
    pub(crate) async fn acquire(running: &Arc<TaskRef>, peer: &Arc<Peer>) -> PeerLease {
        let lease = Lease::acquire(peer).await;
        PeerLease::new(running, peer, lease)
    }

    fn new(running: &Arc<TaskRef>, peer: &Arc<Peer>, lease: Lease) -> PeerLease {
        PeerLease { peer: peer.clone(), lease, guard: PeerGuard::new(running, peer) }
    }

    /// Completes when another task requests the lease. The future may be moved to another task.
    pub(crate) fn requested(&self) -> impl Future<Output = ()> + Send + use<> {
        self.lease.requested()
    }

    /// Whether another task requests the lease.
    pub(crate) fn is_requested(&self) -> bool {
        self.lease.is_requested()
    }

    /// Passes the lease on to a task that requested it. Returns it if no task requests it any more.
    pub(crate) async fn yield_now(self) -> Option<PeerLease> {
        let PeerLease { peer, lease, guard } = self;
        match lease.yield_now().await {
            Some(lease) => Some(PeerLease { peer, lease, guard }),
            None => {
                guard.disarm();
                None
            }
        }
    }
}
