//! Who serves a peer: one task at a time.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use super::Peer;
use super::queue::register;

/// A task's turn to serve a peer. Dropping it lets the next one begin.
#[derive(Debug)]
pub(crate) struct Turn {
    peer: Arc<Peer>,
}

impl Turn {
    /// Has the task that serves `peer`, if there is one, let go of it, and waits until it has.
    ///
    /// Its reader is stopped by then: the count of frames that were received stands still. If this
    /// is dropped before, the other task goes on.
    pub(crate) async fn take(peer: &Arc<Peer>) -> Turn {
        let _wish = Wish::new(peer);
        loop {
            let changed = peer.signal.listen();
            if let Some(turn) = Turn::begin(peer) {
                return turn;
            }
            changed.await;
        }
    }

    /// Begins a turn of a peer that nobody serves. `None` if another task does.
    pub(crate) fn begin(peer: &Arc<Peer>) -> Option<Turn> {
        let mut history = peer.history();
        if history.is_served {
            return None;
        }
        history.is_served = true;
        history.turns = history.turns.wrapping_add(1);
        Some(Turn { peer: peer.clone() })
    }

    /// Waits until another task wants to serve the peer. The future may go to another task.
    pub(crate) fn wanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let peer = self.peer.clone();
        // A waker and no listener, for every idle link waits here.
        poll_fn(move |cx| {
            let mut history = peer.history();
            match history.wishes > 0 {
                true => Poll::Ready(()),
                false => {
                    register(&mut history.server, cx);
                    Poll::Pending
                }
            }
        })
    }

    /// Whether another task wants to serve the peer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.peer.history().wishes > 0
    }

    /// Lets whoever wants to serve the peer do so. If nobody does any more, it is this task's turn
    /// again.
    pub(crate) async fn give_way(self) -> Option<Turn> {
        let peer = self.peer.clone();
        let turns = peer.history().turns;
        drop(self);
        loop {
            let changed = peer.signal.listen();
            let (begun, wishes) = {
                let history = peer.history();
                (history.turns != turns, history.wishes)
            };
            match begun {
                true => return None,
                false if wishes == 0 => return Turn::begin(&peer),
                false => changed.await,
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.peer.history().is_served = false;
        self.peer.signal.tell();
    }
}

/// A task's wish to serve a peer, for as long as it waits for its turn.
struct Wish<'a>(&'a Peer);

impl Wish<'_> {
    fn new(peer: &Peer) -> Wish<'_> {
        let mut history = peer.history();
        history.wishes += 1;
        let server = history.server.take();
        drop(history);
        if let Some(server) = server {
            server.wake();
        }
        peer.signal.tell();
        Wish(peer)
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        self.0.history().wishes -= 1;
        self.0.signal.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{Budget, Origin, Queue};
    use crate::proto::PeerType;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;

    fn peer() -> Arc<Peer> {
        let queue = Queue::new(Budget::new(1), 1, 1);
        Arc::new(Peer::linked(0, PeerType::Standard, Origin::Accepted, queue))
    }

    #[test]
    fn a_turn_goes_to_who_wants_it() {
        block_on(async {
            let peer = peer();
            let first = Turn::begin(&peer).unwrap();
            assert!(Turn::begin(&peer).is_none() && !first.is_wanted());
            let mut take = pin!(Turn::take(&peer));
            assert!(poll_once(&mut take).await.is_none());
            first.wanted().await;
            let mut giving = pin!(first.give_way());
            assert!(poll_once(&mut giving).await.is_none());
            let second = take.await;
            assert!(giving.await.is_none() && !second.is_wanted());
        });
    }

    #[test]
    fn a_wish_that_is_given_up_leaves_the_turn_where_it_was() {
        block_on(async {
            let peer = peer();
            let first = Turn::begin(&peer).unwrap();
            {
                let mut take = pin!(Turn::take(&peer));
                assert!(poll_once(&mut take).await.is_none());
            }
            assert!(!first.is_wanted());
            assert!(first.give_way().await.is_some());
        });
    }
}
