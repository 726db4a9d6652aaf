//! The exclusive right to serve a peer, combined with the duty to end it.

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
    pub(crate) lease: Lease,
}

impl PeerLease {
    /// Acquires the lease of a peer that no task serves. `None` if one does.
    pub(crate) fn try_acquire(running: &Arc<TaskRef>, peer: &Arc<Peer>) -> Option<PeerLease> {
        Lease::try_acquire(peer).map(|turn| PeerLease::of(running, peer, turn))
    }

    /// Requests the lease from the task that serves the peer, and waits for it.
    pub(crate) async fn acquire(running: &Arc<TaskRef>, peer: &Arc<Peer>) -> PeerLease {
        let turn = Lease::acquire(peer).await;
        PeerLease::of(running, peer, turn)
    }

    fn of(running: &Arc<TaskRef>, peer: &Arc<Peer>, turn: Lease) -> PeerLease {
        PeerLease { peer: peer.clone(), lease: turn, guard: PeerGuard::new(running, peer) }
    }

    /// Passes the lease on to a task that requested it. Returns it if no task requests it any more.
    pub(crate) async fn yield_now(self) -> Option<PeerLease> {
        let PeerLease { peer, lease: turn, guard: end } = self;
        match turn.yield_now().await {
            Some(turn) => Some(PeerLease { peer, lease: turn, guard: end }),
            None => {
                end.disarm();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Global, Task};
    use crate::peer::{Closing, Origin};
    use crate::proto::{Frame, Id, PeerType};
    use crate::session::start_connection;
    use crate::session::supervisor::resume;
    use crate::session::test_support::running;
    use crate::testing::kit::pipe::{Pipe, TestWaker};
    use crate::transport::Link;
    use bytes::Bytes;
    use futures_lite::{Future, future};
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context as TaskContext, Wake};

    /// Records whether the peer was still served when the waiting task was woken.
    struct Waiting {
        peer: Arc<Peer>,
        was_served: AtomicBool,
    }

    impl Wake for Waiting {
        fn wake(self: Arc<Self>) {
            self.was_served.fetch_or(!self.peer.has_ended(), Ordering::Relaxed);
        }
    }

    #[test]
    fn the_peer_ends_before_the_turn_is_given_away() {
        let running = running(|_: Task| {});
        let peer = running.add_linked(PeerType::Standard, Origin::Accepted, None).unwrap();
        let service = PeerLease::try_acquire(&running, &peer).unwrap();
        let waiting = Arc::new(Waiting { peer: peer.clone(), was_served: false.into() });
        let waker = waiting.clone().into();
        let mut taking = pin!(PeerLease::acquire(&running, &peer));
        assert!(taking.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_pending());
        drop(service);
        assert!(!waiting.was_served.load(Ordering::Relaxed), "it was still served");
        assert!(taking.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_ready());
    }

    #[test]
    fn a_dial_that_was_wanted_for_a_moment_only_goes_on() {
        let running = running(Global);
        let new = Peer::dialed(0, "nowhere:1".parse().unwrap(), running.new_queue());
        let peer = running.add_peers(|_| Ok::<_, ()>(vec![Arc::new(new)])).unwrap().remove(0);
        start_connection(&running, peer.clone());
        for _ in 0..50_000 {
            // A waiting task may cancel its request at any time.
            let taken = future::block_on(future::poll_once(PeerLease::acquire(&running, &peer)));
            if let Some(service) = taken {
                future::block_on(resume(&running, service));
            }
        }
        assert!(!peer.has_ended());
        running.stop(Closing::Now);
    }

    /// Bytes lent by the caller, which check on drop that the lock of the table is free.
    struct Lent(Arc<TaskRef>, Vec<u8>, Arc<AtomicBool>);

    impl AsRef<[u8]> for Lent {
        fn as_ref(&self) -> &[u8] {
            &self.1
        }
    }

    impl Drop for Lent {
        fn drop(&mut self) {
            // Only checked: `add_linked` would deadlock.
            self.2.fetch_or(!self.0.is_table_free(), Ordering::Relaxed);
        }
    }

    #[test]
    fn bytes_of_the_caller_are_let_go_outside_of_the_lock_of_the_table() {
        for payload in [9, 9000] {
            let running = running(|_: Task| {});
            let peer = running.add_linked(PeerType::Standard, Origin::Accepted, None).unwrap();
            let (line, other) = Pipe::pair();
            other.incoming().room = usize::MAX;
            let link = Link::new(line, None, Vec::new(), None);
            peer.link_up(Id::from_bytes([2; 32]), &link);
            let drain = &running.limits.drain_timeout;
            let mut serving = pin!(peer.run(&link, &running.inbound, drain, &|_| ()));
            assert!(TestWaker::new().poll(serving.as_mut()).is_none());
            let was_held = Arc::new(AtomicBool::new(false));
            let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![1; payload]);
            let bytes = frame.build().unwrap().as_bytes().to_vec();
            let lent = Bytes::from_owner(Lent(running.clone(), bytes, was_held.clone()));
            running.push(peer.target(), Frame::parse(lent).unwrap()).unwrap();
            assert!(other.incoming().bytes.len() > payload, "it was not written at once");
            assert!(!was_held.load(Ordering::Relaxed), "payload {payload}");
        }
    }
}
