//! A node that runs out of file descriptors.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use netmod_inet::{Event, InetEndpoint};

use super::figures::limit_files;
use super::process::{Process, part, say, until_released};
use crate::scripted::{PlainPeer, STANDARD, carrier, hello, prefixed};
use crate::subject::{Node, PATIENCE, quick};

const TEST: &str = "reliability::descriptors::a_node_without_descriptors_goes_on_when_it_has_some";
const SILENT: &str = "reliability::descriptors::a_silent_crowd_takes_no_more_than_half_of_them";

/// Files that the node may have open.
const FILES: usize = 64;

/// Peers that it has besides a crowd of strangers, and room for a few more.
const PEERS: usize = 40;

/// Ticks of the system's clock that the node may compute while it can accept nobody, in more than
/// a second. One that tried without pause would use them all, a hundred in a second.
const MOST_TICKS: u64 = 30;

#[test]
fn a_node_without_descriptors_goes_on_when_it_has_some() {
    match part(TEST) {
        Some(_) => node(),
        None => strangers(),
    }
}

/// More than there are descriptors for, and they stay.
#[test]
fn a_silent_crowd_takes_no_more_than_half_of_them() {
    if part(SILENT).is_some() {
        return node();
    }
    let node = Process::start(SILENT, "node");
    let port = node.hear("port").parse().expect("a port");
    let _crowd = crowd(port);
    let (_good, took) = echoed(port, 1);
    println!(
        "{FILES} descriptors, {} silent sockets: a good peer came in within {took:.1?}",
        2 * FILES
    );
    node.end();
}

/// More sockets than the node can have.
fn crowd(port: u16) -> Vec<TcpStream> {
    let stranger = || TcpStream::connect(("127.0.0.1", port)).expect("a place in the backlog");
    std::iter::repeat_with(stranger).take(2 * FILES).collect()
}

/// Listens, and tells what happens to it.
fn node() {
    limit_files(FILES);
    let mut limits = quick();
    limits.handshake_timeout = 6 * PATIENCE;
    let node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    say(&format!("port {}", node.port()));
    let (endpoint, events) = (node.endpoint.clone(), node.endpoint.events());
    std::thread::spawn(move || {
        while let Ok(event) = smol::block_on(events.next()) {
            if let Event::AcceptFailed { .. } = event {
                say(&event.to_string());
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

/// Comes in until the node can take no more, then goes away.
fn strangers() {
    let node = Process::start(TEST, "node");
    let port = node.hear("port").parse().expect("a port");
    let (mut before, _) = echoed(port, 1);
    // Of the crowd some stay only until the next ones come, and a busy machine may let few say Hello
    // in time. With these the few are enough.
    let _peers: Vec<_> = (0..PEERS).map(|_| PlainPeer::dial(port, STANDARD, 4)).collect();
    let mut crowd = crowd(port);
    // So that they stay: who says nothing goes in favour of the next.
    for stranger in &mut crowd {
        // Unless it was let go before it could.
        let _ = stranger.write_all(&prefixed(&hello(STANDARD, 0, 3)));
    }
    let why = node.hear("cannot accept");
    assert!(why.contains("open files"), "{why}");
    // It tells again once it waits for as long as it ever does; before that, once one of the crowd
    // went in favour of the next.
    let first = Instant::now();
    let (pause, ticks) = loop {
        let (told, ticks) = (Instant::now(), ticks(node.pid()));
        node.hear("cannot accept");
        let pause = told.elapsed();
        if pause > Duration::from_secs(1) {
            break (pause, self::ticks(node.pid()) - ticks);
        }
        assert!(first.elapsed() < PATIENCE, "{pause:?}: it does not wait longer each time");
    };
    assert!(ticks < MOST_TICKS, "{ticks} ticks: it tries all the time");
    exchange(&mut before, 1);
    drop(crowd);
    let (_after, took) = echoed(port, 2);
    println!(
        "out of descriptors: told, told again after {pause:.1?}, {ticks} ticks of CPU meanwhile; \
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

/// CPU time of a process, in ticks; 0 where the system does not say.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}
