//! Who serves a peer: one task at a time.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use crate::peer::Peer;
use crate::peer::send::queue::register_waker;

/// A task's turn to serve a peer. Dropping it lets the next one begin.
#[derive(Debug)]
pub(crate) struct Lease {
    peer: Arc<Peer>,
}

impl Lease {
    /// Has the task that serves `peer`, if there is one, let go of it, and waits until it has.
    ///
    /// Its reader is stopped by then: the count of frames that were received stands still. If this
    /// is dropped before, the other task goes on.
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

    /// Begins a turn of a peer that nobody serves. `None` if another task does.
    pub(crate) fn try_acquire(peer: &Arc<Peer>) -> Option<Lease> {
        let mut history = peer.status();
        if history.is_leased {
            return None;
        }
        history.is_leased = true;
        history.lease_epoch = history.lease_epoch.wrapping_add(1);
        Some(Lease { peer: peer.clone() })
    }

    /// Waits until another task wants to serve the peer. The future may go to another task.
    pub(crate) fn requested(&self) -> impl Future<Output = ()> + Send + use<> {
        let peer = self.peer.clone();
        // A waker and no listener, for every idle link waits here.
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

    /// Whether another task wants to serve the peer.
    pub(crate) fn is_requested(&self) -> bool {
        self.peer.status().lease_requests > 0
    }

    /// Lets whoever wants to serve the peer do so. If nobody does any more, it is this task's turn
    /// again.
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

/// A task's wish to serve a peer, for as long as it waits for its turn.
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
