//! Endpoints that exchange envelopes through Ratman's driver trait.
//!
//! Only to know when a link is up or gone do the tests look at the endpoint behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libratman::endpoint::EndpointExt;
use libratman::types::{Ident32, Neighbour};
use libratman::{NetmodError, NonfatalError, RatmanError};
use netmod_inet::{Id, InetEndpoint};
use netmod_inet_ratman::RatmanInet;

use crate::node::{Driver, Node, claimed, envelope, failure, given_back, text, within};

/// An id that nobody claims.
const STRANGER: [u8; 32] = [0x55; 32];

#[test]
fn two_endpoints_exchange_envelopes() {
    smol::block_on(async {
        let (mut a, mut b) = (Node::new(1).await, Node::new(2).await);
        let names = b.join(&mut a).await;
        assert_eq!(names, (claimed(1), claimed(2)));
        let sent = envelope(8, "hello");
        b.driver.send(sent.clone(), Neighbour::Single(claimed(1)), None).await.unwrap();
        let (got, from) = within("envelope", a.driver.next()).await.unwrap();
        assert_eq!((got, from), (sent, Neighbour::Single(claimed(2))));
        a.send("and back", from, None).await;
        assert_eq!(b.next().await, ("and back".to_owned(), claimed(1)));
    });
}

/// Whether an envelope for `target` without `exclude` is one for `who`.
fn is_for(who: Ident32, target: Neighbour, exclude: Option<Ident32>) -> bool {
    let meant = match target {
        Neighbour::Flood => true,
        Neighbour::FloodExcept(left_out) => left_out != who,
        Neighbour::Drop => false,
        Neighbour::Single(one) => one == who,
    };
    meant && exclude != Some(who)
}

#[test]
fn every_target_with_every_exclude() {
    smol::block_on(async {
        let mut hub = Node::new(9).await;
        let mut spokes = [Node::new(1).await, Node::new(2).await, Node::new(3).await];
        for spoke in &mut spokes {
            spoke.join(&mut hub).await;
        }
        let [one, two, stranger] = [claimed(1), claimed(2), Ident32::from(STRANGER)];
        let targets = [
            Neighbour::Flood,
            Neighbour::FloodExcept(one),
            Neighbour::FloodExcept(two),
            Neighbour::FloodExcept(stranger),
            Neighbour::Drop,
            Neighbour::Single(one),
            Neighbour::Single(two),
        ];
        let excludes = [None, Some(one), Some(two), Some(stranger)];
        let mut sent = Vec::new();
        for target in targets {
            for exclude in excludes {
                let text = format!("{target:?} without {exclude:?}");
                hub.send(&text, target, exclude).await;
                sent.push((text, target, exclude));
            }
        }
        // Behind everything else on each link, so that all else has arrived before it.
        hub.send("end", Neighbour::Flood, None).await;
        for (spoke, who) in spokes.iter().zip([one, two, claimed(3)]) {
            let mine = sent.iter().filter(|(_, target, exclude)| is_for(who, *target, *exclude));
            let expected: Vec<_> = mine.map(|(text, ..)| text.clone()).collect();
            assert!(!expected.is_empty());
            assert_eq!(spoke.texts_until("end").await, expected, "at {who}");
        }
    });
}

#[test]
fn next_loses_nothing_when_select_drops_it() {
    const COUNT: usize = 2_000;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut a, mut b) = (Node::new(1).await, Node::new(2).await);
        b.join(&mut a).await;
        let sender = tokio::spawn(async move {
            for number in 0..COUNT {
                b.send(&number.to_string(), Neighbour::Single(claimed(1)), None).await;
                tokio::task::yield_now().await;
            }
            b
        });
        let mut dropped = 0;
        let mut got = Vec::new();
        let collect = async {
            while got.len() < COUNT {
                tokio::select! {
                    biased;
                    next = a.driver.next() => got.push(text(&next.unwrap().0)),
                    () = tokio::task::yield_now() => dropped += 1,
                }
            }
        };
        within("envelope", collect).await;
        assert!(dropped > 0, "next was never dropped half-way");
        let expected: Vec<_> = (0..COUNT).map(|number| number.to_string()).collect();
        assert_eq!(got, expected);
        drop(sender.await.unwrap());
    });
}

#[test]
fn frames_of_a_peer_that_ended_still_have_its_name() {
    smol::block_on(async {
        let (mut hub, mut spoke) = (Node::new(9).await, Node::new(1).await);
        spoke.join(&mut hub).await;
        for number in 0..3 {
            spoke.send(&number.to_string(), Neighbour::Flood, None).await;
        }
        spoke.shutdown().await;
        let target = hub.removed().await;
        assert_eq!(hub.inet.neighbour(target), None);
        for number in 0..3 {
            assert_eq!(hub.next().await, (number.to_string(), claimed(1)));
        }
    });
}

