//! Frames on an open link.

use netmod_inet::Target;

use crate::scripted::{
    LARGEST, PlainListener, PlainPeer, STANDARD, ack, carrier, carrier_with_all_fields, hello,
    numbered, prefixed, run_of,
};
use crate::subject::{Node, parsed};

/// A link in each direction: accepted by the endpoint, then dialed by it.
fn both_ways() -> (Node, [(PlainPeer, Target); 2]) {
    let mut node = Node::listening();
    let accepted = node.accept_plain(STANDARD, 3);
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let dialed = listener.answer(STANDARD, 4);
    assert_eq!(node.up().0, target);
    (node, [accepted, (dialed, target)])
}

#[test]
fn a_length_apart_from_its_body() {
    let (mut node, mut links) = both_ways();
    let body = numbered(7, 300);
    for (peer, target) in &mut links {
        let bytes = prefixed(&body);
        peer.write(&bytes[..4]);
        // An exchange of another peer lies between, so the length is read by itself.
        node.serves("a length alone");
        peer.write(&bytes[4..]);
        node.expect_frames(*target, [&body]);
    }
}

#[test]
fn a_frame_split_at_every_byte() {
    let mut node = Node::listening();
    let bytes = prefixed(&numbered(7, 30));
    let mut links: Vec<_> = (1..bytes.len()).map(|_| node.accept_plain(STANDARD, 3)).collect();
    for ((peer, _), at) in links.iter_mut().zip(1..) {
        peer.write(&bytes[..at]);
    }
    node.serves("the first parts");
    for ((peer, target), at) in links.iter_mut().zip(1..) {
        peer.write(&bytes[at..]);
        node.expect_frames(*target, [&numbered(7, 30)]);
    }
}

#[test]
fn frames_one_byte_at_a_time() {
    let (node, mut links) = both_ways();
    let frames: Vec<_> = (0..3).map(|number| numbered(number, 20)).collect();
    for (peer, target) in &mut links {
        for byte in run_of(&frames) {
            peer.write(&[byte]);
        }
        node.expect_frames(*target, &frames);
    }
}

#[test]
fn many_frames_in_one_segment() {
    let (node, mut links) = both_ways();
    let frames: Vec<_> = (0..1000).map(|number| numbered(number, 12)).collect();
    for (peer, target) in &mut links {
        peer.write(&run_of(&frames));
        node.expect_frames(*target, &frames);
        node.until("count of 1000", |_| node.info(*target).frames_received == 1000);
        assert_eq!(node.info(*target).frames_ignored, 0);
    }
}

#[test]
fn bytes_after_the_payload_are_cut_off() {
    let (node, mut links) = both_ways();
    let whole = numbered(1, 50);
    let largest = carrier(8, 3, &vec![5; 65_535]);
    for (peer, target) in &mut links {
        for extra in [1, 4, 500] {
            peer.send(&[whole.clone(), vec![0xee; extra]].concat());
        }
        // As many as the largest length leaves room for.
        peer.send(&[largest.clone(), vec![0xee; LARGEST - largest.len()]].concat());
        peer.send(&whole);
        node.expect_frames(*target, [&whole, &whole, &whole, &largest, &whole]);
    }
}

#[test]
fn netmod_frames_of_a_plain_node_are_ignored_and_counted() {
    let (node, mut links) = both_ways();
    let (before, after) = (carrier(31, 3, b"before"), carrier(64, 3, b"after"));
    for (peer, target) in &mut links {
        peer.send(&before);
        peer.write(&run_of(&(32..=63).map(|modes| carrier(modes, 3, b"x")).collect::<Vec<_>>()));
        // Not even a whole Hello or Ack, sent again, is more than such a frame now.
        peer.send(&hello(STANDARD, 0, 9));
        peer.send(&ack(STANDARD, 9));
        peer.send(&after);
        node.expect_frames(*target, [&before, &after]);
        node.until("count of 2", |_| node.info(*target).frames_received == 2);
        assert_eq!(node.info(*target).frames_ignored, 34);
        // And the endpoint does not reply to them: its next frame is the first thing it writes.
        node.try_send(*target, &before);
        assert_eq!(peer.read_frame(), before);
    }
}

#[test]
fn frames_of_an_unknown_version_are_ignored_and_counted() {
    let (node, mut links) = both_ways();
    for (peer, target) in &mut links {
        for version in [0, 2, 255] {
            let mut body = numbered(1, 30);
            body[0] = version;
            peer.send(&body);
        }
        peer.send(&numbered(2, 30));
        node.expect_frames(*target, [&numbered(2, 30)]);
        node.until("count of 1", |_| node.info(*target).frames_received == 1);
        assert_eq!(node.info(*target).frames_ignored, 3);
    }
}

#[test]
fn the_largest_frame_both_ways() {
    let (node, mut links) = both_ways();
    let payload: Vec<u8> = (0..=250u8).cycle().take(65_535).collect();
    let body = carrier_with_all_fields(8, 3, &payload);
    assert_eq!(body.len(), LARGEST);
    for (peer, target) in &mut links {
        for _ in 0..3 {
            peer.send(&body);
            node.expect_frames(*target, [&body]);
            node.try_send(*target, &body);
            assert!(peer.read_frame() == body, "torn on the way out");
        }
    }
}

#[test]
fn the_smallest_frame_both_ways() {
    let (node, mut links) = both_ways();
    let body = carrier(8, 3, b"");
    assert_eq!(body.len(), 41);
    for (peer, target) in &mut links {
        peer.send(&body);
        node.expect_frames(*target, [&body]);
        node.try_send(*target, &body);
        assert_eq!(peer.read_frame(), body);
    }
}

#[test]
fn frames_arrive_whole_and_in_order() {
    let (node, mut links) = both_ways();
    for (peer, target) in &mut links {
        // Of every size from tiny to large, so that they cross buffers at odd places.
        let frames: Vec<_> =
            (0..300).map(|number| numbered(number, 4 + 7 * number as usize)).collect();
        for body in &frames {
            node.try_send(*target, body);
        }
        for body in &frames {
            assert!(peer.read_frame() == *body, "not the frame that was sent");
        }
        node.until("count of 300", |_| node.info(*target).frames_sent == 300);
    }
}

#[test]
fn a_flood_reaches_all_but_the_one_left_out() {
    let (mut node, links) = both_ways();
    let (left_out, alone) = node.accept_plain(STANDARD, 5);
    let [(mut one, a), (mut two, b)] = links;
    let mut out = left_out;

    let mut report =
        node.endpoint.send_all_except(parsed(&numbered(1, 9)), &[alone]).expect("a flood");
    report.sent.sort_unstable();
    assert_eq!(report.sent, sorted([a, b]));
    assert_eq!(report.refused, []);
    let mut report = node.endpoint.send_all(parsed(&numbered(2, 9))).expect("a flood");
    report.sent.sort_unstable();
    assert_eq!(report.sent, sorted([a, b, alone]));

    for peer in [&mut one, &mut two] {
        assert_eq!(peer.read_frame(), numbered(1, 9));
        assert_eq!(peer.read_frame(), numbered(2, 9));
    }
    assert_eq!(out.read_frame(), numbered(2, 9), "the one left out got the first flood");
}

fn sorted<const N: usize>(mut targets: [Target; N]) -> [Target; N] {
    targets.sort_unstable();
    targets
}
