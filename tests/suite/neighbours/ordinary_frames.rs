//! Strangers that flood this node with ordinary frames delay a good peer by a turn each.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use crate::scripted::{PlainListener, PlainPeer, STANDARD, carrier, numbered, prefixed};
use crate::subject::Node;

const STRANGERS: u8 = 34;

/// Length of every frame here, with its header.
const FRAME: usize = 1041;

/// What a frame costs: its length with the prefix, and 64 bytes.
const COST: usize = FRAME + 4 + 64;

/// Bytes that a stranger may take in one turn.
const TURN: usize = 16 << 10;

/// Frames of the good peer: more than one turn of a dialed peer, and less than its first window.
const GOOD: u32 = 100;

/// Sends the frame again and again until the node closes. At the lowest priority: strangers are on
/// other machines, and take nothing of the processor that the node runs on.
pub(super) fn flood(mut peer: PlainPeer, frame: &[u8]) -> (TcpStream, JoinHandle<()>) {
    let frames = prefixed(frame).repeat(60);
    peer.write(&frames);
    let mut writer = peer.into_stream();
    let stream = writer.try_clone().expect("a second handle");
    let flood = move || {
        // Fails for nobody: everyone may have less.
        let _ = rustix::process::nice(19);
        while writer.write_all(&frames).is_ok() {}
    };
    (stream, thread::spawn(flood))
}

#[test]
fn between_two_ready_frames_each_stranger_has_one_turn() {
    let mut node = Node::listening();
    let listener = PlainListener::bind();
    let good = node.add(&listener.addr(""));
    let mut peer = listener.answer(STANDARD, 200);
    node.up();
    let strangers: Vec<_> = (0..STRANGERS)
        .map(|id| {
            let (stranger, target) = node.accept_plain(STANDARD, id);
            (flood(stranger, &carrier(8, id, &[id; FRAME - 41])), target)
        })
        .collect();
    // All are in the queue before the router takes the first frame.
    for number in 0..GOOD {
        peer.send(&numbered(number, FRAME - 41));
    }
    node.until("frames of all", |endpoint| {
        let received = |target| endpoint.peer(target).map_or(0, |info| info.frames_received);
        received(good) == u64::from(GOOD)
            && strangers.iter().any(|(_, target)| received(*target) > 0)
    });

    let (mut expected, mut between, mut longest) = (0, 0, 0);
    while expected < GOOD {
        let (target, frame) = node.next();
        if target != good {
            between += 1;
            continue;
        }
        assert_eq!(crate::scripted::number_of(frame.as_bytes()), expected);
        longest = longest.max(between);
        (expected, between) = (expected + 1, 0);
    }
    println!("at most {longest} frames of {STRANGERS} strangers between two of the good peer");
    // A turn ends with the frame that exceeds it.
    let turn = TURN / COST + 1;
    assert!(longest <= usize::from(STRANGERS) * turn, "{longest} frames");

    drop(node);
    for ((stream, flood), _) in strangers {
        // The endpoint may have closed already.
        let _ = stream.shutdown(Shutdown::Both);
        flood.join().expect("a flood ends with its stream");
    }
}
