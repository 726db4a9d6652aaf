//! A listener that takes the link, sends one frame and closes.

use std::time::Duration;

use netmod_inet::{Event, InetEndpoint};

use crate::scripted::{PlainListener, STANDARD, numbered};
use crate::subject::{Node, parsed, quick};

/// Enough links for the bound of the back-off to become 256 times the first one.
const LINKS: u32 = 9;

/// How many times the first bound one of the delays exceeds. In all but one of two million runs: a
/// delay is drawn evenly, so the chance that it does not is a half after the fourth link, a quarter
/// after the fifth, and so on.
const GROWN: u32 = 4;

fn dialer(first: Duration) -> Node {
    let mut limits = quick();
    limits.redial_first = first;
    limits.redial_cap = first * (1 << LINKS);
    Node::built(InetEndpoint::builder().limits(limits))
}

/// The delays until the next dial after each of the links to a listener that sends `frames` and
/// closes.
fn delays(node: &mut Node, frames: &[Vec<u8>], links: u32) -> Vec<Duration> {
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let serve = |_| {
        let mut peer = listener.answer(STANDARD, 5);
        frames.iter().for_each(|frame| peer.send(frame));
        peer.half_close();
        for frame in frames {
            assert_eq!(node.next(), (target, parsed(frame)));
        }
        node.wait("down event", |event| match event {
            Event::Down { retry, .. } => Some(retry.expect("it is dialed again")),
            _ => None,
        })
    };
    (0..links).map(serve).collect()
}

#[test]
fn one_frame_does_not_reset_the_back_off() {
    let first = Duration::from_millis(10);
    let mut node = dialer(first);
    let delays = delays(&mut node, &[numbered(1, 100)], LINKS);
    // The bound doubles with each link, so the dials thin out; reset, none is above the first.
    assert!(delays.iter().any(|delay| *delay > GROWN * first), "{delays:?}");
}

#[test]
fn a_link_that_carried_64_kib_in_resets_the_back_off() {
    let first = Duration::from_millis(10);
    let mut node = dialer(first);
    let frames: Vec<_> = (0..3).map(|number| numbered(number, 30_000)).collect();
    let delays = delays(&mut node, &frames, LINKS);
    assert!(delays.iter().all(|delay| *delay <= first), "{delays:?}");
}
