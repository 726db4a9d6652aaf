//! Strangers that flood this node with frames that the router is never handed.
//!
//! A good peer gets through meanwhile. Under `NEIGHBOURS=full` its rate and latency are compared with
//! those beside as many peers whose frames are read: alone, in a release build, on an idle machine.

use std::net::{Shutdown, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::ordinary_frames::flood;
use crate::resume::by_hand::{Extension, PING, control};
use crate::scripted::{PlainListener, STANDARD, carrier, numbered};
use crate::subject::{Node, TIMEOUT, within};

const STRANGERS: u8 = 34;

/// Frames that the good peer exchanges with the router.
fn rounds() -> u32 {
    if is_full() { 500 } else { 50 }
}

/// Length of the frames of strangers, with the header.
const FRAME: usize = 1041;

/// What one run measured.
#[derive(Debug)]
struct Figures {
    rate: f64,
    p99: Duration,
}

fn is_full() -> bool {
    std::env::var("NEIGHBOURS").is_ok_and(|value| value == "full")
}

/// Takes frames of strangers too, as a router does, until one of the good peer comes.
fn round_trips(frame_of: impl Fn(u8) -> Vec<u8>) -> Figures {
    let mut node = Node::listening();
    let listener = PlainListener::bind();
    let good = node.add(&listener.addr(""));
    let mut peer = listener.answer(STANDARD, 200);
    node.up();
    let floods: Vec<(TcpStream, JoinHandle<()>)> =
        (0..STRANGERS).map(|id| flood(node.accept_plain(STANDARD, id).0, &frame_of(id))).collect();

    let begin = Instant::now();
    let mut latencies: Vec<_> = (0..rounds())
        .map(|number| {
            let sent = Instant::now();
            let request = numbered(number, 100);
            peer.send(&request);
            // One wait for all of them: a router sets no deadline for each frame.
            within("frame of the good peer", async {
                while node.endpoint.next().await.expect("a running endpoint").0 != good {}
            });
            node.try_send(good, &request);
            assert_eq!(peer.read_frame(), request);
            assert!(
                begin.elapsed() < TIMEOUT,
                "{number} of {} round trips within {TIMEOUT:?}",
                rounds()
            );
            sent.elapsed()
        })
        .collect();
    let rate = f64::from(rounds()) / begin.elapsed().as_secs_f64();
    latencies.sort_unstable();

    drop(node);
    for (stream, flood) in floods {
        // The endpoint may have closed already.
        let _ = stream.shutdown(Shutdown::Both);
        flood.join().expect("a flood ends with its stream");
    }
    Figures { rate, p99: latencies[latencies.len() * 99 / 100] }
}

fn compare(name: &str, frame_of: impl Fn(u8) -> Vec<u8>) {
    let ignored = round_trips(frame_of);
    if !is_full() {
        println!("{name}: {ignored:?}");
        return;
    }
    let ordinary = round_trips(|id| carrier(8, id, &[id; FRAME - 41]));
    println!("{name}: {ignored:?}; ordinary frames: {ordinary:?}");
    assert!(ignored.rate >= ordinary.rate / 2.0, "{name}: {ignored:?}, {ordinary:?}");
    assert!(ignored.p99 <= 3 * ordinary.p99, "{name}: {ignored:?}, {ordinary:?}");
}

#[test]
fn frames_of_an_unknown_version() {
    compare("unknown version", |id| {
        let mut frame = carrier(8, id, &[id; FRAME - 41]);
        frame[0] = 7;
        frame
    });
}

#[test]
fn frames_of_the_handshake() {
    compare("modes 63", |id| carrier(63, id, &[id; FRAME - 41]));
}

#[test]
fn control_records_of_plain_nodes() {
    let ping = Extension::from([(PING, Vec::new())]);
    compare("control records", |id| control(id, &ping));
}
