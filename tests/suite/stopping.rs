//! What an endpoint that stops leaves behind: nothing, and at once.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use futures_lite::future::{Future, poll_once};
use netmod_inet::{DropReason, Event, InetEndpoint, Limits, PeerType, StartError, Task};

use crate::addresses::own_addr;
use crate::scripted::PlainPeer;
use crate::subject::{Node, TIMEOUT, quick, within};

/// An executor that can hold new tasks back.
#[derive(Clone, Default)]
struct HoldingSpawner {
    is_closed: Arc<AtomicBool>,
    held: Arc<Mutex<Vec<Task>>>,
}

impl HoldingSpawner {
    fn spawn(&self, task: Task) {
        match self.is_closed.load(Ordering::SeqCst) {
            true => self.held.lock().expect("no panic").push(task),
            false => smol::spawn(task).detach(),
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    fn open(&self) {
        self.is_closed.store(false, Ordering::SeqCst);
        let held = std::mem::take(&mut *self.held.lock().expect("no panic"));
        held.into_iter().for_each(|task| self.spawn(task));
    }
}

/// A listening node whose new tasks can be held back, with a handshake timeout that no test
/// reaches.
fn with_holding_spawner() -> (Node, HoldingSpawner) {
    let mut limits = Limits::default();
    limits.handshake_timeout = 6 * TIMEOUT;
    let spawner = HoldingSpawner::default();
    let spawn = spawner.clone();
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
    (Node::built(builder.spawner(move |task| spawn.spawn(task))), spawner)
}

/// Opens a silent stream, and waits until the node has accepted it, and no more than that.
fn accepted_only(node: &Node, spawner: &HoldingSpawner) -> PlainPeer {
    spawner.close();
    let connection = PlainPeer::connect(node.port());
    node.until("accepted stream", |_| !spawner.held.lock().expect("no panic").is_empty());
    connection
}

fn shutting_down(node: &mut Node) {
    let reason = node.wait("dropped event", |event| match event {
        Event::Dropped { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(matches!(reason, DropReason::ShuttingDown), "{reason}");
}

#[test]
fn shutdown_does_not_wait_for_an_unfinished_handshake() {
    let (mut node, spawner) = with_holding_spawner();
    let mut connection = accepted_only(&node, &spawner);
    within("shutdown", async {
        let mut shutdown = pin!(node.endpoint.shutdown());
        assert!(poll_once(&mut shutdown).await.is_none());
        spawner.open();
        shutdown.await;
    });
    shutting_down(&mut node);
    connection.expect_end();
}

#[test]
fn shutdown_ends_the_handshakes_that_are_under_way() {
    let (mut node, _) = with_holding_spawner();
    let mut connection = PlainPeer::connect(node.port());
    connection.write(&[0, 0, 0, 95]);
    node.serves("a connection that sent a length");
    within("shutdown", node.endpoint.shutdown());
    shutting_down(&mut node);
    connection.expect_end();
}

#[test]
fn dropping_the_last_handle_does_not_wait_for_an_unfinished_handshake() {
    let (node, spawner) = with_holding_spawner();
    let mut connection = accepted_only(&node, &spawner);
    let events = node.endpoint.events();
    drop(node);
    spawner.open();
    within("end", async { while events.next().await.is_ok() {} });
    connection.expect_end();
}

/// Each time that it is woken, looks whether the endpoint has ended and its port is still taken.
struct Lookout {
    endpoint: InetEndpoint,
    addr: SocketAddr,
    is_late: AtomicBool,
    is_woken: AtomicBool,
}

impl Wake for Lookout {
    fn wake(self: Arc<Self>) {
        if self.endpoint.is_closed() && TcpListener::bind(self.addr).is_err() {
            self.is_late.store(true, Ordering::SeqCst);
        }
        self.is_woken.store(true, Ordering::SeqCst);
    }
}

/// A caller of `shutdown` is woken by the task that ends last.
#[test]
fn the_port_is_free_when_shutdown_returns() {
    let addr = own_addr();
    let node = Node::built(InetEndpoint::builder().bind(addr.to_string()).limits(quick()));
    let (endpoint, is_late, is_woken) = (node.endpoint.clone(), false.into(), false.into());
    let lookout = Arc::new(Lookout { endpoint, addr, is_late, is_woken });
    let waker = Waker::from(lookout.clone());
    let mut shutdown = pin!(node.endpoint.shutdown());
    while shutdown.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        node.until("wake-up", |_| lookout.is_woken.swap(false, Ordering::SeqCst));
    }
    assert!(!lookout.is_late.load(Ordering::SeqCst), "{addr} was still taken");
    TcpListener::bind(addr).expect("a free port");
}

#[test]
fn more_streams_than_peers_leave_no_port_open() {
    let far = TcpListener::bind("127.0.0.1:0").expect("a port");
    let connect = || TcpStream::connect(far.local_addr().expect("an address")).expect("connect");
    let mut limits = Limits::default();
    limits.peers = 1;
    // The listener is the caller's, so that its port is known: it goes with the failed start.
    let addr = own_addr();
    let listener = TcpListener::bind(addr).expect("a port");
    // Its tasks never run, so nothing is closed by one that ends a little later.
    let spawner = |task: Task| {
        let late = async {
            smol::Timer::after(TIMEOUT).await;
            task.await;
        };
        smol::spawn(late).detach();
    };
    let builder = InetEndpoint::builder().listener(listener).limits(limits).spawner(spawner);
    let builder = builder.stream(connect(), PeerType::Standard);
    let started = within("start", builder.stream(connect(), PeerType::Standard).start());
    assert!(matches!(started, Err(StartError::TooManyStreams)), "{started:?}");
    TcpListener::bind(addr).expect("the port is free again");
}
