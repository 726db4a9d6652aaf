//! The driver beside nodes with Ratman's own.

use crate::lines::line;
use crate::node::TEAR_INTERVAL;
use crate::process::Node;
use crate::restarts::MESSAGE;
use crate::scale::{MB, MIB};
use crate::transfers::{Stream, assert_clean, exchange, pair};

#[test]
fn a_stream_arrives_at_a_plain_node_that_is_dialed() {
    let (mut ours, mut plain, _) = pair(Node::start(1), Node::start_plain(2), None);
    Stream::start(&mut ours, &plain, 0, 8 * MB).wait(&mut ours, &mut plain);
    assert_clean([&mut ours, &mut plain]);
}

/// Only this way: a plain node cannot send to a neighbour that it dials.
#[test]
fn a_stream_arrives_at_a_plain_node_that_dials() {
    let (mut plain, mut ours, _) = pair(Node::start_plain(2), Node::start(1), None);
    Stream::start(&mut ours, &plain, 0, 8 * MB).wait(&mut ours, &mut plain);
    assert_clean([&mut ours, &mut plain]);
}

/// A plain node sends every announcement back over a link that it dialed.
#[test]
fn announcements_that_plain_dialers_send_back_make_no_routes() {
    let mut nodes = [Node::start(1), Node::start_plain(2), Node::start_plain(3), Node::start(4)];
    let [hub, spokes @ ..] = &mut nodes;
    spokes.iter_mut().for_each(|spoke| spoke.peer(hub));
    let [left, right, last] = spokes;
    last.wait_for_route(left);
    last.wait_for_route(right);
    let streams = [Stream::start(last, left, 0, MIB), Stream::start(last, right, 1, MIB)];
    streams[0].wait(last, left);
    streams[1].wait(last, right);
    let at_last = last.figures();
    assert_eq!((at_last.count("repeated_2"), at_last.count("repeated_3")), (0, 0), "{at_last:?}");
    assert_clean(&mut nodes);
}

#[test]
fn streams_cross_between_two_plain_nodes() {
    let mut nodes = [Node::start_plain(1), Node::start(2), Node::start_plain(3)];
    let [left, ours, right] = &mut nodes;
    ours.peer(left);
    ours.peer(right);
    left.wait_for_route(right);
    right.wait_for_route(left);
    exchange(left, right, 0, MIB);
    assert_clean(&mut nodes);
}

#[test]
fn both_ways_work_if_a_plain_node_and_ours_dial_each_other() {
    for ours_is_first in [true, false] {
        let (mut ours, mut plain) = (Node::start(1), Node::start_plain(2));
        match ours_is_first {
            true => dial_in_turn(&mut ours, &mut plain),
            false => dial_in_turn(&mut plain, &mut ours),
        }
        ours.wait_for_route(&plain);
        // By the link that it accepted. Until there is one, its route is by a name that it cannot
        // send to.
        plain.wait(&format!("route {} by {}", ours.id, ours.id));
        exchange(&mut ours, &mut plain, 0, MB);
        exchange(&mut ours, &mut plain, 1, MB);
        assert_eq!(ours.figures().neighbours(), plain.id.to_string());
        assert_clean([&mut ours, &mut plain]);
    }
}

/// The second dials once the link of the first is up.
fn dial_in_turn(first: &mut Node, second: &mut Node) {
    for (dialer, listener) in [(0, 1), (1, 0)] {
        let mut nodes = [&mut *first, &mut *second];
        let addr = nodes[listener].addr.clone();
        nodes[dialer].command(&format!("peer {addr}"));
        nodes.iter_mut().for_each(|node| {
            node.wait("up ");
        });
    }
}

/// What a plain node tears is lost, and so is the link: it is closed and dialed again.
#[test]
fn messages_pass_after_a_plain_node_has_torn_a_frame() {
    let (mut ours, mut plain, _) = pair(Node::start(1), Node::start_tearing(2), None);
    ours.wait("up ");
    plain.wait("up ");
    // Enough for one torn frame, and not enough for another over the next link.
    let bytes = u64::from(TEAR_INTERVAL) * 1_300;
    plain.command(&format!("stream {} 0 {bytes}", ours.id));
    let (_, reason) = ours.wait("down ");
    assert!(reason.contains("out of step"), "{reason}");
    plain.wait("sent 0 ");
    ours.wait("up ");
    plain.wait("up ");
    exchange(&mut ours, &mut plain, 1, MESSAGE);
}

#[test]
fn a_line_with_a_plain_node_in_the_middle() {
    let mut nodes = [Node::start(1), Node::start_plain(2), Node::start(3)];
    let [first, plain, last] = &mut nodes;
    first.peer(plain);
    last.peer(plain);
    first.wait_for_route(last);
    last.wait_for_route(first);
    exchange(first, last, 0, MIB);
    assert_clean(&mut nodes);
}

#[test]
fn a_line_of_ours_behind_a_plain_node() {
    let mut nodes = [Node::start(1), Node::start(2), Node::start_plain(3)];
    line(&mut nodes);
    let [first, _, last] = &mut nodes;
    exchange(first, last, 0, MIB);
    assert_clean(&mut nodes);
}
