//! Code of the caller that panics: it costs one call, not a peer, a listener or the endpoint.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use netmod_inet::{
    AcceptPolicy, AttemptError, Event, InetEndpoint, Resolve, ResolveFuture, Spawn, Task,
};

use crate::scripted::{PlainListener, PlainPeer, STANDARD, hello, prefixed};
use crate::subject::{Node, quick};

/// Panics twice, in the call and in the future, and then answers.
struct Stumbling {
    port: u16,
    asked: AtomicUsize,
}

impl Resolve for Stumbling {
    fn resolve(&self, _: &str, _: u16) -> ResolveFuture {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        assert_ne!(asked, 0, "on purpose: the resolver, when it is called");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        Box::pin(async move {
            assert_ne!(asked, 1, "on purpose: the resolver, when it is polled");
            Ok(vec![addr])
        })
    }
}

#[test]
fn a_panicking_resolver_is_a_failed_lookup() {
    let listener = PlainListener::bind();
    let resolver = Stumbling { port: listener.port(), asked: AtomicUsize::new(0) };
    let mut node = Node::built(InetEndpoint::builder().limits(quick()).resolver(resolver));
    let target = node.add("mynas.example:9000");
    for _ in 0..2 {
        let AttemptError::Resolve(error) = node.attempt(target) else { panic!("another error") };
        assert_eq!(error.to_string(), "the resolver panicked");
    }
    let _peer = listener.answer(STANDARD, 5);
    assert_eq!(node.up().0, target);
}

#[test]
fn a_panicking_accept_callback_accepts_nobody() {
    let policy = AcceptPolicy::all().callback(|incoming| {
        assert_ne!(incoming.id.as_bytes(), &[7; 32], "on purpose: the accept callback");
        true
    });
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()).accept(policy);
    let mut node = Node::built(builder);
    let mut stranger = PlainPeer::connect(node.port());
    stranger.write(&prefixed(&hello(STANDARD, 0, 7)));
    assert_eq!(node.dropped(&stranger).to_string(), "the accept callback panicked");
    stranger.expect_end();
    node.serves("a panic of the accept callback");
}

/// Panics once, on demand.
#[derive(Clone, Default)]
struct Tripping(Arc<AtomicUsize>);

impl Spawn for Tripping {
    fn spawn(&self, task: Task) {
        let armed = self.0.swap(0, Ordering::Relaxed);
        assert_eq!(armed, 0, "on purpose: the spawner");
        smol::spawn(task).detach();
    }
}

#[test]
fn a_panicking_spawner_loses_one_task() {
    let spawner = Tripping::default();
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(quick());
    let mut node = Node::built(builder.spawner(spawner.clone()));
    let (_good, _) = node.accept_plain(STANDARD, 5);
    spawner.0.store(1, Ordering::Relaxed);
    let mut stranger = PlainPeer::connect(node.port());
    let is_failure = |event: &Event| event.to_string().contains("the spawner panicked");
    node.wait("event of the spawner", |event| is_failure(event).then_some(()));
    stranger.expect_end();
    node.serves("a panic of the spawner");
    // A peer whose task is lost ends, with an event; the call that added it returns.
    spawner.0.store(1, Ordering::Relaxed);
    let target = node.add("127.0.0.1:9");
    node.removed(target);
    node.serves("another panic of the spawner");
}
