//! The same exchange on every kind of executor.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::future;
use netmod_inet::{Builder, Closed, Event, Frame, InetEndpoint, Spawn, StartError, Task};
use smol::Executor;

use crate::scripted::{PlainListener, PlainPeer, STANDARD, number_of, numbered};
use crate::subject::{Node, parsed, quick, within};

/// Peers two endpoints that are built alike, and has them exchange frames and shut down.
async fn exchange(builder: impl Fn() -> Builder) {
    let alice = builder().bind("127.0.0.1:0").start().await.expect("start");
    let bob = builder().start().await.expect("start");
    let address = format!("127.0.0.1:{}", alice.port().expect("a port"));
    let target = bob.add_peers([address]).await.expect("add_peers")[0];
    for number in 0..200u32 {
        let frame = |from: &InetEndpoint| {
            Frame::builder(8, from.router_id()).payload(number.to_be_bytes().to_vec()).build()
        };
        bob.send(target, frame(&bob).expect("a frame")).await.expect("send");
        let (from, got) = alice.next().await.expect("a frame");
        assert_eq!(got.payload(), number.to_be_bytes());
        alice.send(from, frame(&alice).expect("a frame")).await.expect("send");
        assert_eq!(bob.next().await.expect("a frame").1.payload(), number.to_be_bytes());
    }
    alice.shutdown().await;
    bob.shutdown().await;
    assert_eq!(alice.next().await.unwrap_err(), Closed);
    assert!(alice.is_closed() && bob.is_closed());
}

fn on(spawner: impl Spawn + Clone) -> impl Fn() -> Builder {
    move || InetEndpoint::builder().spawner(spawner.clone())
}

/// The closure that starts an endpoint's tasks on a tokio runtime.
fn on_tokio(runtime: &tokio::runtime::Runtime) -> impl Fn(Task) + Send + Sync + Clone + 'static {
    let runtime = runtime.handle().clone();
    move |task| drop(runtime.spawn(task))
}

#[test]
fn smol_global() {
    within("exchange", exchange(InetEndpoint::builder));
}

#[test]
fn one_thread_that_the_caller_drives() {
    let executor = Arc::new(Executor::new());
    let weak = Arc::downgrade(&executor);
    within("exchange", executor.run(exchange(on(weak))));
}

#[test]
fn many_threads_that_the_caller_drives() {
    // Made for ever, as a program would that has one for its whole life.
    let executor: &'static Executor<'static> = Box::leak(Box::new(Executor::new()));
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let threads = [0; 4].map(|_| {
        let stopped = stopped.clone();
        std::thread::spawn(move || {
            let _ = smol::block_on(executor.run(stopped.recv()));
        })
    });
    within("exchange", exchange(on(executor)));
    drop(stop);
    for thread in threads {
        thread.join().expect("a thread");
    }
}

#[test]
fn tokio_on_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let work = exchange(on(on_tokio(&runtime)));
    within("exchange", async { runtime.spawn(work).await.expect("no panic") });
}

#[test]
fn tokio_on_the_current_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let spawner = on_tokio(&runtime);
    runtime.block_on(exchange(on(spawner)));
}

#[test]
fn a_thread_for_every_task() {
    let spawner = |task: Task| drop(std::thread::spawn(|| smol::block_on(task)));
    within("exchange", exchange(on(spawner)));
}

#[test]
fn an_executor_that_is_gone_is_an_error_at_start() {
    let gone: Weak<Executor<'static>> = Weak::new();
    let started = within("start", InetEndpoint::builder().spawner(gone).start());
    assert!(matches!(started, Err(StartError::ExecutorGone)));
}

/// The endpoint goes on without what the task would have served.
#[test]
fn a_single_task_that_is_dropped_takes_only_its_own_away() {
    let drops = Arc::new(AtomicBool::new(false));
    let spawner = {
        let drops = drops.clone();
        move |task: Task| match drops.load(Ordering::SeqCst) {
            true => drop(task),
            false => smol::spawn(task).detach(),
        }
    };
    let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").spawner(spawner));
    let (_stays, target) = node.accept_plain(STANDARD, 1);
    drops.store(true, Ordering::SeqCst);
    PlainPeer::connect(node.port()).expect_end();
    let lost = within("add_peers", node.endpoint.add_peers(["127.0.0.1:1"])).expect("a target");
    node.removed(lost[0]);
    assert!(!node.endpoint.is_closed());
    drops.store(false, Ordering::SeqCst);
    node.serves("a dropped task");
    assert_eq!(node.info(target).links, 1);
}

/// Drops the executor of an endpoint that waits, and expects the wait to end.
fn ends_with_its_executor<T>(wait: impl AsyncFnOnce(InetEndpoint) -> T) -> T {
    let executor = Arc::new(Executor::new());
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").spawner(Arc::downgrade(&executor));
    let endpoint = within("start", builder.start()).expect("start");
    within("the end of the wait", async {
        let mut waiting = std::pin::pin!(wait(endpoint));
        let pending = futures_lite::future::poll_once(&mut waiting).await;
        assert!(pending.is_none(), "nothing to wait for");
        drop(executor);
        waiting.await
    })
}

#[test]
fn next_events_and_shutdown_end_with_the_executor() {
    let next = ends_with_its_executor(async |endpoint: InetEndpoint| endpoint.next().await);
    assert_eq!(next.unwrap_err(), Closed);
    ends_with_its_executor(async |endpoint: InetEndpoint| {
        let events = endpoint.events();
        while events.next().await.is_ok() {}
    });
    ends_with_its_executor(async |endpoint: InetEndpoint| endpoint.shutdown().await);
}

