//! Names of neighbours: claims, restarts, and frames that wait for a name that nobody has.

use std::time::{Duration, Instant};

use libratman::types::{Ident32, Neighbour};
use netmod_inet::Target;
use smol::future;

use crate::node::{DEADLINE, Node, claimed, envelope, given_back, text, within};

/// The id of seven, which several nodes here claim.
const SEVEN: u8 = 7;

/// A node that claims the id of seven, up at the hub, and what the hub calls it.
async fn claimant(hub: &mut Node) -> (Node, Target) {
    let mut node = Node::new(SEVEN).await;
    node.driver.start_peering(&hub.addr()).await.expect("a new address");
    node.up().await;
    (node, hub.up().await)
}

async fn name_at(hub: &Node, target: Target) -> Ident32 {
    let known = async {
        loop {
            match hub.inet.neighbour(target) {
                Some(name) => return name,
                None => future::yield_now().await,
            }
        }
    };
    within("name", known).await
}

#[test]
fn a_claim_on_a_live_holders_name_is_undecided_at_first() {
    smol::block_on(async {
        let mut hub = Node::new(9).await;
        let (mut first, first_target) = claimant(&mut hub).await;
        assert_eq!(hub.inet.neighbour(first_target), Some(claimed(SEVEN)));
        let (mut second, second_target) = claimant(&mut hub).await;
        assert_eq!(hub.inet.neighbour(second_target), None, "undecided");
        for number in 0..3 {
            second.send(&number.to_string(), Neighbour::Flood, None).await;
        }
        hub.send("for the holder", Neighbour::Single(claimed(SEVEN)), None).await;
        assert_eq!(first.next().await.0, "for the holder");

        let name = name_at(&hub, second_target).await;
        assert_ne!(name, claimed(SEVEN));
        for number in 0..3 {
            assert_eq!(hub.next().await, (number.to_string(), name));
        }
        for round in 0..3 {
            for (node, name) in [(&first, claimed(SEVEN)), (&second, name)] {
                node.send("to the hub", Neighbour::Flood, None).await;
                assert_eq!(hub.next().await.1, name, "round {round}");
                hub.send("for this one", Neighbour::Single(name), None).await;
                assert_eq!(node.next().await.0, "for this one");
            }
        }
        // Both claim one id and come from one place: they may be one router, and a flood that came
        // from one of them goes to neither.
        let mut other = Node::new(1).await;
        other.join(&mut hub).await;
        for name in [name, claimed(SEVEN)] {
            hub.send("flooded", Neighbour::Flood, Some(name)).await;
            assert_eq!(other.next().await.0, "flooded");
        }
        hub.send("end", Neighbour::Flood, None).await;
        for node in [&mut first, &mut second] {
            assert_eq!(node.texts_until("end").await, Vec::<String>::new());
        }
    });
}

#[test]
fn an_undecided_claimant_gets_the_name_when_its_holder_goes() {
    smol::block_on(async {
        let mut hub = Node::new(9).await;
        let (first, _) = claimant(&mut hub).await;
        let (second, target) = claimant(&mut hub).await;
        second.send("early", Neighbour::Flood, None).await;
        first.shutdown().await;
        hub.down().await;
        assert_eq!(hub.next().await, ("early".to_owned(), claimed(SEVEN)));
        assert_eq!(hub.inet.neighbour(target), Some(claimed(SEVEN)));
        hub.send("for the heir", Neighbour::Single(claimed(SEVEN)), None).await;
        assert_eq!(second.next().await.0, "for the heir");
    });
}

#[test]
fn a_claimant_under_another_name_gets_the_one_it_claims_when_that_is_free() {
    smol::block_on(async {
        let mut hub = Node::new(9).await;
        let (first, _) = claimant(&mut hub).await;
        let (second, target) = claimant(&mut hub).await;
        let other = name_at(&hub, target).await;
        assert_ne!(other, claimed(SEVEN));
        first.shutdown().await;
        hub.removed().await;
        assert_eq!(hub.inet.neighbour(target), Some(claimed(SEVEN)));
        second.send("hello", Neighbour::Flood, None).await;
        assert_eq!(hub.next().await, ("hello".to_owned(), claimed(SEVEN)));
        let lost = hub.driver.send(envelope(8, "stale"), Neighbour::Single(other), None).await;
        given_back(lost);
    });
}

#[test]
fn a_send_waits_until_its_neighbour_is_there_again() {
    smol::block_on(async {
        let mut hub = Node::new(9).await;
        let (first, _) = claimant(&mut hub).await;
        first.shutdown().await;
        hub.removed().await;
        let driver = hub.driver.clone();
        let sending = driver.send(envelope(8, "hello"), Neighbour::Single(claimed(SEVEN)), None);
        let mut sending = std::pin::pin!(sending);
        assert!(future::poll_once(&mut sending).await.is_none(), "nobody has the name");
        let mut again = Node::new(SEVEN).await;
        again.driver.start_peering(&hub.addr()).await.unwrap();
        within("end of send", sending).await.expect("it is there again");
        again.up().await;
        assert_eq!(again.next().await.0, "hello");
        let target = hub.up().await;
        assert_eq!(hub.inet.neighbour(target), Some(claimed(SEVEN)));
    });
}

