//! Frames and events as streams.

use futures_lite::{StreamExt, future};
use netmod_inet::Event;

use crate::scripted::{STANDARD, numbered};
use crate::subject::{Node, parsed, within};

const COUNT: u32 = 1_000;

#[test]
fn a_stream_yields_what_arrives_in_order_and_ends_with_the_endpoint() {
    let mut node = Node::listening();
    let (mut peer, target) = node.accept_plain(STANDARD, 5);
    let mut frames = node.endpoint.frames();
    assert!(smol::block_on(future::poll_once(frames.next())).is_none(), "nothing was sent");
    let sender = std::thread::spawn(move || {
        (0..COUNT).for_each(|number| peer.send(&numbered(number, 30)));
        peer
    });
    for number in 0..COUNT {
        // One that was asked in vain and then left alone has lost nothing.
        let frame = smol::block_on(future::poll_once(frames.next()))
            .unwrap_or_else(|| within("frame", frames.next()));
        assert_eq!(frame, Some((target, parsed(&numbered(number, 30)))));
    }
    drop(sender.join());
    within("shutdown", node.endpoint.shutdown());
    assert_eq!(within("end of the stream", frames.next()), None);
    assert_eq!(within("end of the stream", frames.next()), None, "and it stays so");
}

#[test]
fn two_streams_share_the_frames() {
    let mut node = Node::listening();
    let (mut peer, target) = node.accept_plain(STANDARD, 5);
    let (mut one, mut other) = (node.endpoint.frames(), node.endpoint.frames());
    // Both wait, and the one that was first is served first.
    assert!(smol::block_on(future::poll_once(one.next())).is_none());
    assert!(smol::block_on(future::poll_once(other.next())).is_none());
    for number in 0..2 {
        peer.send(&numbered(number, 0));
    }
    let both = within("frames", future::zip(one.next(), other.next()));
    let frame = |number| Some((target, parsed(&numbered(number, 0))));
    assert_eq!(both, (frame(0), frame(1)));
}

#[test]
fn events_are_a_stream_that_ends_with_the_endpoint() {
    let mut node = Node::listening();
    let events = node.endpoint.events();
    let waiting = std::thread::spawn(move || within("events", events.collect::<Vec<Event>>()));
    let (peer, target) = node.accept_plain(STANDARD, 5);
    drop(peer);
    node.removed(target);
    within("shutdown", node.endpoint.shutdown());
    let texts: Vec<_> = waiting.join().expect("events").iter().map(Event::to_string).collect();
    let [up, down, removed, stopped] = &texts[..] else { panic!("{texts:?}") };
    assert!(up.starts_with("peer 0 up") && down.starts_with("peer 0 down"), "{texts:?}");
    assert_eq!((removed.as_str(), stopped.as_str()), ("peer 0 ended", "stopped"));
}
