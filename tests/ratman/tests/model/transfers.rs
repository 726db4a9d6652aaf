//! Streams between two neighbours.

use std::time::Instant;

use crate::process::Node;
use crate::proxy::{Path, Proxy};
use crate::scale::{MB, MIB, scaled};

/// A stream: its number, its bytes, and what became of it.
pub(crate) struct Stream {
    number: u32,
    bytes: u64,
    started: Instant,
}

impl Stream {
    /// Has a node send a stream to another. Streams to the same node need different numbers.
    pub(crate) fn start(from: &mut Node, to: &Node, number: u32, bytes: u64) -> Stream {
        from.command(&format!("stream {} {number} {bytes}", to.id));
        Stream { number, bytes, started: Instant::now() }
    }

    /// Waits until the stream has arrived whole, as long as there is progress. Returns when that
    /// was.
    pub(crate) fn wait(&self, from: &mut Node, to: &mut Node) -> Instant {
        let (arrived, figures) = to.wait(&format!("arrived {} {} ", from.id, self.number));
        let (_, sent) = from.wait(&format!("sent {} ", self.number));
        let seconds = (arrived - self.started).as_secs_f64();
        let (bytes, from_id, to_id) = (self.bytes, from.id, to.id);
        println!("{bytes} bytes {from_id} -> {to_id} in {seconds:.2} s: {figures} {sent}");
        assert_eq!(sent, "refused=0");
        arrived
    }
}

/// Two neighbours with routes to each other. The first dials, perhaps over a proxy.
pub(crate) fn pair(
    dialer: Node,
    listener: Node,
    path: Option<Path>,
) -> (Node, Node, Option<Proxy>) {
    let (mut dialer, mut listener) = (dialer, listener);
    let proxy = path.map(|path| Proxy::start(&listener.addr, path));
    let addr = proxy.as_ref().map_or(listener.addr.clone(), |proxy| proxy.addr.to_string());
    dialer.command(&format!("peer {addr}"));
    dialer.wait_for_route(&listener);
    listener.wait_for_route(&dialer);
    (dialer, listener, proxy)
}

/// Sends a stream each way at once, and waits for both.
pub(crate) fn exchange(one: &mut Node, other: &mut Node, number: u32, bytes: u64) {
    let there = Stream::start(one, other, number, bytes);
    let back = Stream::start(other, one, number, bytes);
    there.wait(one, other);
    back.wait(other, one);
}

/// Fails if one of these nodes has lost a frame, or its own announcement came home.
pub(crate) fn assert_clean<'a>(nodes: impl IntoIterator<Item = &'a mut Node>) {
    nodes.into_iter().for_each(|node| node.figures().assert_clean());
}

#[test]
fn a_stream_arrives_whichever_neighbour_has_dialed() {
    let (mut dialer, mut listener, _) = pair(Node::start(1), Node::start(2), None);
    for round in 0..scaled(1, 10) {
        Stream::start(&mut dialer, &listener, round, 8 * MB).wait(&mut dialer, &mut listener);
        Stream::start(&mut listener, &dialer, round, 8 * MB).wait(&mut listener, &mut dialer);
    }
    assert_clean([&mut dialer, &mut listener]);
}

#[test]
fn streams_both_ways_at_once_arrive() {
    for _ in 0..scaled(1, 10) {
        let (mut dialer, mut listener, _) = pair(Node::start(1), Node::start(2), None);
        exchange(&mut dialer, &mut listener, 0, 8 * MB);
        assert_clean([&mut dialer, &mut listener]);
    }
}

#[test]
fn streams_both_ways_at_once_arrive_over_a_slow_path() {
    for _ in 0..scaled(1, 5) {
        let path = Some(Path::mbit(10));
        let (mut dialer, mut listener, _proxy) = pair(Node::start(1), Node::start(2), path);
        exchange(&mut dialer, &mut listener, 0, scaled(MIB, 4 * MIB));
        assert_clean([&mut dialer, &mut listener]);
    }
}
