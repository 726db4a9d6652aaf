//! Queues and their bounds: what `send`, `try_send` and `send_all` promise.

mod forwarding;
mod memory;
mod waiting;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use netmod_inet::{Frame, InetEndpoint, Limits, SendErrorKind};

use crate::addresses::own_addr;
use crate::scripted::{PlainListener, STANDARD, carrier, numbered};
use crate::subject::{Node, parsed, quick, within};

/// A payload whose bytes show where in it they stand.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn node_with(change: impl FnOnce(&mut Limits)) -> Node {
    let mut limits = quick();
    change(&mut limits);
    Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits))
}

/// An address at which nobody answers.
fn nowhere() -> String {
    own_addr().to_string()
}

#[test]
fn frames_wait_for_a_link_and_go_out_in_order() {
    let node = Node::dial_only();
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let frames: Vec<_> = (0..500).map(|number| numbered(number, 300)).collect();
    frames.iter().for_each(|frame| node.try_send(target, frame));
    assert_eq!(node.info(target).queued_frames, 500);
    let mut peer = listener.answer(STANDARD, 5);
    frames.iter().for_each(|frame| assert_eq!(&peer.read_frame(), frame));
    // They leave the queue before they are counted.
    node.until("count of 500", |endpoint| endpoint.peers()[0].frames_sent == 500);
    assert_eq!(node.info(target).queued_frames, 0);
}

#[test]
fn many_at_once_go_in_order_up_to_the_one_that_is_refused() {
    let mut node = node_with(|limits| limits.total_queue_bytes = 3 << 19);
    let (mut peer, target) = node.accept_plain(STANDARD, 5);
    let send_many = |target, bodies: &[Vec<u8>]| {
        let mut frames: VecDeque<_> = bodies.iter().map(|body| parsed(body)).collect();
        let sent = node.endpoint.try_send_many(target, &mut frames);
        (sent, frames.len())
    };
    let sizes = [10, 3_000, 40, 60_000, 0];
    let bodies: Vec<_> = (0..).zip(sizes).map(|(number, size)| numbered(number, size)).collect();
    assert_eq!(send_many(target, &bodies), (Ok(()), 0));
    bodies.iter().for_each(|body| assert_eq!(&peer.read_frame(), body));

    assert_eq!(
        send_many((u16::from(target) + 1).into(), &bodies),
        (Err(SendErrorKind::UnknownTarget), 5)
    );
    let reserved = [numbered(7, 9), carrier(40, 1, b"x"), numbered(8, 9)];
    assert_eq!(send_many(target, &reserved), (Err(SendErrorKind::Reserved), 2));
    assert_eq!(peer.read_frame(), reserved[0]);

    // The peer that is down the longest makes room where all queues together are full.
    let away = [node.add(&nowhere()), node.add(&nowhere())];
    let many = vec![numbered(9, 1_000); 3_000];
    let fit = |bytes| bytes / (Frame::MIN_LEN + 1_000 + 128);
    for target in away {
        assert_eq!(send_many(target, &many), (Err(SendErrorKind::Full), 3_000 - fit(1 << 20)));
    }
    let kept = away.map(|target| node.info(target).queued_frames);
    assert_eq!(kept, [fit(3 << 19) - fit(1 << 20), fit(1 << 20)]);
    assert_eq!(node.endpoint.take_unconfirmed(away[0]).len(), fit(1 << 20) - kept[0]);
    within("shutdown", node.endpoint.shutdown());
    assert_eq!(send_many(away[0], &bodies), (Err(SendErrorKind::Closed), 5));
    assert_eq!(node.endpoint.take_unconfirmed(away[0]).len(), kept[0]);
}

/// The load is known by the time that it really took; a busy machine slows it, and what the peers
/// show with it.
#[test]
fn rates_are_those_of_a_known_load() {
    let mut sender = Node::dial_only();
    let receiver = Node::listening();
    let target = sender.add(&format!("127.0.0.1:{}", receiver.port()));
    sender.up();
    let frame = numbered(0, 10_000);
    let started = Instant::now();
    let mut frames = 0;
    while started.elapsed() < Duration::from_millis(1_500) {
        sender.try_send(target, &frame);
        receiver.next();
        frames += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = started.elapsed().as_secs_f64();
    // Either side counts a frame a moment after it is on its way.
    sender.until("count", |endpoint| endpoint.peers()[0].frames_sent == frames);
    receiver.until("count", |endpoint| endpoint.peers()[0].frames_received == frames);
    let (sent, received) = (sender.info(target), &receiver.endpoint.peers()[0]);
    let wanted = sent.bytes_sent as f64 / took;
    for rate in [sent.send_rate, received.receive_rate] {
        let off = rate as f64 / wanted;
        assert!((0.4..2.5).contains(&off), "{rate} bytes per second, {wanted} were sent");
    }
    assert_eq!((sent.receive_rate, received.send_rate), (0, 0));
}