#[test]
fn a_name_outlives_the_link() {
    smol::block_on(async {
        let (mut a, mut b) = (Node::new(1).await, Node::limited(2, |_| {}).await);
        let target = b.driver.start_peering(&a.addr()).await.unwrap();
        for round in 0..3 {
            assert_eq!(b.up().await, target.into());
            let there = a.up().await;
            assert_eq!(b.inet.neighbour(target), Some(claimed(1)), "round {round}");
            b.send("over this link", Neighbour::Single(claimed(1)), None).await;
            assert_eq!(a.next().await.0, "over this link");
            a.inet.endpoint().remove_peer(there).await.unwrap();
            assert_eq!(b.down().await, target.into());
            b.send("over the next", Neighbour::Single(claimed(1)), None).await;
            assert_eq!(a.next().await.0, "over the next");
        }
    });
}

#[test]
fn names_are_right_though_events_were_missed() {
    smol::block_on(async {
        let hub = Node::limited(9, |limits| limits.events = 2).await;
        let mut spokes = Vec::new();
        for id in 1..=6 {
            let mut spoke = Node::new(id).await;
            spoke.driver.start_peering(&hub.addr()).await.unwrap();
            spoke.up().await;
            spoke.send(&id.to_string(), Neighbour::Flood, None).await;
            spokes.push(spoke);
        }
        for _ in &spokes {
            let (text, from) = hub.next().await;
            assert_eq!(from, claimed(text.parse().unwrap()));
        }
    });
}

#[test]
fn frames_that_may_not_be_sent_are_refused_with_a_reason() {
    smol::block_on(async {
        let mut a = Node::new(1).await;
        let mut b = Node::limited(2, |limits| limits.frame_bytes = 100).await;
        b.join(&mut a).await;
        let long = "x".repeat(60);
        let broken = {
            let mut envelope = envelope(8, "cut off");
            envelope.buffer.pop();
            envelope
        };
        let all = [
            Neighbour::Single(claimed(1)),
            Neighbour::Flood,
            Neighbour::FloodExcept(Ident32::from(STRANGER)),
        ];
        for target in all {
            let send = |envelope| b.driver.send(envelope, target, None);
            for modes in [32, 40, 63] {
                let reserved = failure(send(envelope(modes, "")).await);
                assert!(matches!(reserved, RatmanError::Netmod(NetmodError::NotSupported)));
            }
            let too_large = failure(send(envelope(8, &long)).await);
            assert!(matches!(too_large, RatmanError::Netmod(NetmodError::FrameTooLarge)));
            let no_frame = failure(send(broken.clone()).await);
            assert!(matches!(no_frame, RatmanError::Encoding(_)), "{no_frame}");
        }
        b.send("end", Neighbour::Single(claimed(1)), None).await;
        assert_eq!(a.texts_until("end").await, Vec::<String>::new());
    });
}

#[test]
fn a_limited_link_is_not_supported_the_wrong_way() {
    smol::block_on(async {
        let (mut a, mut b) = (Node::new(1).await, Node::new(2).await);
        b.driver.start_peering(&format!("{}?limited=recv", a.addr())).await.unwrap();
        b.up().await;
        a.up().await;
        let wrong_way = b.try_send("up the stream", Neighbour::Single(claimed(1)), None).await;
        assert!(matches!(failure(wrong_way), RatmanError::Netmod(NetmodError::NotSupported)));
        a.send("down the stream", Neighbour::Single(claimed(2)), None).await;
        assert_eq!(b.next().await, ("down the stream".to_owned(), claimed(1)));
    });
}

#[test]
fn addresses_that_cannot_be_used_are_named() {
    smol::block_on(async {
        let (a, b) = (Node::new(1).await, Node::new(2).await);
        let peering = async |addr: &str| match failure(b.driver.start_peering(addr).await) {
            RatmanError::Netmod(NetmodError::InvalidPeer(reason)) => reason,
            other => panic!("{other:?}"),
        };
        for bad in ["", "no-port", "[::1:9000", "host:70000", "host:9?limited=sideways"] {
            let reason = peering(bad).await;
            assert!(reason.contains(&format!("`{bad}`")), "{reason}");
        }
        assert_eq!(b.driver.start_peering(&a.addr()).await.unwrap(), 0);
        let reason = peering(&a.addr()).await;
        assert!(reason.contains("is peer 0 already"), "{reason}");

        let taken = failure(RatmanInet::start(InetEndpoint::builder().bind(a.addr())).await);
        let RatmanError::Netmod(NetmodError::InvalidBind(reason)) = taken else { panic!() };
        assert!(reason.contains(&a.addr()), "{reason}");
    });
}

#[test]
fn calls_on_a_closed_endpoint_fail() {
    smol::block_on(async {
        let (mut a, mut b) = (Node::new(1).await, Node::new(2).await);
        b.join(&mut a).await;
        a.send("before the end", Neighbour::Flood, None).await;
        a.shutdown().await;
        b.down().await;
        b.shutdown().await;
        assert_eq!(b.next().await.0, "before the end");
        let is_closed = |error| matches!(error, RatmanError::Netmod(NetmodError::RecvSocketClosed));
        assert!(is_closed(failure(within("end of next", b.driver.next()).await)));
        for target in [Neighbour::Single(claimed(1)), Neighbour::Flood] {
            let sent = envelope(8, "too late");
            assert_eq!(given_back(b.driver.send(sent.clone(), target, None).await), sent);
        }
        assert!(is_closed(failure(b.driver.start_peering("127.0.0.1:9").await)));
    });
}

