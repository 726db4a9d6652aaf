//! Announcements: they reach every node once, and never come home.

use std::time::{Duration, Instant};

use crate::process::{DEADLINE, Node};
use crate::transfers::assert_clean;

/// Announcements that each node floods at once.
const COUNT: u64 = 200;

/// Has all nodes flood at once. Then, twice, each floods one more after it has everything from the
/// others: whatever echoes is ahead of that on its link, and has arrived.
fn flood(nodes: &mut [Node]) {
    for count in [COUNT, 1, 1] {
        nodes.iter_mut().for_each(|node| node.command(&format!("announce {count}")));
        let own: Vec<_> =
            nodes.iter_mut().map(|node| (node.id, node.figures().count("own"))).collect();
        nodes.iter_mut().for_each(|node| wait_for_announcements(node, &own));
    }
}

/// Waits until a node has at least so many announcements of each other.
fn wait_for_announcements(node: &mut Node, expected: &[(u8, u64)]) {
    let others: Vec<_> = expected.iter().filter(|(id, _)| *id != node.id).collect();
    let (mut deadline, mut best) = (Instant::now() + DEADLINE, 0);
    loop {
        let figures = node.figures();
        let arrived = |id: u8| figures.count(&format!("announced_{id}"));
        if others.iter().all(|(id, count)| arrived(*id) >= *count) {
            return;
        }
        let sum = others.iter().map(|(id, _)| arrived(*id)).sum();
        if sum > best {
            (deadline, best) = (Instant::now() + DEADLINE, sum);
        }
        assert!(Instant::now() < deadline, "{figures:?}, of {expected:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Fails unless each node knows the routes to all others, has each announcement once, and none of
/// its own.
fn assert_once_each(nodes: &mut [Node]) {
    let ids: Vec<_> = nodes.iter().map(|node| node.id).collect();
    for node in nodes.iter_mut() {
        let figures = node.figures();
        for id in ids.iter().filter(|id| **id != node.id) {
            assert_eq!(figures.count(&format!("repeated_{id}")), 0, "{figures:?}");
        }
        figures.assert_clean();
    }
}

/// Waits until each node has a route to each other.
fn wait_for_routes(nodes: &mut [Node]) {
    for at in 0..nodes.len() {
        let (before, rest) = nodes.split_at_mut(at);
        let (node, after) = rest.split_first_mut().expect("a node");
        before.iter().chain(after.iter()).for_each(|other| node.wait_for_route(other));
    }
}

#[test]
fn a_flood_reaches_every_node_of_a_star_once() {
    let mut nodes: Vec<_> = (1..=4).map(Node::start).collect();
    let (hub, spokes) = nodes.split_first_mut().expect("a hub");
    // Some dial the hub, one is dialed by it.
    spokes[0].peer(hub);
    spokes[1].peer(hub);
    hub.peer(&spokes[2]);
    wait_for_routes(&mut nodes);
    flood(&mut nodes);
    assert_once_each(&mut nodes);
}

#[test]
fn a_flood_reaches_every_node_of_a_tree_once() {
    let mut nodes: Vec<_> = (1..=5).map(Node::start).collect();
    for (child, parent) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
        let (before, rest) = nodes.split_at_mut(child);
        rest[0].peer(&before[parent]);
    }
    wait_for_routes(&mut nodes);
    flood(&mut nodes);
    assert_once_each(&mut nodes);
}

/// Two links between the same nodes are merged, or carry each flood once.
#[test]
fn a_flood_does_not_come_home_over_a_second_link() {
    let mut nodes: Vec<_> = (1..=3).map(Node::start).collect();
    let [one, two, three] = &mut nodes[..] else { unreachable!() };
    one.peer(two);
    two.peer(one);
    three.peer(two);
    wait_for_routes(&mut nodes);
    flood(&mut nodes);
    assert_clean(&mut nodes);
}
