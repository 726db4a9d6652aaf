//! Tests of who gives back memory, in which order, and for whom.

use super::*;
use crate::config::{Limits, Task};
use crate::peer::{Admission, Origin, SLOT_COST, SharedReservation};
use crate::proto::{Frame, Id, PeerType};
use crate::session::test_support::with_limits;
use crate::shared::TaskRef;
use crate::testing::kit::manual_clock::Clock;
use crate::testing::kit::pipe::Pipe;
use crate::transport::Link;
use std::time::Duration;

const ID: Id = Id::from_bytes([1; 32]);

/// What [`frame`] costs.
const COST: usize = 10_000;

/// The budget has room for this number of frames.
const FRAMES: usize = 80;

fn frame() -> Frame {
    let payload = COST - Frame::MIN_LEN - 128;
    Frame::builder(8, ID).payload(vec![7; payload]).build().unwrap()
}

fn node() -> Arc<TaskRef> {
    let limits = Limits { total_queue_bytes: FRAMES * COST, ..Limits::default() };
    with_limits(|_: Task| {}, limits)
}

/// A peer whose link is up, from this address, to which `frames` frames were sent. All of them are
/// written and not acknowledged.
fn peer(node: &TaskRef, origin: Origin, addr: &str, frames: usize) -> Arc<Peer> {
    let addr = addr.parse().unwrap();
    let peer = node.add_linked(PeerType::Standard, origin, Some(addr), false).unwrap();
    let link = Link::unencrypted(Pipe::pair().0, Some(addr), Vec::new(), Some(ID));
    peer.link_up(ID, &link);
    peer.queue.add_credit(u64::MAX);
    fill(&peer, frames);
    write_all(&peer);
    peer
}

fn fill(peer: &Peer, frames: usize) {
    for _ in 0..frames {
        peer.push(frame(), Admission::Bounded).unwrap();
    }
}

/// Marks all frames as written and not acknowledged.
fn write_all(peer: &Peer) {
    peer.queue.on_written(1 << 30);
}

fn held(peers: &[Arc<Peer>]) -> Vec<usize> {
    peers.iter().map(|peer| peer.queue.size().0).collect()
}

/// Sends a frame the way that the endpoint does.
fn send(node: &TaskRef, peer: &Peer) -> bool {
    node.push(peer.target(), frame()).is_ok() || {
        node.reclaim_for(peer.target(), COST);
        node.push(peer.target(), frame()).is_ok()
    }
}

/// Regression: strangers that acknowledge nothing had all sends to a dialed peer refused.
#[test]
fn a_dialed_peer_is_never_refused_for_what_strangers_hold() {
    let node = node();
    let strangers: Vec<_> =
        (1..=6).map(|n| peer(&node, Origin::Accepted, &format!("10.0.{n}.1:1"), 10)).collect();
    assert_eq!(node.budget.used(), FRAMES * COST * 3 / 4, "strangers cannot touch the reserve");
    assert!(!send(&node, &strangers[5]), "none of them holds more than another");
    let dialed = peer(&node, Origin::Dialed, "10.0.9.1:1", 0);
    let idle = peer(&node, Origin::Accepted, "10.0.7.1:1", 0);
    for _ in 0..FRAMES {
        assert!(send(&node, &dialed));
    }
    assert_eq!(held(&strangers), [0; 6]);
    for stranger in &strangers {
        assert!(stranger.is_stopping());
        assert_eq!(node.take_unconfirmed(stranger.target()).len(), 10);
    }
    assert!(!send(&node, &dialed), "it holds all of the budget itself");
    assert!(!idle.is_stopping(), "it holds nothing");
    assert_eq!((dialed.is_stopping(), dialed.queue.size().0), (false, FRAMES));
}

#[test]
fn the_block_and_then_the_peer_that_hold_most_give_back_first() {
    let node = node();
    let holdings = [
        ("10.0.1.1:1", 9),
        ("10.0.2.1:1", 5),
        ("10.0.2.2:1", 3),
        ("10.0.2.2:2", 4),
        ("10.0.3.1:1", 10),
    ];
    let strangers = holdings.map(|(addr, frames)| peer(&node, Origin::Accepted, addr, frames));
    let dialed = peer(&node, Origin::Dialed, "10.0.9.1:1", FRAMES - 31);
    // Of 10.0.2.0/24 the host with seven frames, of that the peer with four; and so on.
    for (gone, left) in
        [(3, [9, 5, 3, 0, 10]), (4, [9, 5, 3, 0, 0]), (0, [0, 5, 3, 0, 0]), (1, [0, 0, 3, 0, 0])]
    {
        while !strangers[gone].is_stopping() {
            assert!(send(&node, &dialed));
        }
        assert_eq!(held(&strangers), left);
    }
}

