//! A node that runs out of file descriptors.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use netmod_inet::{Event, InetEndpoint};

use super::figures::limit_files;
use super::process::{Process, part, report, until_released};
use crate::addresses::own_addr;
use crate::scripted::{PlainPeer, STANDARD, carrier, hello, prefixed};
use crate::subject::{Node, TIMEOUT, quick};

const TEST: &str = "reliability::descriptors::a_node_accepts_again_when_descriptors_are_free";
const SILENT: &str =
    "reliability::descriptors::a_silent_crowd_takes_no_more_than_a_quarter_of_them";
const DIALING: &str = "reliability::descriptors::a_crowd_of_peers_leaves_some_for_dialing";

/// Files that the node may have open.
const FILES: usize = 64;

/// Peers that it has besides the crowd, with descriptors left for a few more.
const PEERS: usize = 40;

/// Ticks of the system's clock that the node may compute while it can accept nobody, in more than
/// a second. One that tried without pause would use them all, a hundred in a second.
const MAX_TICKS: u64 = 30;

#[test]
fn a_node_accepts_again_when_descriptors_are_free() {
    match part(TEST) {
        // The endpoint takes the limit at its start into account, and has too few later.
        Some(_) => node(|_| _ = limit_files(FILES)),
        None => exhaust_descriptors(),
    }
}

/// More than there are descriptors for, and they stay.
#[test]
fn a_silent_crowd_takes_no_more_than_a_quarter_of_them() {
    if part(SILENT).is_some() {
        limit_files(FILES);
        return node(|_| {});
    }
    let node = Process::start(SILENT, "node");
    let port = node.wait_line("port").parse().expect("a port");
    let _crowd = crowd(port);
    let (_good, took) = echoed(port, 1);
    println!(
        "{FILES} descriptors, {} silent sockets: a good peer came in within {took:.1?}",
        2 * FILES
    );
    node.end();
}

/// Regression: nodes that completed the handshake took all descriptors, and nobody was dialed.
#[test]
fn a_crowd_of_peers_leaves_some_for_dialing() {
    if let Some(addr) = part(DIALING) {
        limit_files(FILES);
        return node(|node| _ = node.add(&addr));
    }
    // Nobody listens there yet.
    let addr = own_addr();
    let node = Process::start(DIALING, &addr.to_string());
    let port = node.wait_line("port").parse().expect("a port");
    let mut crowd = crowd(port);
    for connection in &mut crowd {
        let _ = connection.write_all(&prefixed(&hello(STANDARD, 0, 3)));
    }
    let end = Instant::now() + TIMEOUT;
    for connection in &mut crowd {
        // An answer, or the end: each was let in or refused.
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        connection.set_read_timeout(Some(left)).expect("a deadline");
        let _ = connection.read(&mut [0; 64]);
    }
    let far = Node::built(InetEndpoint::builder().bind(addr.to_string()).limits(quick()));
    far.until("dialed peer", |endpoint| !endpoint.peers().is_empty());
    drop(crowd);
    node.end();
}

/// More sockets than the node can have.
fn crowd(port: u16) -> Vec<TcpStream> {
    let connect = || TcpStream::connect(("127.0.0.1", port)).expect("a place in the backlog");
    std::iter::repeat_with(connect).take(2 * FILES).collect()
}

/// Listens, and reports when it cannot accept.
fn node(started: impl FnOnce(&Node)) {
    let mut limits = quick();
    limits.handshake_timeout = 6 * TIMEOUT;
    let node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    started(&node);
    report(&format!("port {}", node.port()));
    let (endpoint, events) = (node.endpoint.clone(), node.endpoint.events());
    std::thread::spawn(move || {
        while let Ok(event) = smol::block_on(events.next()) {
            if let Event::AcceptFailed { .. } = event {
                report(&event.to_string());
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((target, frame)) = smol::block_on(endpoint.next()) {
            endpoint.try_send(target, frame).expect("room for a frame");
        }
    });
    until_released();
}

/// Connects until the node has no descriptor left, then disconnects.
fn exhaust_descriptors() {
    let node = Process::start(TEST, "node");
    let port = node.wait_line("port").parse().expect("a port");
    let (mut before, _) = echoed(port, 1);
    // Of the crowd some stay only until the next ones come, and a busy machine may let few send a
    // Hello in time. With these the few are enough.
    let _peers: Vec<_> = (0..PEERS).map(|_| PlainPeer::dial(port, STANDARD, 4)).collect();
    let mut crowd = crowd(port);
    // So that they stay: one that sends nothing is evicted for the next.
    for connection in &mut crowd {
        // Unless it was let go before it could.
        let _ = connection.write_all(&prefixed(&hello(STANDARD, 0, 3)));
    }
    let why = node.wait_line("cannot accept");
    assert!(why.contains("open files"), "{why}");
    // It reports again once it waits for as long as it ever does; before that, once one of the
    // crowd was evicted for the next.
    let first = Instant::now();
    let (pause, ticks) = loop {
        let (reported, ticks) = (Instant::now(), ticks(node.pid()));
        node.wait_line("cannot accept");
        let pause = reported.elapsed();
        if pause > Duration::from_secs(1) {
            break (pause, self::ticks(node.pid()) - ticks);
        }
        assert!(first.elapsed() < TIMEOUT, "{pause:?}: it does not wait longer each time");
    };
    assert!(ticks < MAX_TICKS, "{ticks} ticks: it tries all the time");
    exchange(&mut before, 1);
    drop(crowd);
    let (_after, took) = echoed(port, 2);
    println!(
        "out of descriptors: reported, again after {pause:.1?}, {ticks} ticks of CPU meanwhile; \
         accepting {took:.1?} after there were some again"
    );
    node.end();
}

/// A good peer that gets back what it sends, and how long it took to come in.
fn echoed(port: u16, id: u8) -> (PlainPeer, Duration) {
    let started = Instant::now();
    let mut peer = PlainPeer::dial(port, STANDARD, id);
    exchange(&mut peer, id);
    (peer, started.elapsed())
}

fn exchange(peer: &mut PlainPeer, id: u8) {
    let frame = carrier(8, id, b"an echo, please");
    peer.send(&frame);
    assert_eq!(peer.read_frame(), frame);
}

/// CPU time of a process, in ticks; 0 where the system does not report it.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}
