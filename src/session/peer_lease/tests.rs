//! Tests of leases against the supervisor, and of locks while a peer is served.

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
use futures_lite::future;
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
fn the_peer_ends_before_its_lease_is_granted() {
    let running = running(|_: Task| {});
    let peer = running.add_linked(PeerType::Standard, Origin::Accepted, None, false).unwrap();
    let lease = PeerLease::try_acquire(&running, &peer).unwrap();
    let waiting = Arc::new(Waiting { peer: peer.clone(), was_served: false.into() });
    let waker = waiting.clone().into();
    let mut acquiring = pin!(PeerLease::acquire(&running, &peer));
    assert!(acquiring.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_pending());
    drop(lease);
    assert!(!waiting.was_served.load(Ordering::Relaxed), "it was still served");
    assert!(acquiring.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_ready());
}

#[test]
fn a_dial_continues_after_a_withdrawn_lease_request() {
    let running = running(Global);
    let new = Peer::dialed(0.into(), "nowhere:1".parse().unwrap(), running.new_queue());
    let peer = running.add_peers(|_| Ok::<_, ()>(vec![Arc::new(new)])).unwrap().remove(0);
    start_connection(&running, peer.clone());
    for _ in 0..50_000 {
        // A waiting task may cancel its request at any time.
        let acquired = future::block_on(future::poll_once(PeerLease::acquire(&running, &peer)));
        if let Some(lease) = acquired {
            future::block_on(resume(&running, lease));
        }
    }
    assert!(!peer.has_ended());
    running.stop(Closing::Now);
}

/// Bytes of the caller, which check on drop that the lock of the table is free.
struct CallerBytes(Arc<TaskRef>, Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for CallerBytes {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for CallerBytes {
    fn drop(&mut self) {
        // Only checked: `add_linked` would deadlock.
        self.2.fetch_or(!self.0.is_table_free(), Ordering::Relaxed);
    }
}

#[test]
fn bytes_of_the_caller_are_dropped_outside_of_the_table_lock() {
    for payload in [9, 9000] {
        let running = running(|_: Task| {});
        let peer = running.add_linked(PeerType::Standard, Origin::Accepted, None, false).unwrap();
        let (local, remote) = Pipe::pair();
        remote.incoming().room = usize::MAX;
        let link = Link::unencrypted(local, None, Vec::new(), None);
        peer.link_up(Id::from_bytes([2; 32]), &link);
        let drain = &running.limits.drain_timeout;
        let mut serving = pin!(peer.run(&link, &running.inbound, drain, &|_| ()));
        assert!(TestWaker::new().poll(serving.as_mut()).is_none());
        let was_held = Arc::new(AtomicBool::new(false));
        let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![1; payload]);
        let bytes = frame.build().unwrap().as_bytes().to_vec();
        let bytes = Bytes::from_owner(CallerBytes(running.clone(), bytes, was_held.clone()));
        running.push(peer.target(), Frame::parse(bytes).unwrap()).unwrap();
        assert!(remote.incoming().bytes.len() > payload, "it was not written directly");
        assert!(!was_held.load(Ordering::Relaxed), "payload {payload}");
    }
}