#[test]
fn unsent_frames_are_taken_back_without_ending_the_link() {
    let node = node();
    let stranger = peer(&node, Origin::Accepted, "10.0.1.1:1", 10);
    fill(&stranger, 50);
    let dialed = peer(&node, Origin::Dialed, "10.0.9.1:1", FRAMES - 60);
    (0..50).for_each(|_| assert!(send(&node, &dialed)));
    assert_eq!((stranger.is_stopping(), stranger.queue.size().0), (false, 10));
    assert!(send(&node, &dialed) && stranger.is_stopping());
    assert_eq!(node.take_unconfirmed(stranger.target()).len(), 60);
}

#[test]
fn peers_that_are_down_give_back_before_others_the_longest_down_first() {
    let clock = Clock::install();
    let node = node();
    let up = peer(&node, Origin::Accepted, "10.0.1.1:1", 20);
    let down: Vec<_> =
        (2..5).map(|n| peer(&node, Origin::Accepted, &format!("10.0.{n}.1:1"), 10)).collect();
    for at in [1, 0, 2] {
        clock.advance(Duration::from_secs(1));
        down[at].link_down(&DownReason::Closed, None);
    }
    let dialed = peer(&node, Origin::Dialed, "10.0.9.1:1", FRAMES - 50);
    for left in [[10, 0, 10], [0, 0, 10], [0, 0, 0]] {
        (0..10).for_each(|_| assert!(send(&node, &dialed)));
        assert_eq!(held(&down), left);
    }
    assert!(!up.is_stopping());
}

#[test]
fn strangers_get_from_dialed_peers_only_what_is_unsent_and_beyond_the_reserve() {
    let node = node();
    let dialed = peer(&node, Origin::Dialed, "10.0.9.1:1", 10);
    dialed.link_down(&DownReason::Closed, None);
    fill(&dialed, FRAMES - 10);
    let stranger = peer(&node, Origin::Accepted, "10.0.1.1:1", 0);
    // Three quarters of the budget are open to strangers, of which the reserve takes one.
    let fit = FRAMES / 2;
    assert_eq!((0..FRAMES).take_while(|_| send(&node, &stranger)).count(), fit);
    assert_eq!(held(&[dialed.clone(), stranger]), [FRAMES / 4, fit]);
    assert_eq!(node.take_unconfirmed(dialed.target()).len(), FRAMES - FRAMES / 4);
}

#[test]
fn the_copy_of_a_flood_counts_for_those_who_still_hold_it() {
    let node = node();
    let dialed = peer(&node, Origin::Dialed, "10.0.9.1:1", 0);
    let stranger = peer(&node, Origin::Accepted, "10.0.1.1:1", 0);
    let flood = |peers: [&Peer; 2]| {
        let Some(shared) = SharedReservation::new(&node.budget, &frame()) else {
            return [false; 2];
        };
        peers.map(|peer| peer.push(frame(), Admission::Flood(shared.clone())).is_ok())
    };
    // While the dialed peer holds the floods, the stranger shares their copies.
    let each = COST + SLOT_COST;
    let shared = (FRAMES * COST * 3 / 4) / each;
    (0..shared).for_each(|_| assert_eq!(flood([&dialed, &stranger]), [true; 2]));
    assert_eq!(flood([&dialed, &stranger]), [true, false], "it lies in the reserve");
    // It acknowledges all, and the stranger keeps them: no more than its part.
    write_all(&dialed);
    dialed.queue.acknowledge(shared as u64 + 1, None).unwrap();
    assert_eq!(node.budget.used(), shared * COST);
    assert_eq!(flood([&stranger, &stranger]), [true, false], "its part is full");
    assert!(send(&node, &dialed));
}

#[test]
fn strangers_get_from_each_other_what_exceeds_a_share_and_is_unsent_or_long_held() {
    let clock = Clock::install();
    let node = node();
    let [hog, other] = ["10.0.1.1:1", "10.0.1.1:2"].map(|addr| {
        let peer = peer(&node, Origin::Accepted, addr, 10);
        fill(&peer, 20);
        peer
    });
    let newcomer = peer(&node, Origin::Accepted, "10.0.2.1:1", 0);
    // Until the two, who are of one block, hold twice as much.
    let fit = |peer: &Peer| (0..FRAMES).take_while(|_| send(&node, peer)).count();
    assert_eq!(fit(&newcomer), 20);
    let all = [hog, other, newcomer];
    assert_eq!(held(&all).iter().sum::<usize>(), 60);
    // What is under way is taken from those who hold it for long, and who hold most.
    clock.advance(PAUSE);
    let next = peer(&node, Origin::Accepted, "10.0.3.1:1", 0);
    all.iter().for_each(|peer| write_all(peer));
    assert_eq!(fit(&next), 0);
    assert!(!all.iter().any(|peer| peer.is_stopping()));
    all.iter().for_each(|peer| peer.queue.lock().hold_time = LONG_HELD);
    assert_eq!(fit(&next), 0, "it was in vain a moment ago");
    clock.advance(PAUSE);
    assert_eq!(fit(&next), 20);
    assert_eq!(held(&all).iter().sum::<usize>(), 40);
    assert_eq!(all.iter().filter(|peer| peer.is_stopping()).count(), 1);
}
