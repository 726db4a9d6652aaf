//! How a link ends, and what the events report of it.

use netmod_inet::{Closed, Event, InetEndpoint, PeerState, SendErrorKind, Target};

use crate::scripted::{End, PlainListener, PlainPeer, STANDARD, numbered, prefixed, run_of};
use crate::subject::{Node, TIMEOUT, parsed, quick, within};

/// One way to end a link, given a peer to which the endpoint wrote a frame that it has not read,
/// and a part of the reason that the endpoint must give for it.
type Ending = (&'static str, fn(PlainPeer), &'static str);

const ENDINGS: [Ending; 5] = [
    ("clean end", end_between_frames, "closed by the remote"),
    ("end inside a length", |peer| end_after(peer, 3), "inside a frame"),
    ("end after a length", |peer| end_after(peer, 4), "inside a frame"),
    ("end inside a body", |peer| end_after(peer, 60), "inside a frame"),
    ("reset", PlainPeer::reset, "reset"),
];

/// Reads the frame first: to close over unread bytes would be a reset.
fn end_between_frames(mut peer: PlainPeer) {
    peer.read_frame();
}

fn end_after(mut peer: PlainPeer, bytes: usize) {
    peer.read_frame();
    peer.write(&prefixed(&numbered(1, 100))[..bytes]);
}

#[test]
fn a_dialed_peer_comes_back_after_every_ending_under_its_target() {
    let mut node = Node::dial_only();
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let mut peer = listener.answer(STANDARD, 4);
    for (links, (case, end, expected)) in (1..).zip(ENDINGS) {
        assert_eq!(node.up().0, target, "{case}");
        assert_eq!(node.info(target).links, links, "{case}");
        node.try_send(target, &numbered(1, 9));
        end(peer);
        let (reason, redials) = node.down(target);
        assert!(reason.to_string().contains(expected), "{case}: {reason}");
        assert!(redials, "{case}");
        peer = listener.answer(STANDARD, 4);
    }
    assert_eq!(node.up().0, target);
    node.try_send(target, &numbered(2, 9));
    assert_eq!(peer.read_frame(), numbered(2, 9));
    assert_eq!(node.info(target).state, PeerState::Up);
}

#[test]
fn an_accepted_plain_peer_is_dropped_after_every_ending() {
    let mut node = Node::listening();
    for (case, end, expected) in ENDINGS {
        let (peer, target) = node.accept_plain(STANDARD, 4);
        node.try_send(target, &numbered(1, 9));
        end(peer);
        let (reason, redials) = node.down(target);
        assert!(reason.to_string().contains(expected), "{case}: {reason}");
        assert!(!redials, "{case}");
        node.removed(target);
        assert!(node.endpoint.peers().is_empty(), "{case}");
        let refused = node.endpoint.try_send(target, parsed(&numbered(2, 9)));
        assert_eq!(refused.expect_err("it is gone").reason(), SendErrorKind::UnknownTarget);
    }
}

/// A peer sends its last frames and closes while this node writes to it. The write fails, which
/// must not keep the router from those frames: only the reader knows when they are over.
#[test]
fn a_failed_write_does_not_cost_what_arrived_before_it() {
    let mut limits = quick();
    limits.queue_frames = 64;
    // So long the link may still be read once it is broken.
    limits.drain_timeout = TIMEOUT;
    let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let (mut peer, target) = node.accept_plain(STANDARD, 4);
    let frames: Vec<_> = (0..100).map(|number| numbered(number, 100)).collect();
    peer.write(&run_of(&frames));
    node.until("all frames", |_| node.info(target).frames_received == 100);
    drop(peer);
    // The first one is answered by a reset, the next one fails, and after that none is taken out of
    // the queue.
    node.until("queue that nobody empties", |endpoint| {
        endpoint.try_send(target, parsed(&numbered(1, 9))).is_err()
    });
    node.expect_frames(target, &frames);
    node.removed(target);
}

#[test]
fn frames_that_arrived_before_a_shutdown_are_still_delivered() {
    let mut node = Node::listening();
    let (mut peer, target) = node.accept_plain(STANDARD, 4);
    let frames: Vec<_> = (0..20).map(|number| numbered(number, 9)).collect();
    peer.write(&run_of(&frames));
    node.until("count of 20", |_| node.info(target).frames_received == 20);
    within("shutdown", node.endpoint.shutdown());
    node.expect_frames(target, &frames);
    assert_eq!(within("end", node.endpoint.next()), Err(Closed));
}

#[test]
fn frames_sent_before_a_shutdown_still_arrive() {
    let mut limits = quick();
    limits.drain_timeout = TIMEOUT;
    let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let (mut peer, target) = node.accept_plain(STANDARD, 4);
    for number in 0..20 {
        node.try_send(target, &numbered(number, 20_000));
    }
    let reader = std::thread::spawn(move || peer.read_to_end());
    within("shutdown", node.endpoint.shutdown());
    let (written, end) = reader.join().expect("a reader that ends");
    let (whole, rest) = frames_in(&written);
    assert_eq!((whole.len(), rest.len(), end), (20, 0, End::Closed));
    for (number, body) in (0..).zip(&whole) {
        assert!(*body == numbered(number, 20_000), "frame {number}");
    }
}

#[test]
fn an_accepted_peer_hands_its_queue_back() {
    let mut node = Node::listening();
    let (mut peer, target) = node.accept_plain(STANDARD, 4);
    let accepted = fill(&node, target);
    // Half closed, so that what the link took before its end can still be read and counted.
    peer.half_close();
    let handed_back = node.wait("unconfirmed event", |event| match event {
        Event::Unconfirmed { target: of, frames } if *of == target => Some(*frames),
        _ => None,
    });
    node.removed(target);
    let back = node.endpoint.take_unconfirmed(target);
    assert_eq!(back.len(), handed_back);
    assert!(node.endpoint.take_unconfirmed(target).is_empty(), "given out twice");

    let (written, _) = peer.read_to_end();
    let (whole, rest) = frames_in(&written);
    let back: Vec<_> = back.iter().map(|frame| frame.as_bytes().to_vec()).collect();
    let all: Vec<_> = whole.into_iter().chain(back).collect();
    assert_eq!(all.len(), accepted, "{} bytes of a cut frame", rest.len());
    for (number, body) in (0..).zip(&all) {
        assert!(*body == numbered(number, FILL_SIZE), "frame {number} is missing or torn");
    }
}

/// The largest payload. The system takes no frame in part that fits one of its buffers.
pub(super) const FILL_SIZE: usize = 65_535;

/// Sends numbered frames to a peer that does not read, until there is room for no more.
pub(super) fn fill(node: &Node, target: Target) -> usize {
    for number in 0..10_000 {
        let frame = parsed(&numbered(number, FILL_SIZE));
        let sent = node.endpoint.send(target, frame);
        if let Err(refused) = within("room or refusal", sent) {
            assert_eq!(refused.reason(), SendErrorKind::TimedOut);
            return number as usize;
        }
    }
    panic!("the queue has no bound");
}

/// The whole frames in a run of bytes, and what is left of a frame that was cut.
pub(super) fn frames_in(mut bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut frames = Vec::new();
    while let Some((size, rest)) = bytes.split_first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        let Some(body) = rest.get(..size) else { break };
        frames.push(body.to_vec());
        bytes = &rest[size..];
    }
    (frames, bytes.to_vec())
}