#[test]
fn a_send_to_an_unknown_neighbour_fails_at_once() {
    smol::block_on(async {
        let hub = Node::new(9).await;
        let sent = envelope(8, "hello");
        let sending = hub.driver.send(sent.clone(), Neighbour::Single(claimed(7)), None);
        let lost = future::poll_once(sending).await.expect("no wait");
        assert_eq!(given_back(lost), sent);
    });
}

#[test]
fn returned_frames_go_out_first_when_their_neighbour_is_back() {
    smol::block_on(async {
        let (mut hub, mut spoke) = (Node::new(9).await, Node::new(1).await);
        hub.join(&mut spoke).await;
        spoke.shutdown().await;
        let target = hub.down().await;
        for number in 0..3 {
            hub.send(&number.to_string(), Neighbour::Single(claimed(1)), None).await;
        }
        hub.inet.endpoint().remove_peer(target).await.unwrap();
        hub.removed().await;
        let newer = hub.driver.send(envelope(8, "newer"), Neighbour::Single(claimed(1)), None);
        let mut newer = std::pin::pin!(newer);
        assert!(future::poll_once(&mut newer).await.is_none());

        let mut spoke = Node::new(1).await;
        spoke.driver.start_peering(&hub.addr()).await.unwrap();
        spoke.up().await;
        within("end of send", newer).await.expect("it is there again");
        hub.send("end", Neighbour::Single(claimed(1)), None).await;
        assert_eq!(spoke.texts_until("end").await, ["0", "1", "2", "newer"]);
    });
}

/// What waits for a dialed peer goes to whom it was for, though that one comes in by itself.
#[test]
fn frames_for_a_dialed_peer_go_over_the_inbound_link_of_its_router() {
    smol::block_on(async {
        let (mut hub, mut spoke) = (Node::limited(9, |_| {}).await, Node::new(1).await);
        hub.join(&mut spoke).await;
        spoke.shutdown().await;
        hub.down().await;
        for number in 0..3 {
            hub.send(&number.to_string(), Neighbour::Single(claimed(1)), None).await;
        }
        // Not where it was: the hub goes on dialing that place.
        let mut spoke = Node::new(1).await;
        spoke.driver.start_peering(&hub.addr()).await.unwrap();
        spoke.up().await;
        let target = hub.up().await;
        assert_eq!(name_at(&hub, target).await, claimed(1));
        hub.send("end", Neighbour::Single(claimed(1)), None).await;
        assert_eq!(spoke.texts_until("end").await, ["0", "1", "2"]);
    });
}

#[test]
fn forwards_do_not_wait_and_sends_of_a_stalled_receive_loop_wait_briefly() {
    smol::block_on(async {
        let limits = |limits: &mut netmod_inet::Limits| {
            limits.queue_frames = 2;
            limits.send_timeout = DEADLINE;
        };
        let (mut hub, mut source) = (Node::limited(9, limits).await, Node::new(1).await);
        let mut away = Node::new(2).await;
        hub.join(&mut source).await;
        hub.join(&mut away).await;
        away.shutdown().await;
        hub.down().await;
        let to_away = Neighbour::Single(claimed(2));
        for number in 0..2 {
            hub.send(&number.to_string(), to_away, None).await;
        }

        for number in 0..10 {
            source.send(&number.to_string(), Neighbour::Single(claimed(9)), None).await;
        }
        for _ in 0..10 {
            let (envelope, _) = within("envelope", hub.driver.next()).await.unwrap();
            let forwarding = hub.driver.send(envelope, to_away, Some(claimed(1)));
            future::poll_once(forwarding).await.expect("no wait").expect("no bound");
        }

        // Nothing waits for `next`: what is sent waits for room.
        let mut sending = Box::pin(hub.driver.send(envelope(8, "own"), to_away, None));
        let pause = Duration::from_millis(700);
        let waited = future::or(
            async {
                (&mut sending).await.unwrap_err();
                false
            },
            async {
                smol::Timer::after(pause).await;
                true
            },
        );
        assert!(waited.await, "it was given back");
        // Now something does, and nobody calls that.
        source.send("waits", Neighbour::Single(claimed(9)), None).await;
        let started = Instant::now();
        let back = given_back(within("end of send", sending).await);
        assert_eq!(text(&back), "own");
        assert!(started.elapsed() < DEADLINE / 2);

        // Another task is not held to that: it waits beside the loop, and not instead of it.
        let driver = hub.driver.clone();
        let beside = smol::spawn(async move {
            let sending = driver.send(envelope(8, "beside"), to_away, None);
            let pause = smol::Timer::after(Duration::from_millis(1_500));
            let came_back = async {
                sending.await.expect_err("no room");
                false
            };
            let waits = future::or(came_back, async {
                pause.await;
                true
            });
            waits.await
        });
        assert!(within("the end of the pause", beside).await, "it was given back");
        assert_eq!(hub.next().await.0, "waits");
    });
}
