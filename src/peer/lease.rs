//! The exclusive right of one task to serve a peer.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use crate::peer::Peer;
use crate::peer::send::queue::register_waker;

/// The exclusive right to serve a peer. Dropping it releases the lease.
#[derive(Debug)]
pub(crate) struct Lease {
    peer: Arc<Peer>,
}

impl Lease {
    /// Requests the lease, and waits until the task that holds it has released it.
    ///
    /// The reader of that task has stopped by then, so the count of received frames does not change
    /// any more.
    ///
    /// # Cancel safety
    ///
    /// If this is dropped before it completes, the other task keeps or regains the lease.
    pub(crate) async fn acquire(peer: &Arc<Peer>) -> Lease {
        let _wish = LeaseRequest::new(peer);
        loop {
            let changed = peer.signal.listen();
            if let Some(turn) = Lease::try_acquire(peer) {
                return turn;
            }
            changed.await;
        }
    }

    /// Acquires the lease if it is free. `None` if another task holds it.
    pub(crate) fn try_acquire(peer: &Arc<Peer>) -> Option<Lease> {
        let mut history = peer.status();
        if history.is_leased {
            return None;
        }
        history.is_leased = true;
        history.lease_epoch = history.lease_epoch.wrapping_add(1);
        Some(Lease { peer: peer.clone() })
    }

    /// Completes when another task requests the lease. The future may be moved to another task.
    pub(crate) fn requested(&self) -> impl Future<Output = ()> + Send + use<> {
        let peer = self.peer.clone();
        // A waker takes less memory than a listener, and every idle link waits here.
        poll_fn(move |cx| {
            let mut history = peer.status();
            match history.lease_requests > 0 {
                true => Poll::Ready(()),
                false => {
                    register_waker(&mut history.lease_waker, cx);
                    Poll::Pending
                }
            }
        })
    }

    /// Whether another task requests the lease.
    pub(crate) fn is_requested(&self) -> bool {
        self.peer.status().lease_requests > 0
    }

    /// Releases the lease to the tasks that request it. Returns the lease again if all requests are
    /// withdrawn before one is granted, and `None` otherwise.
    pub(crate) async fn yield_now(self) -> Option<Lease> {
        let peer = self.peer.clone();
        let turns = peer.status().lease_epoch;
        drop(self);
        loop {
            let changed = peer.signal.listen();
            let (begun, wishes) = {
                let history = peer.status();
                (history.lease_epoch != turns, history.lease_requests)
            };
            match begun {
                true => return None,
                false if wishes == 0 => return Lease::try_acquire(&peer),
                false => changed.await,
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.peer.status().is_leased = false;
        self.peer.signal.notify_all();
    }
}

/// A pending request for the lease. Dropping it withdraws the request.
struct LeaseRequest<'a>(&'a Peer);

impl LeaseRequest<'_> {
    fn new(peer: &Peer) -> LeaseRequest<'_> {
        let mut history = peer.status();
        history.lease_requests += 1;
        let server = history.lease_waker.take();
        drop(history);
        if let Some(server) = server {
            server.wake();
        }
        peer.signal.notify_all();
        LeaseRequest(peer)
    }
}

impl Drop for LeaseRequest<'_> {
    fn drop(&mut self) {
        self.0.status().lease_requests -= 1;
        self.0.signal.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{MemoryBudget, Origin, SendQueue};
    use crate::proto::PeerType;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;

    fn peer() -> Arc<Peer> {
        let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
        Arc::new(Peer::linked(0, PeerType::Standard, Origin::Accepted, queue))
    }

    #[test]
    fn a_turn_goes_to_who_wants_it() {
        block_on(async {
            let peer = peer();
            let first = Lease::try_acquire(&peer).unwrap();
            assert!(Lease::try_acquire(&peer).is_none() && !first.is_requested());
            let mut take = pin!(Lease::acquire(&peer));
            assert!(poll_once(&mut take).await.is_none());
            first.requested().await;
            let mut giving = pin!(first.yield_now());
            assert!(poll_once(&mut giving).await.is_none());
            let second = take.await;
            assert!(giving.await.is_none() && !second.is_requested());
        });
    }

    #[test]
    fn a_wish_that_is_given_up_leaves_the_turn_where_it_was() {
        block_on(async {
            let peer = peer();
            let first = Lease::try_acquire(&peer).unwrap();
            {
                let mut take = pin!(Lease::acquire(&peer));
                assert!(poll_once(&mut take).await.is_none());
            }
            assert!(!first.is_requested());
            assert!(first.yield_now().await.is_some());
        });
    }
}
