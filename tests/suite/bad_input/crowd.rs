//! Many connections at once, some of them good.

use std::time::Duration;

use netmod_inet::{InetEndpoint, Limits};

use crate::scripted::{PlainPeer, STANDARD, hello, number_of, numbered, prefixed};
use crate::subject::{Node, TIMEOUT};

const CROWD: u32 = 1000;

/// What one of the crowd does: every fourth is good.
enum Visitor {
    Good(PlainPeer),
    Silent(PlainPeer),
    Slow(PlainPeer),
    Noisy(PlainPeer),
}

fn visit(port: u16, number: u32) -> Visitor {
    let mut peer = PlainPeer::connect(port);
    let greeting = prefixed(&hello(STANDARD, 0, 6));
    match number % 4 {
        0 => {
            peer.write(&greeting);
            Visitor::Good(peer)
        }
        1 => Visitor::Silent(peer),
        2 => {
            peer.write(&greeting[..50]);
            Visitor::Slow(peer)
        }
        _ => {
            peer.write(b"GET / HTTP/1.1\r\nHost: mynas.example:9000\r\nAccept: */*\r\n\r\n");
            Visitor::Noisy(peer)
        }
    }
}

#[test]
fn a_thousand_connections_at_once() {
    raise_file_limit();
    let mut limits = Limits::default();
    limits.handshake_timeout = Duration::from_secs(2);
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
    let mut node = Node::built(builder);
    let mut crowd: Vec<_> = (0..CROWD).map(|number| visit(node.port(), number)).collect();

    let mut expected = Vec::new();
    for (visitor, number) in crowd.iter_mut().zip(0..) {
        if let Visitor::Good(peer) = visitor {
            assert_eq!(peer.read_frame()[..3], [1, 0, 33], "visitor {number}");
            peer.send(&numbered(number, 100));
            expected.push(number);
        }
    }
    let mut arrived: Vec<_> =
        expected.iter().map(|_| number_of(node.next().1.as_bytes())).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, expected);

    for visitor in &mut crowd {
        match visitor {
            Visitor::Good(_) => {}
            Visitor::Silent(peer) | Visitor::Slow(peer) | Visitor::Noisy(peer) => {
                peer.expect_end();
            }
        }
    }
    assert_eq!(node.endpoint.peers().len(), expected.len());
    node.serves("a crowd");
}

/// The endpoint has far more handshakes than slots: the oldest are evicted, the good one is not.
#[test]
fn a_full_pending_table_lets_the_newcomer_in() {
    let mut limits = Limits::default();
    limits.max_handshakes = 8;
    limits.max_handshakes_per_addr = 8;
    // Longer than this test waits, so that none of them goes by the deadline.
    limits.handshake_timeout = 6 * TIMEOUT;
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
    let mut node = Node::built(builder);
    let mut silent: Vec<_> = (0..20).map(|_| PlainPeer::connect(node.port())).collect();
    for peer in &mut silent[..12] {
        peer.expect_end();
    }
    node.serves("a full table");
    assert_eq!(silent[19].poll(Duration::from_millis(20)), None, "the newest went first");
}

#[test]
fn no_more_peers_than_the_limit() {
    let mut limits = Limits::default();
    limits.peers = 2;
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
    let mut node = Node::built(builder);
    let (_first, _) = node.accept_plain(STANDARD, 1);
    let (second, target) = node.accept_plain(STANDARD, 2);
    let mut third = PlainPeer::connect(node.port());
    third.write(&prefixed(&hello(STANDARD, 0, 3)));
    let reason = node.dropped(&third).to_string();
    assert!(reason.contains("as many peers"), "{reason}");
    third.expect_end();
    drop(second);
    node.removed(target);
    node.serves("a full house");
}

/// Both ends of the crowd are in this process, and 1024 files is a common limit.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let needed = u64::from(4 * CROWD);
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = Some(limit.maximum.map_or(needed, |most| most.min(needed)));
        setrlimit(Resource::Nofile, limit).expect("a limit below the hard one");
    }
}
