//! Streams along a line of nodes, whose middle ones forward inside the loop that calls `next`.

use std::time::Duration;

use crate::process::Node;
use crate::proxy::{Path, Proxy};
use crate::scale::{MB, scaled};
use crate::transfers::{Stream, assert_clean, exchange};

/// No middle node may be without a frame for so long while streams are on. The requirement is a
/// second, on a machine that does nothing else.
const LONGEST_GAP: Duration = Duration::from_secs(10);

/// Nodes of which each dials the next, with routes between the first and the last.
pub(crate) fn line(nodes: &mut [Node]) {
    for at in 1..nodes.len() {
        let (before, after) = nodes.split_at_mut(at);
        before[at - 1].peer(&after[0]);
    }
    let [first, .., last] = nodes else { panic!("a line has two ends") };
    first.wait_for_route(last);
    last.wait_for_route(first);
}

fn streams_cross_on_a_line_of(len: u8) {
    let mut nodes: Vec<_> = (1..=len).map(Node::start).collect();
    line(&mut nodes);
    let [first, middle @ .., last] = &mut nodes[..] else { unreachable!() };
    exchange(first, last, 0, scaled(8 * MB, 32 * MB));
    for node in middle {
        let figures = node.figures();
        let (gap, pause) = (figures.count("gap_ms"), figures.count("pause_ms"));
        println!("node {} of {len}: longest gap {gap} ms, longest pause {pause} ms", node.id);
        assert!(Duration::from_millis(gap) < LONGEST_GAP, "{figures:?}");
    }
    assert_clean(&mut nodes);
}

#[test]
fn streams_cross_on_a_line_of_three() {
    streams_cross_on_a_line_of(3);
}

#[test]
fn streams_cross_on_a_line_of_four() {
    streams_cross_on_a_line_of(4);
}

/// The middle node sends as well, beside the loop in which it forwards.
#[test]
fn each_node_of_a_line_sends_to_each_other() {
    let mut nodes: Vec<_> = (1..=3).map(Node::start).collect();
    line(&mut nodes);
    let pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
    let mut streams = Vec::new();
    for (number, (from, to)) in (0..).zip(pairs) {
        let [from, to] = nodes.get_disjoint_mut([from, to]).expect("two nodes");
        streams.push(Stream::start(from, to, number, scaled(4 * MB, 32 * MB)));
    }
    for (stream, (from, to)) in streams.iter().zip(pairs) {
        let [from, to] = nodes.get_disjoint_mut([from, to]).expect("two nodes");
        stream.wait(from, to);
    }
    assert_clean(&mut nodes);
}

/// The middle node receives faster than it can forward, and must not stop receiving.
fn a_stream_arrives_behind_a_link_of(mbit: u32, bytes: u64) {
    let mut nodes: Vec<_> = (1..=3).map(Node::start).collect();
    let [first, middle, last] = &mut nodes[..] else { unreachable!() };
    let proxy = Proxy::start(&last.addr, Path::mbit(mbit));
    first.peer(middle);
    middle.command(&format!("peer {}", proxy.addr));
    first.wait_for_route(last);
    last.wait_for_route(first);
    let stream = Stream::start(first, last, 0, bytes);
    // Passes the first stream on its way, in the same loop.
    let back = Stream::start(last, first, 0, MB);
    back.wait(last, first);
    stream.wait(first, last);
    let pause = middle.figures().count("pause_ms");
    println!("longest pause {pause} ms");
    // Or the last node takes the middle one for gone.
    assert_eq!(last.figures().count("missed_2"), 0, "announcements behind the stream");
    assert!(Duration::from_millis(pause) < LONGEST_GAP, "{pause} ms");
    assert_clean(&mut nodes);
}

#[test]
fn a_stream_arrives_behind_a_slow_link() {
    a_stream_arrives_behind_a_link_of(40, scaled(8 * MB, 32 * MB));
}
