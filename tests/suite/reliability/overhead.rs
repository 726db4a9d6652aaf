//! What acknowledgements add to a busy link.

use futures_lite::future;
use netmod_inet::{InetEndpoint, SendErrorKind, Target};

use super::figures::number;
use crate::resume::proxy::Proxy;
use crate::scripted::{PlainListener, STANDARD, numbered};
use crate::subject::{Node, is_encrypted, parsed, within};

/// What they may add, in thousandths.
const MOST: f64 = 10.0;

/// What encryption adds to each message: its length, and a tag.
const SEAL: f64 = 20.0;

/// What may be added to frames of this size. An encrypted message holds one frame at least; how
/// many more depends on how fast one side seals them and the other sends.
fn most(size: usize) -> f64 {
    let sealed = 1000.0 * SEAL / on_the_wire(size) as f64;
    if is_encrypted() { MOST + sealed } else { MOST }
}

/// How many frames of this size there are in `MEGABYTES`, 4 of them by default.
fn frames(size: usize) -> u32 {
    (number("MEGABYTES", 4) * 1_000_000 / size) as u32
}

/// Bytes of a frame with so much payload, with its length before it.
fn on_the_wire(size: usize) -> u64 {
    4 + numbered(0, size).len() as u64
}

/// Sends as fast as the link takes it.
async fn send(endpoint: &InetEndpoint, target: Target, size: usize) {
    for number in 0..frames(size) {
        let mut frame = parsed(&numbered(number, size));
        while let Err(error) = endpoint.send(target, frame).await {
            assert_eq!(error.reason(), SendErrorKind::TimedOut);
            frame = error.into_frame();
        }
    }
}

async fn receive(endpoint: &InetEndpoint, size: usize) {
    for _ in 0..frames(size) {
        endpoint.next().await.expect("a running endpoint");
    }
}

/// Bytes that go over the line between two nodes of ours while one sends, or both do.
fn between_ours(size: usize, both: bool) -> u64 {
    let (mut listener, mut dialer) = (Node::listening(), Node::dial_only());
    let line = Proxy::to(listener.port());
    let to_listener = dialer.add(&line.address());
    dialer.up();
    let (to_dialer, _, _) = listener.up();
    let before = line.carried();
    let (near, far) = (&dialer.endpoint, &listener.endpoint);
    let there = future::zip(send(near, to_listener, size), receive(far, size));
    let back = async {
        if both {
            future::zip(send(far, to_dialer, size), receive(near, size)).await;
        }
    };
    within("end of the exchange", future::zip(there, back));
    for node in [&dialer, &listener] {
        node.until("all acknowledged", |endpoint| endpoint.peers()[0].queued_frames == 0);
    }
    line.carried() - before
}

/// The same to a plain node.
fn to_plain(size: usize) -> u64 {
    let (plain, mut dialer) = (PlainListener::bind(), Node::dial_only());
    let line = Proxy::to(plain.port());
    let target = dialer.add(&line.address());
    let mut peer = plain.answer(STANDARD, 5);
    dialer.up();
    let before = line.carried();
    let reader = std::thread::spawn(move || {
        (0..frames(size)).for_each(|_| drop(peer.read_frame()));
        peer
    });
    within("all sent", send(&dialer.endpoint, target, size));
    drop(reader.join().expect("a reader"));
    line.carried() - before
}

/// How much more that is than the frames, in thousandths.
fn added(carried: u64, frames: u64) -> f64 {
    1000.0 * (carried - frames) as f64 / frames as f64
}

#[test]
fn acknowledgements_add_little_to_a_busy_link() {
    for size in [64, 1_000, 32_000] {
        let data = u64::from(frames(size)) * on_the_wire(size);
        let plain = to_plain(size);
        assert_eq!(plain, data, "a plain node was sent something else");
        let (one, both) = (between_ours(size, false), between_ours(size, true));
        let (one_added, both_added) = (added(one, data), added(both, 2 * data));
        println!(
            "{size} bytes of payload, {data} bytes of frames: {plain} bytes to a plain node; \
             between two of ours {one} one way, {one_added:.2} thousandths more, and {both} both \
             ways, {both_added:.2} thousandths more"
        );
        assert!(one_added < most(size) && both_added < most(size));
    }
}