#[test]
fn metrics_are_bytes_per_second() {
    const COUNT: u32 = 50;
    smol::block_on(async {
        let before = Instant::now();
        let (mut a, mut b) = (Node::new(1).await, Node::new(2).await);
        b.join(&mut a).await;
        let up = Instant::now();
        let text = "x".repeat(10_000);
        for _ in 0..COUNT {
            b.send(&text, Neighbour::Single(claimed(1)), None).await;
        }
        for _ in 0..COUNT {
            assert_eq!(a.next().await.0, text);
        }
        a.send("all there", Neighbour::Single(claimed(2)), None).await;
        b.next().await;
        a.counted(1, COUNT.into()).await;
        b.counted(COUNT.into(), 1).await;

        let shortest = up.elapsed();
        let metrics = |driver: Driver, id| async move {
            driver.metrics_for_neighbour(Neighbour::Single(id)).await.unwrap()
        };
        let at_b = metrics(b.driver.clone(), claimed(1)).await;
        let at_a = metrics(a.driver.clone(), claimed(2)).await;
        let longest = before.elapsed();
        let bytes = f64::from(COUNT) * (4.0 + 41.0 + 10_000.0);
        // A second at least: what came in less is no flow.
        let rate = |time: Duration| bytes / time.as_secs_f64().max(1.0);
        let (slowest, fastest) = (rate(longest), rate(shortest));
        for bandwidth in [at_b.write_bandwidth, at_a.read_bandwidth] {
            let bandwidth = bandwidth as f64;
            assert!(slowest - 1.0 <= bandwidth && bandwidth <= fastest, "{bandwidth}");
        }
        for small in [at_b.read_bandwidth, at_a.write_bandwidth] {
            assert!(0 < small && small < at_b.write_bandwidth / 1_000, "{small}");
        }
    });
}

#[test]
fn metrics_of_a_later_link_are_its_own() {
    smol::block_on(async {
        let (mut a, mut b) = (Node::new(1).await, Node::limited(2, |_| {}).await);
        let one = Neighbour::Single(claimed(1));
        b.driver.start_peering(&a.addr()).await.unwrap();
        b.up().await;
        let there = a.up().await;
        b.send(&"x".repeat(60_000), one, None).await;
        a.next().await;
        a.inet.endpoint().remove_peer(there).await.unwrap();
        b.up().await;
        let first = failure(b.driver.metrics_for_neighbour(one).await);
        assert!(matches!(first, RatmanError::Nonfatal(NonfatalError::NoMetrics)));
        b.send("over this link", one, None).await;
        b.counted(2, 0).await;
        let second = b.driver.metrics_for_neighbour(one).await.unwrap();
        assert!((1..=4 + 41 + 14).contains(&second.write_bandwidth), "{second:?}");
        assert_eq!(second.read_bandwidth, 0);
    });
}

#[test]
fn there_are_no_metrics_of_nobody_and_of_many() {
    smol::block_on(async {
        let (mut a, mut b) = (Node::new(1).await, Node::new(2).await);
        b.join(&mut a).await;
        let targets = [
            Neighbour::Single(Ident32::from(STRANGER)),
            Neighbour::Flood,
            Neighbour::FloodExcept(claimed(1)),
            Neighbour::Drop,
        ];
        for target in targets {
            let none = failure(b.driver.metrics_for_neighbour(target).await);
            assert!(matches!(none, RatmanError::Nonfatal(NonfatalError::NoMetrics)), "{target:?}");
        }
        let one = Neighbour::Single(claimed(1));
        let none = failure(b.driver.metrics_for_neighbour(one).await);
        assert!(matches!(none, RatmanError::Nonfatal(NonfatalError::NoMetrics)), "nothing sent");
        b.send("something", one, None).await;
        b.counted(1, 0).await;
        b.driver.metrics_for_neighbour(one).await.unwrap();
    });
}

#[test]
fn endpoints_of_one_router_have_different_identifiers() {
    smol::block_on(async {
        let (a, b) = (Node::new(1).await, Node::new(1).await);
        assert_eq!(a.driver.identifier(), format!("inet#{}", a.addr()));
        assert_ne!(a.driver.identifier(), b.driver.identifier());
        let dial_only = InetEndpoint::builder().router_id(Id::from_bytes([0xAB; 32]));
        let dial_only = RatmanInet::start(dial_only).await.unwrap();
        assert_eq!(dial_only.identifier(), "inet#abababab");
    });
}

/// Why the router is given a clone or a trait object, and not an `Arc` of the type itself.
#[test]
fn an_arc_of_the_type_hides_most_of_the_trait() {
    smol::block_on(async {
        let (a, b) = (Node::new(1).await, Node::new(2).await);
        let hidden = Arc::new(b.inet.clone());
        let unsupported = failure(EndpointExt::start_peering(&hidden, &a.addr()).await);
        assert!(matches!(unsupported, RatmanError::Netmod(NetmodError::NotSupported)));
        b.inet.clone().start_peering(&a.addr()).await.unwrap();
    });
}
