//! A crowd that takes all places for strangers.

use std::net::Ipv4Addr;

use netmod_inet::{DownReason, Event, InetEndpoint, PeerState};

use super::stranger::{ID, INSTANCE, Link, dial_from};
use crate::resume::by_hand::{CLOSE, Wire, hello, new_extension};
use crate::scripted::{number_of, numbered};
use crate::subject::{Node, quick};

/// Inbound peers that the node may have; strangers may be seven eighths.
const PEERS: usize = 16;
const STRANGERS: usize = 14;

/// The address of the crowd, and of neighbours in other networks.
const CROWD: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

/// The reason of a goodbye: there are as many peers as there may be.
const BUSY: u8 = 1;

fn neighbour(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 10 + number, 1)
}

fn dial(node: &Node, source: Ipv4Addr, number: u8) -> Link {
    let mut instance = INSTANCE;
    instance[15] = number;
    Link::from(source, node.port(), instance)
}

fn up(node: &Node) -> usize {
    node.endpoint.peers().iter().filter(|peer| peer.state == PeerState::Up).count()
}

/// Regression: with the table full, nobody else was let in.
#[test]
fn a_crowd_at_one_address_leaves_places_for_neighbours_elsewhere() {
    let mut limits = quick();
    limits.peers = PEERS;
    let mut node = Node::started(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let mut crowd = Vec::new();
    for number in 0..STRANGERS {
        let mut link = dial(&node, CROWD, number as u8);
        link.wait_processed();
        crowd.push(link);
    }
    assert_eq!(up(&node), STRANGERS);
    // Half of the places go to others, each taken from the crowd.
    let mut neighbours = Vec::new();
    for number in 0..6 {
        let mut link = dial(&node, neighbour(number), 100 + number);
        link.wait_processed();
        neighbours.push(link);
        node.wait("end of one of the crowd", |event| match event {
            Event::Down { reason: DownReason::Evicted, .. } => Some(()),
            _ => None,
        });
    }
    // The newest of the crowd went first, with a goodbye that says why.
    let mut newest = crowd.pop().expect("a crowd");
    assert_eq!(newest.wire.expect_record(CLOSE)[0], BUSY);
    // The crowd gets nothing back, as long as it holds most.
    for number in 50..60 {
        let mut wire = Wire::over(dial_from(CROWD, node.port()));
        wire.send(&hello(ID, &new_extension(&[number; 16], [1; 16], [2; 16])));
        assert_eq!(wire.expect_record(CLOSE)[0], BUSY);
    }
    for (number, link) in neighbours.iter_mut().enumerate() {
        link.wire.send(&numbered(number as u32, 10));
        assert_eq!(number_of(node.next().1.as_bytes()), number as u32);
    }
}

#[cfg(feature = "noise")]
#[test]
fn nodes_with_a_pinned_key_have_a_reserve_and_take_places_back() {
    use netmod_inet::{Encryption, Id, KeyPair};
    let keys = |number| KeyPair::from_bytes([number; 32]);
    let id = |number| Id::from_bytes([number; 32]);
    let mut encryption = Encryption::new(keys(99));
    for number in 1..=3 {
        encryption = encryption.pin(id(number), Encryption::new(keys(number)).public());
    }
    let mut limits = quick();
    limits.peers = 8;
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits).encrypt(encryption);
    let mut node = Node::started(builder);
    let mut crowd: Vec<_> = (0..7).map(|number| dial(&node, CROWD, number)).collect();
    crowd.iter_mut().for_each(Link::wait_processed);
    let mut friends = Vec::new();
    for number in 1..=3 {
        let builder = InetEndpoint::builder().router_id(id(number)).limits(quick());
        let mut friend = Node::started(builder.encrypt(Encryption::new(keys(number))));
        friend.add(&format!("127.0.0.1:{}", node.port()));
        friend.up();
        friends.push(friend);
        if number > 1 {
            node.wait("end of one of the crowd", |event| match event {
                Event::Down { reason: DownReason::Evicted, .. } => Some(()),
                _ => None,
            });
        }
    }
    assert_eq!(up(&node), 8);
}
