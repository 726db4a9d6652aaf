//! Closing while much is under way both ways, and no router reads it.

use std::collections::BTreeSet;

use futures_lite::future;
use netmod_inet::{InetEndpoint, Limits, Target};

use super::figures::number;
use crate::scripted::{STANDARD, number_of, numbered};
use crate::subject::{Node, TIMEOUT, quick, within};

const SIZE: usize = 20_000;

/// Room for some frames only.
const LITTLE: usize = 256 << 10;

/// Two nodes, each with frames for the other.
struct Pair {
    nodes: [Node; 2],
    targets: [Target; 2],
}

/// Frames for `MEGABYTES`, 4 of them by default.
fn frames() -> u32 {
    (number("MEGABYTES", 4) * 1_000_000 / SIZE) as u32
}

/// As many frames as a router may send before the remote one takes any: half of the window, which
/// is 256 KiB at first, or a quarter of a small `inbound_bytes`.
fn within_window() -> u32 {
    (60_000 / SIZE) as u32
}

/// Room for all frames, as the endpoint counts it: it counts the memory that a frame keeps, which
/// is a whole buffer at worst.
fn plenty() -> usize {
    (number("MEGABYTES", 4) << 20) * 16
}

fn limits(inbound_bytes: usize) -> Limits {
    let mut limits = quick();
    limits.inbound_bytes = inbound_bytes;
    limits.queue_bytes = plenty();
    limits.total_queue_bytes = 2 * limits.queue_bytes;
    limits.drain_timeout = Limits::default().drain_timeout;
    limits
}

impl Pair {
    /// Two that have put everything into their queues.
    fn loaded(inbound_bytes: usize) -> Pair {
        Pair::loaded_by(&[0, 1], frames(), inbound_bytes)
    }

    /// Two of which those named have put this number of frames into their queues.
    fn loaded_by(senders: &[usize], frames: u32, inbound_bytes: usize) -> Pair {
        let builder = InetEndpoint::builder().limits(limits(inbound_bytes));
        let mut listener = Node::built(builder.bind("127.0.0.1:0"));
        let mut dialer = Node::built(InetEndpoint::builder().limits(limits(inbound_bytes)));
        let to_listener = dialer.add(&format!("127.0.0.1:{}", listener.port()));
        dialer.up();
        let (to_dialer, _, _) = listener.up();
        let pair = Pair { nodes: [listener, dialer], targets: [to_dialer, to_listener] };
        for number in 0..frames {
            for at in senders {
                pair.nodes[*at].try_send(pair.targets[*at], &numbered(number, SIZE));
            }
        }
        pair
    }

    fn endpoints(&self) -> [InetEndpoint; 2] {
        self.nodes.each_ref().map(|node| node.endpoint.clone())
    }

    /// Shuts both down at once, and meanwhile reads nothing.
    ///
    /// The dialer, which always has something to send, a moment before the listener: one that
    /// receives a goodbye before it closes itself sends no more, and has the rest come back.
    fn close(&self) {
        let [listener, dialer] = self.endpoints();
        within("both shutdowns", future::zip(dialer.shutdown(), listener.shutdown()));
    }

    /// What node `at` still hands out.
    fn arrived(&self, at: usize) -> Vec<u32> {
        arrived(&self.nodes[at].endpoint)
    }

    /// Fails unless everything arrived, both ways. Returns how much came back all the same: a node
    /// that has sent its goodbye can acknowledge no more, so what reaches it after that may have
    /// been lost as far as its sender knows.
    fn all_arrived(&self) -> String {
        for at in 0..2 {
            let arrived = self.arrived(at);
            let all: Vec<_> = (0..within_window()).collect();
            assert_eq!(arrived, all, "node {at}; {} came back", self.returned(1 - at).len());
        }
        format!("{:?} came back as well", [0, 1].map(|at| self.returned(at).len()))
    }

    /// What comes back to node `at`.
    fn returned(&self, at: usize) -> Vec<u32> {
        let frames = self.nodes[at].endpoint.take_unconfirmed(self.targets[at]);
        frames.iter().map(|frame| number_of(frame.as_bytes())).collect()
    }
}

/// What an endpoint hands out until its end.
fn arrived(endpoint: &InetEndpoint) -> Vec<u32> {
    let frames = std::iter::from_fn(|| within("next", endpoint.next()).ok());
    frames.map(|(_, frame)| number_of(frame.as_bytes())).collect()
}

