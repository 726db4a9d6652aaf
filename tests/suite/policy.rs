//! Who may come in, changed while the endpoint runs.

use netmod_inet::AddPeersError::{self, TooMany};
use netmod_inet::{AcceptPolicy, DropReason, Id, InetEndpoint};

use crate::scripted::{PlainListener, PlainPeer, STANDARD, hello, prefixed};
use crate::subject::{Node, quick, within};

/// Asserts that the policy drops a connection that sends a Hello.
fn assert_refused(node: &mut Node, id: u8) {
    let mut connection = PlainPeer::connect(node.port());
    // The endpoint may have closed already.
    let _ = connection.try_write(&prefixed(&hello(STANDARD, 0, id)));
    assert!(matches!(node.dropped(&connection), DropReason::NotAllowed));
}

#[test]
fn ranges_decide_and_may_change() {
    let mut node = Node::listening();
    let (_stays, inside) = node.accept_plain(STANDARD, 1);
    let local = || "127.0.0.0/8".parse().expect("a range");
    let elsewhere = || "192.0.2.0/24".parse().expect("a range");
    for (policy, is_admitted) in [
        (AcceptPolicy::all().deny(local()), false),
        (AcceptPolicy::all().deny(elsewhere()), true),
        (AcceptPolicy::all().allow(elsewhere()), false),
        (AcceptPolicy::none(), false),
        (AcceptPolicy::none().allow(local()), true),
        (AcceptPolicy::none().allow(local()).deny("127.0.0.1".parse().expect("one")), false),
        (AcceptPolicy::all(), true),
    ] {
        node.endpoint.set_accept_policy(policy.clone());
        match is_admitted {
            true => drop(node.accept_plain(STANDARD, 2)),
            false => assert_refused(&mut node, 2),
        }
    }
    assert_eq!(node.info(inside).links, 1, "an admitted peer stays");
}

#[test]
fn a_change_applies_to_handshakes_in_progress() {
    let mut node = Node::listening();
    let hello = prefixed(&hello(STANDARD, 0, 2));
    let mut connection = PlainPeer::connect(node.port());
    connection.write(&hello[..50]);
    // It was accepted by then, since it came first.
    drop(node.accept_plain(STANDARD, 1));
    node.endpoint.set_accept_policy(AcceptPolicy::none());
    connection.write(&hello[50..]);
    assert!(matches!(node.dropped(&connection), DropReason::NotAllowed));
    connection.expect_end();
}

#[test]
fn only_configured_addresses_are_known() {
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(quick());
    let mut node = Node::built(builder.accept(AcceptPolicy::known()));
    assert_refused(&mut node, 3);
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let (_peer, _) = node.accept_plain(STANDARD, 3);
    node.remove(target);
    assert_refused(&mut node, 3);
}

#[test]
fn the_callback_gets_the_claimed_id() {
    let policy = AcceptPolicy::all().callback(|incoming| {
        incoming.addr.ip().is_loopback() && incoming.id == Id::from_bytes([4; 32])
    });
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()).accept(policy);
    let mut node = Node::built(builder);
    assert_refused(&mut node, 3);
    let (_peer, _) = node.accept_plain(STANDARD, 4);
}

#[test]
fn more_peers_than_the_limit_are_refused() {
    let mut node = for_two();
    let (first, target) = node.accept_plain(STANDARD, 1);
    let (_second, _) = node.accept_plain(STANDARD, 2);
    let mut third = PlainPeer::connect(node.port());
    third.send(&hello(STANDARD, 0, 3));
    assert!(matches!(node.dropped(&third), DropReason::TooManyPeers));
    drop(first);
    node.removed(target);
    let (_third, _) = node.accept_plain(STANDARD, 3);
}

/// An endpoint with a limit of two inbound peers, and of two that it dials.
fn for_two() -> Node {
    let mut limits = quick();
    limits.peers = 2;
    Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits))
}

fn adds(node: &Node, addrs: &[&str]) -> Result<usize, AddPeersError> {
    let added = within("add_peers", node.endpoint.add_peers(addrs));
    added.map(|targets| targets.len())
}

#[test]
fn inbound_peers_leave_capacity_for_outbound_ones() {
    let mut node = for_two();
    let _inbound = [1, 2].map(|id| node.accept_plain(STANDARD, id));
    assert_eq!(adds(&node, &["192.0.2.1:9", "192.0.2.2:9", "192.0.2.3:9"]), Err(TooMany));
    assert_eq!(adds(&node, &["192.0.2.1:9", "192.0.2.2:9"]), Ok(2));
    assert_eq!(adds(&node, &["192.0.2.3:9"]), Err(TooMany));
}

#[test]
fn outbound_peers_leave_capacity_for_inbound_ones() {
    let mut node = for_two();
    assert_eq!(adds(&node, &["192.0.2.1:9", "192.0.2.2:9"]), Ok(2));
    let _inbound = [1, 2].map(|id| node.accept_plain(STANDARD, id));
    let mut third = PlainPeer::connect(node.port());
    third.send(&hello(STANDARD, 0, 3));
    assert!(matches!(node.dropped(&third), DropReason::TooManyPeers));
}

#[test]
fn a_dialed_peer_may_dial_in_though_inbound_capacity_is_exhausted() {
    let mut node = for_two();
    let _inbound = [1, 2].map(|id| node.accept_plain(STANDARD, id));
    let listener = PlainListener::bind();
    node.add(&listener.addr(""));
    let _from_there = [3, 4].map(|id| node.accept_plain(STANDARD, id));
    let mut fifth = PlainPeer::connect(node.port());
    fifth.send(&hello(STANDARD, 0, 5));
    assert!(matches!(node.dropped(&fifth), DropReason::TooManyPeers), "there is a bound");
}