#[test]
fn a_send_that_waits_for_room_ends_with_the_executor() {
    let executor = Arc::new(Executor::new());
    let mut limits = quick();
    limits.send_timeout = Duration::from_secs(3600);
    limits.queue_frames = 1;
    let spawner = Arc::downgrade(&executor);
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits).spawner(spawner);
    let endpoint = within("start", builder.start()).expect("start");
    let port = endpoint.port().expect("a port");
    let dialing = std::thread::spawn(move || PlainPeer::dial(port, STANDARD, 1));
    let events = endpoint.events();
    let up = executor.run(async { while !matches!(events.next().await, Ok(Event::Up { .. })) {} });
    within("a link", up);
    let frame = parsed(&numbered(0, 60_000));
    within("the end of the wait", async {
        // Until the socket is full too: the first ones are written from here.
        while endpoint.try_send(0.into(), frame.clone()).is_ok() {}
        let mut waiting = std::pin::pin!(endpoint.send(0.into(), frame.clone()));
        assert!(future::poll_once(&mut waiting).await.is_none(), "room for another");
        drop(executor);
        assert_eq!(waiting.await.expect_err("nobody sends it").into_frame(), frame);
    });
    drop(dialing.join().expect("a peer"));
}

#[test]
fn queued_frames_come_back_when_the_executor_is_dropped() {
    let executor = Arc::new(Executor::new());
    let builder = InetEndpoint::builder().spawner(Arc::downgrade(&executor));
    let endpoint = within("start", builder.start()).expect("start");
    let target = within("add", endpoint.add_peers(["127.0.0.1:1"])).expect("add_peers")[0];
    let frame = Frame::builder(8, endpoint.router_id()).build().expect("a frame");
    endpoint.try_send(target, frame.clone()).expect("try_send");
    drop(executor);
    assert!(endpoint.is_closed());
    assert_eq!(endpoint.take_unconfirmed(target), [frame]);
    assert!(endpoint.peers().is_empty());
}

/// Tasks that are polled together, and dropped in whatever order a test likes.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<Task>>>);

impl Tasks {
    /// Polls all of them; they never all end.
    fn poll<T>(&self, cx: &mut Context<'_>) -> Poll<T> {
        // Those that they spawn are there the next time.
        let mut tasks = std::mem::take(&mut *self.0.lock().expect("no panic"));
        tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
        let mut spawned = self.0.lock().expect("no panic");
        if !spawned.is_empty() {
            cx.waker().wake_by_ref();
        }
        tasks.append(&mut spawned);
        *spawned = tasks;
        Poll::Pending
    }
}

#[test]
fn frames_in_flight_arrive_or_come_back_when_the_executor_is_dropped() {
    const FRAMES: u32 = 400;
    for is_last_first in [false, true] {
        let tasks = Tasks::default();
        let mut limits = quick();
        // More than the kernel's buffers on both sides can take.
        limits.queue_bytes = 48 << 20;
        let spawned = tasks.clone();
        let spawner = move |task| spawned.0.lock().expect("no panic").push(task);
        let builder = InetEndpoint::builder().limits(limits).spawner(spawner);
        let endpoint = within("start", builder.start()).expect("start");
        let listener = PlainListener::bind();
        let addr = listener.addr("");
        let answering = std::thread::spawn(move || listener.answer(STANDARD, 5));
        let writing = async {
            let events = endpoint.events();
            let target = endpoint.add_peers([addr]).await.expect("add_peers")[0];
            while !matches!(events.next().await, Ok(Event::Up { .. })) {}
            for number in 0..FRAMES {
                endpoint.try_send(target, parsed(&numbered(number, 60_000))).expect("try_send");
            }
            while endpoint.peers()[0].frames_sent == 0 {
                future::yield_now().await;
            }
            target
        };
        let running = future::poll_fn(|cx| tasks.poll(cx));
        let target = within("write", future::or(writing, running));

        let mut tasks = std::mem::take(&mut *tasks.0.lock().expect("no panic"));
        if is_last_first {
            tasks.reverse();
        }
        tasks.into_iter().for_each(drop);
        let mut peer = answering.join().expect("a peer");
        // It ends, though the handle of the endpoint is still there.
        let (bytes, _) = peer.read_to_end();
        let arrived = (0..).map_while(|at| bytes.get(at * 60_045..(at + 1) * 60_045));
        let mut numbers: Vec<u32> = arrived.map(|message| number_of(&message[4..])).collect();
        let back = endpoint.take_unconfirmed(target);
        numbers.extend(back.iter().map(|frame| number_of(frame.as_bytes())));
        assert_eq!(numbers, (0..FRAMES).collect::<Vec<_>>(), "{} came back", back.len());
    }
}

/// Keeps the compiler honest: all of the endpoint's futures can move between threads.
#[test]
fn futures_are_send() {
    fn is_send<T: Future + Send>(future: T) -> T {
        future
    }
    let executor = Arc::new(Executor::new());
    let builder = InetEndpoint::builder().spawner(Arc::downgrade(&executor));
    let endpoint = within("start", is_send(builder.start())).expect("start");
    let frame = Frame::builder(8, endpoint.router_id()).build().expect("a frame");
    drop(is_send(endpoint.next()));
    drop(is_send(endpoint.send(0.into(), frame)));
    drop(is_send(endpoint.add_peers(["127.0.0.1:1"])));
    drop(is_send(endpoint.remove_peer(0.into())));
    drop(is_send(endpoint.shutdown()));
    drop(is_send(endpoint.routes().exists(0.into())));
}