fn all() -> Vec<u32> {
    (0..frames()).collect()
}

/// Where all of it has room at the receiver, all of it arrives, though nobody reads before both
/// nodes have closed.
#[test]
fn written_frames_arrive_though_both_close() {
    let pair = Pair::loaded_by(&[0, 1], within_window(), plenty());
    for (node, target) in pair.nodes.iter().zip(pair.targets) {
        node.until("all written", |_| node.info(target).frames_sent == u64::from(within_window()));
    }
    pair.close();
    let came_back = pair.all_arrived();
    println!("closed over {} unread frames each way: all arrived, {came_back}", within_window());
}

/// The same when the queues are still full at that moment: closing sends them first.
#[test]
fn queued_frames_arrive_though_both_close() {
    let pair = Pair::loaded_by(&[0, 1], within_window(), plenty());
    pair.close();
    let came_back = pair.all_arrived();
    println!("closed over queues of {} frames: all arrived, {came_back}", within_window());
}

/// A node that has nothing to send is done at once. It still reads to the end.
#[test]
fn queued_frames_arrive_after_the_goodbye_of_the_remote() {
    // More than the buffers of the system take off its hands.
    let count = 5 * frames();
    let pair = Pair::loaded_by(&[1], count, LITTLE);
    let endpoint = pair.nodes[0].endpoint.clone();
    let reader = std::thread::spawn(move || arrived(&endpoint));
    pair.close();
    let arrived = reader.join().expect("a reader").len();
    assert_eq!(arrived, count as usize, "{} came back", pair.returned(1).len());
}

/// A node that takes less than what is under way takes all of it if its router goes on reading.
#[test]
fn with_little_room_all_arrives_if_the_routers_read_on() {
    let pair = Pair::loaded(LITTLE);
    let readers = [0, 1].map(|at| {
        let endpoint = pair.nodes[at].endpoint.clone();
        std::thread::spawn(move || arrived(&endpoint))
    });
    pair.close();
    for (at, reader) in readers.into_iter().enumerate() {
        assert_eq!(reader.join().expect("a reader"), all(), "node {at}");
    }
    let returned = [0, 1].map(|at| pair.returned(at).len());
    println!(
        "little room, routers read on: all of {} arrived, {returned:?} came back as well",
        frames()
    );
}

/// And if they do not, each frame either arrives or comes back to its sender, once the time for
/// closing is over.
#[test]
fn with_small_queues_and_no_reader_each_frame_arrives_or_is_returned() {
    let pair = Pair::loaded(LITTLE);
    pair.close();
    let mut figures = Vec::new();
    for (receiver, sender) in [(0, 1), (1, 0)] {
        let (arrived, returned) = (pair.arrived(receiver), pair.returned(sender));
        assert_eq!(arrived, all()[..arrived.len()], "in order, without a gap");
        let both: BTreeSet<_> = arrived.iter().chain(&returned).copied().collect();
        assert_eq!(both.len(), all().len(), "{} arrived, {} back", arrived.len(), returned.len());
        figures.push((arrived.len(), returned.len()));
    }
    println!("little room and nobody reading: (arrived, came back) of {}: {figures:?}", frames());
}

/// A plain node that writes and is written to gets everything, and so does the router.
#[test]
fn a_plain_node_loses_nothing_when_it_is_closed_over() {
    let mut limits = limits(plenty());
    limits.drain_timeout = TIMEOUT;
    let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let (mut peer, target) = node.accept_plain(STANDARD, 5);
    for number in 0..within_window() {
        node.try_send(target, &numbered(number, SIZE));
    }
    let writer = std::thread::spawn(move || {
        (0..within_window()).for_each(|number| peer.send(&numbered(number, SIZE)));
        peer
    });
    node.until("all read", |_| node.info(target).frames_received == u64::from(within_window()));
    let mut peer = writer.join().expect("a writer");
    let endpoint = node.endpoint.clone();
    let closing = std::thread::spawn(move || within("shutdown", endpoint.shutdown()));
    let read: Vec<_> = (0..within_window()).map(|_| number_of(&peer.read_frame())).collect();
    let all: Vec<_> = (0..within_window()).collect();
    assert_eq!(read, all);
    peer.expect_end();
    drop(peer);
    closing.join().expect("shutdown");
    assert_eq!(arrived(&node.endpoint), all);
}
