//! Two nodes that have two links end with one peer each, and no frame is lost or doubled.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_lite::future;
use netmod_inet::{InetEndpoint, PeerState, Target};

use super::cuts::from_environment;
use super::proxy::{Break, Proxy};
use crate::scripted::{number_of, numbered};
use crate::subject::{Node, parsed, quick, within};

/// Waits until each of two endpoints has one peer, which is up.
async fn settled(a: &InetEndpoint, b: &InetEndpoint) {
    let one = |endpoint: &InetEndpoint| {
        let peers = endpoint.peers();
        peers.len() == 1 && peers[0].state == PeerState::Up
    };
    while !(one(a) && one(b)) {
        smol::Timer::after(Duration::from_millis(1)).await;
    }
}

/// Sends frames to a target that may become an alias meanwhile.
async fn send(endpoint: &InetEndpoint, target: Target, count: u32) {
    for number in 0..count {
        let frame = parsed(&numbered(number, 500));
        endpoint.send(target, frame).await.expect("room");
        if number % 10 == 0 {
            future::yield_now().await;
        }
    }
}

/// Takes frames until `count` came: each number must come once, and those of one sender in order.
async fn receive(endpoint: &InetEndpoint, count: u32, case: &str) {
    let mut next = 0;
    while next < count {
        let (_, frame) = endpoint.next().await.expect("a running endpoint");
        assert_eq!(number_of(frame.as_bytes()), next, "{case}: lost, doubled or out of order");
        next += 1;
    }
}

fn listening() -> Node {
    Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()))
}

fn listening_twice() -> Node {
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").bind("127.0.0.2:0");
    Node::built(builder.limits(quick()))
}

/// The work has to end in time; otherwise the test fails and shows the peers of both.
fn in_time(case: &str, a: &InetEndpoint, b: &InetEndpoint, work: impl Future<Output = ()>) {
    let late = async {
        smol::Timer::after(Duration::from_secs(20)).await;
        panic!("{case}: late; {:#?} and {:#?}", a.peers(), b.peers());
    };
    smol::block_on(future::or(work, late));
}

#[test]
fn nodes_that_dial_each_other_end_with_one_peer() {
    let races = from_environment("RACES", 30);
    let seed = from_environment("SEED", fastrand::u64(..));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for race in 0..races {
        let (a, b) = (listening(), listening());
        let case = format!("seed {seed} race {race}");
        let delays = [random.u64(0..3000), random.u64(0..3000)];
        let dial = |from: &Node, to: &Node, delay| {
            let (from, to) = (from.endpoint.clone(), format!("127.0.0.1:{}X", to.port()));
            async move {
                smol::Timer::after(Duration::from_micros(delay)).await;
                let target = from.add_peers([to]).await.expect("add_peers")[0];
                send(&from, target, 100).await;
            }
        };
        let work = async {
            let dials = future::zip(dial(&a, &b, delays[0]), dial(&b, &a, delays[1]));
            let receives =
                future::zip(receive(&a.endpoint, 100, &case), receive(&b.endpoint, 100, &case));
            future::zip(dials, receives).await;
            settled(&a.endpoint, &b.endpoint).await;
        };
        in_time(&case, &a.endpoint, &b.endpoint, work);
        let links: Vec<_> = [&a, &b].map(|node| node.endpoint.peers()[0].links).to_vec();
        // Nothing flaps once it has settled, and both targets lead to the same peer.
        exchange_over_every_target(&a, &b);
        let after: Vec<_> = [&a, &b].map(|node| node.endpoint.peers()[0].links).to_vec();
        assert_eq!(links, after, "{case}");
    }
    println!("{races} races: one peer each, 0 frames lost, 0 doubled, 0 out of order");
}

/// Sends over the target that the node dialed and over the one that is left.
fn exchange_over_every_target(a: &Node, b: &Node) {
    for (from, to) in [(a, b), (b, a)] {
        let left = from.endpoint.peers()[0].target;
        for (number, target) in [0.into(), 1.into(), left].into_iter().enumerate() {
            let frame = numbered(1000 + number as u32, 20);
            from.try_send(target, &frame);
            assert_eq!(to.next().1.as_bytes(), frame);
        }
    }
}

