//! The exclusive right of one task to serve a peer.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use crate::peer::Peer;

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
        let _request = LeaseRequest::new(peer);
        loop {
            let changed = peer.signal.listen();
            if let Some(lease) = Lease::try_acquire(peer) {
                return lease;
            }
            changed.await;
        }
    }

    /// Acquires the lease if it is free. `None` if another task holds it.
    pub(crate) fn try_acquire(peer: &Arc<Peer>) -> Option<Lease> {
        let mut status = peer.status();
        if status.is_leased {
            return None;
        }
        status.is_leased = true;
        status.lease_epoch = status.lease_epoch.wrapping_add(1);
        Some(Lease { peer: peer.clone() })
    }

    /// Completes when another task requests the lease. The future may be moved to another task.
    pub(crate) fn requested(&self) -> impl Future<Output = ()> + Send + use<> {
        let peer = self.peer.clone();
        // A waker takes less memory than a listener, and every idle link waits here. It is a plain
        // slot, not an `AtomicWaker`, since the requests are checked under the same lock.
        poll_fn(move |cx| {
            let mut status = peer.status();
            match status.lease_requests > 0 {
                true => Poll::Ready(()),
                false => {
                    let waker = cx.waker();
                    status.lease_waker.get_or_insert_with(|| waker.clone()).clone_from(waker);
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
        let epoch = peer.status().lease_epoch;
        drop(self);
        loop {
            let changed = peer.signal.listen();
            let (is_granted, requests) = {
                let status = peer.status();
                (status.lease_epoch != epoch, status.lease_requests)
            };
            match is_granted {
                true => return None,
                false if requests == 0 => return Lease::try_acquire(&peer),
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
        let mut status = peer.status();
        status.lease_requests += 1;
        let waker = status.lease_waker.take();
        drop(status);
        if let Some(waker) = waker {
            waker.wake();
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
        Arc::new(Peer::linked(0.into(), PeerType::Standard, Origin::Accepted, queue))
    }

    #[test]
    fn a_lease_passes_to_the_task_that_requests_it() {
        block_on(async {
            let peer = peer();
            let first = Lease::try_acquire(&peer).unwrap();
            assert!(Lease::try_acquire(&peer).is_none() && !first.is_requested());
            let mut acquiring = pin!(Lease::acquire(&peer));
            assert!(poll_once(&mut acquiring).await.is_none());
            first.requested().await;
            let mut yielding = pin!(first.yield_now());
            assert!(poll_once(&mut yielding).await.is_none());
            let second = acquiring.await;
            assert!(yielding.await.is_none() && !second.is_requested());
        });
    }

    #[test]
    fn a_withdrawn_request_returns_the_lease_to_its_holder() {
        block_on(async {
            let peer = peer();
            let first = Lease::try_acquire(&peer).unwrap();
            {
                let mut acquiring = pin!(Lease::acquire(&peer));
                assert!(poll_once(&mut acquiring).await.is_none());
            }
            assert!(!first.is_requested());
            assert!(first.yield_now().await.is_some());
        });
    }
}
