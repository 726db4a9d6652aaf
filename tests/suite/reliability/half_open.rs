//! The far end is gone without a goodbye, and comes back.

use std::io::BufRead;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use netmod_inet::{DownReason, Event, Id, InetEndpoint, Target};

use super::network::{in_own_network, ip};
use super::process::{Process, part, report, until_released};
use crate::scripted::{PlainPeer, STANDARD, hello, number_of, numbered, prefixed};
use crate::subject::{Node, quick};

/// What the acceptance allows after the far end is back.
const BOUND: Duration = Duration::from_secs(3);

/// What a busy machine may add.
const ALLOWANCE: Duration = Duration::from_millis(500);

/// The router id of the far end.
const FAR: u8 = 0xFA;

/// Addresses of this node in a network of its own. The first one is taken away, and with it goes
/// what is sent to it, without an error, as if the far end had lost its power.
const LOST: &str = "10.1.0.2";
const KEPT: &str = "10.1.0.1";

fn set_up_network() {
    for addr in [LOST, KEPT] {
        ip(&format!("addr add {addr}/32 dev lo"));
    }
}

/// A node of ours that dials the listener, sends a frame for each line of its standard input, and
/// reports each frame that it receives.
fn far(listener: &str) {
    let id = Id::from_bytes([FAR; 32]);
    let mut node = Node::known_as(FAR, InetEndpoint::builder().router_id(id).limits(quick()));
    let target = node.add(listener);
    node.up();
    report("up");
    for number in std::io::stdin().lock().lines().map_while(Result::ok) {
        node.try_send(target, &numbered(number.parse().expect("a number"), 100));
        report(&format!("received {}", number_of(node.next().1.as_bytes())));
    }
    until_released();
}

/// A frame each way with the far end.
fn exchange(node: &Node, far: &mut Process, target: Target, number: u32) {
    far.send_line(&number.to_string());
    let (from, frame) = node.next();
    assert_eq!((from, number_of(frame.as_bytes())), (target, number));
    node.try_send(target, &numbered(number, 100));
    assert_eq!(far.wait_line("received"), number.to_string());
}

/// When the link of `target` ends, and why.
fn end_of(node: &mut Node, target: Target) -> (Instant, DownReason) {
    let reason = node.wait("end of the half-open link", |event| match event {
        Event::Down { target: of, reason, .. } if *of == target => Some(reason.clone()),
        _ => None,
    });
    (Instant::now(), reason)
}

const CRASH: &str = "reliability::half_open::a_killed_node_is_back_at_once";

/// The simple case: the kernel of the far end lives, and ends the link that the process had.
#[test]
fn a_killed_node_is_back_at_once() {
    if let Some(listener) = part(CRASH) {
        return far(&listener);
    }
    let mut node = Node::listening();
    let listener = format!("127.0.0.1:{}", node.port());
    let mut first = Process::start(CRASH, &listener);
    let (old, _, _) = node.up();
    exchange(&node, &mut first, old, 1);
    drop(first);
    end_of(&mut node, old);
    let killed = Instant::now();
    let mut second = Process::start(CRASH, &listener);
    let (new, id, _) = node.up();
    println!("killed node of ours: up again {:.1?} after its link ended", killed.elapsed());
    assert_ne!(new, old, "it has a new instance id, so it is another peer");
    assert_eq!(id, Id::from_bytes([FAR; 32]));
    exchange(&node, &mut second, new, 2);
    second.end();
}

const POWER: &str = "reliability::half_open::a_node_that_lost_power_is_replaced_when_it_is_back";

/// Takes root, or a system that allows network namespaces to all users.
#[test]
fn a_node_that_lost_power_is_replaced_when_it_is_back() {
    beside_the_far_end(POWER, |node, port| {
        let mut first = Process::start(POWER, &format!("far {LOST}:{port}"));
        let (old, _, _) = node.up();
        exchange(node, &mut first, old, 1);
        ip(&format!("addr del {LOST}/32 dev lo"));
        drop(first);
        let mut second = Process::start(POWER, &format!("far {KEPT}:{port}"));
        let (new, _, _) = node.up();
        let back = Instant::now();
        exchange(node, &mut second, new, 2);
        let (ended, reason) = end_of(node, old);
        report(&format!("half-open link of ours: ended after {:.1?}: {reason}", ended - back));
        assert!(ended - back <= BOUND + ALLOWANCE, "{:?}", ended - back);
        exchange(node, &mut second, new, 3);
        second.end();
    });
}

const PLAIN: &str = "reliability::half_open::a_plain_node_that_lost_power_is_replaced";

/// Takes root, or a system that allows network namespaces to all users.
#[test]
fn a_plain_node_that_lost_power_is_replaced() {
    beside_the_far_end(PLAIN, |node, port| {
        let dial = |ip: &str| {
            let addr: SocketAddr = format!("{ip}:{port}").parse().expect("an address");
            let mut peer = PlainPeer::connect_to(addr);
            peer.write(&prefixed(&hello(STANDARD, 0, FAR)));
            peer.read_frame();
            peer
        };
        // Back at once, and as late as a node that has lost its power is at best: the kernel does
        // not ask before a second of quiet.
        for away in [Duration::ZERO, Duration::from_secs(1)] {
            let _lost = dial(LOST);
            let (old, _, _) = node.up();
            ip(&format!("addr del {LOST}/32 dev lo"));
            std::thread::sleep(away);
            let mut peer = dial(KEPT);
            let (new, _, _) = node.up();
            let back = Instant::now();
            let (ended, reason) = end_of(node, old);
            let took = ended - back;
            report(&format!(
                "half-open link of a plain node, away for {away:?}: {took:.1?}: {reason}"
            ));
            assert!(took <= BOUND + ALLOWANCE, "{took:?}");
            node.removed(old);
            peer.send(&numbered(5, 10));
            node.expect_frames(new, [&numbered(5, 10)]);
            drop(peer);
            node.removed(new);
            ip(&format!("addr add {LOST}/32 dev lo"));
        }
    });
}

/// Runs `body` with a listening node in a network of its own, or plays the far end.
fn beside_the_far_end(test: &str, body: impl FnOnce(&mut Node, u16)) {
    let part = part(test);
    if let Some(listener) = part.as_deref().and_then(|part| part.strip_prefix("far ")) {
        return far(listener);
    }
    in_own_network(test, || {
        set_up_network();
        let builder = InetEndpoint::builder().bind("0.0.0.0:0").limits(quick());
        let mut node = Node::built(builder);
        let port = node.port();
        body(&mut node, port);
    });
}