#[test]
fn two_addresses_of_one_node_are_one_peer() {
    let (far, near) = (listening_twice(), Node::dial_only());
    let addrs = far.endpoint.local_addrs();
    let targets = within("add", near.endpoint.add_peers(&addrs)).expect("add_peers");
    in_time("two addresses", &near.endpoint, &far.endpoint, async {
        let mut expected = BTreeMap::new();
        for number in 0..400u32 {
            let target = targets[number as usize % 2];
            expected.insert(number, target);
            near.endpoint.send(target, parsed(&numbered(number, 300))).await.expect("room");
        }
        while !expected.is_empty() {
            let (_, frame) = far.endpoint.next().await.expect("a running endpoint");
            let number = number_of(frame.as_bytes());
            assert!(expected.remove(&number).is_some(), "frame {number} came twice");
        }
        settled(&near.endpoint, &far.endpoint).await;
    });
    let again = within("add", near.endpoint.add_peers([addrs[0]]));
    assert!(again.is_err(), "the address that was parked is still known");
}

#[test]
fn both_ends_restore_the_one_link_that_they_have() {
    let cuts = from_environment("REDIALS", 30);
    let seed = from_environment("SEED", fastrand::u64(..));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (a, b) = (listening(), listening());
    let (to_a, to_b) = (Proxy::to(a.port()), Proxy::to(b.port()));
    let case = format!("seed {seed}");
    within("add", a.endpoint.add_peers([to_b.address()])).expect("add_peers");
    within("add", b.endpoint.add_peers([to_a.address()])).expect("add_peers");
    in_time(&case, &a.endpoint, &b.endpoint, settled(&a.endpoint, &b.endpoint));
    for cut in 0..cuts {
        let how = [Break::Close, Break::Reset][random.usize(0..2)];
        let case = format!("{case} cut {cut}, {how:?}");
        let work = async {
            let cutting = async {
                smol::Timer::after(Duration::from_micros(random.u64(0..2000))).await;
                to_a.cut(how);
                to_b.cut(how);
            };
            let near =
                future::zip(send(&a.endpoint, 0.into(), 100), receive(&a.endpoint, 100, &case));
            let far =
                future::zip(send(&b.endpoint, 0.into(), 100), receive(&b.endpoint, 100, &case));
            future::zip(cutting, future::zip(near, far)).await;
            settled(&a.endpoint, &b.endpoint).await;
        };
        in_time(&case, &a.endpoint, &b.endpoint, work);
    }
    println!("{cuts} cuts, both ends redialing: one peer each, 0 lost, 0 doubled, 0 out of order");
}

/// Each carries what the other does not.
#[test]
fn two_links_that_are_limited_in_opposite_ways_stay_two() {
    let (far, near) = (listening_twice(), Node::dial_only());
    let ways = ["?limited=send", "?limited=recv"];
    let addrs = far.endpoint.local_addrs().into_iter().zip(ways);
    let addrs = addrs.map(|(addr, way)| format!("{addr}{way}"));
    let targets = within("add", near.endpoint.add_peers(addrs)).expect("add_peers");
    let up = |endpoint: &InetEndpoint| {
        let peers = endpoint.peers();
        peers.iter().filter(|peer| peer.state == PeerState::Up).count() == 2
    };
    near.until("two links", up);
    far.until("two links", up);
    for number in 0..50 {
        near.try_send(targets[0], &numbered(number, 10));
        let (from, frame) = far.next();
        assert_eq!(number_of(frame.as_bytes()), number);
        let peers = far.endpoint.peers();
        let back = peers.iter().find(|peer| peer.target != from).expect("the other link");
        far.try_send(back.target, &numbered(number, 10));
        let (from, frame) = near.next();
        assert_eq!((from, number_of(frame.as_bytes())), (targets[1], number));
    }
    assert_eq!((near.endpoint.peers().len(), far.endpoint.peers().len()), (2, 2));
}
