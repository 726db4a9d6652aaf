use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{DownReason, SendErrorKind};
use crate::peer::recv::reader::run_reader;
use crate::peer::send::writer::{flush_final_ack, run_writer};
use crate::peer::{
    Admission, Closing, Inbound, InboundSender, InitialCredit, MemoryBudget, OnNewSession, Origin,
    Peer, SendQueue, SharedReservation, WindowSize, cost, inbound,
};
use crate::proto::{Frame, Id, PeerType};
use crate::session::handshake::Progress;
use crate::testing::kit::manual_clock::Clock;
use crate::testing::kit::{
    byte_source::ByteSource,
    pipe::{Pipe, TestWaker},
};
use crate::transport::{Link, Stream};

/// Maximum number of operations per input, which bounds its run time.
const OPERATIONS: usize = 200;

/// Maximum number of frames per input that are too large to be coalesced. Several of them are
/// needed to exceed one write.
const LARGE_FRAMES: usize = 12;

/// Simulated time that passes with each operation.
const TIME_STEP: Duration = Duration::from_millis(5);

/// See [`crate::testing::fuzz::session`].
pub(crate) fn session(bytes: &[u8]) {
    // A clock of its own makes the case reproducible.
    let clock = Clock::install();
    let mut input = ByteSource::new(bytes);
    let mut world = World::new(input.byte());
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        world.operate(&mut input);
        clock.advance(TIME_STEP);
    }
    world.finish();
}

/// Two connected nodes.
struct World {
    nodes: [Node; 2],
    waker: TestWaker,
    is_extended: bool,
    /// Whether a node closed, was ended or stopped, so that no link follows.
    is_over: bool,
    /// Whether data on a plain link may be lost because the link broke.
    may_lose: bool,
    large_frames: usize,
}

/// The part of a node that serves the other one.
struct Node {
    peer: Arc<Peer>,
    budget: Arc<MemoryBudget>,
    budget_bytes: usize,
    sender: InboundSender,
    inbound: Inbound,
    link: Option<ActiveLink>,
    /// Whether it has closed, so that its goodbye may end the link.
    is_stopped: bool,
    /// Frames accepted from its router, and those returned.
    sent: Vec<u32>,
    returned: Vec<u32>,
    /// Of these, the frames that were certainly not delivered.
    unsent: Vec<u32>,
    /// Frames that its router received.
    arrived: Vec<u32>,
}

type Task<T> = Pin<Box<dyn Future<Output = T>>>;

/// A link, its writer and its reader.
struct ActiveLink {
    pipe: Arc<Pipe>,
    link: Arc<Link>,
    writer: Option<Task<Result<(), DownReason>>>,
    reader: Task<DownReason>,
}

impl World {
    fn new(flags: u8) -> World {
        let is_large = flags & 2 != 0;
        let mut world = World {
            nodes: [Node::new(is_large, flags >> 4), Node::new(is_large, flags >> 4)],
            waker: TestWaker::new(),
            is_extended: flags & 1 != 0,
            is_over: false,
            may_lose: false,
            large_frames: 0,
        };
        world.start_session();
        world
    }

    fn operate(&mut self, input: &mut ByteSource<'_>) {
        let what = input.byte();
        let at = usize::from(what & 1);
        let detail = what >> 5;
        match (what >> 1) & 15 {
            0 | 1 => self.push(at, detail, input.byte(), false),
            2 => self.push(at, detail & 3, input.byte(), true),
            3 | 4 => self.write(at, input.size()),
            5 | 6 => self.arrive(at, input.size()),
            7 => self.deliver(at, usize::from(detail) + 1),
            8 => self.nodes[at].peer.queue.queue_ack(),
            9 => drop(self.nodes[at].peer.probe()),
            10 => self.cut(at, detail),
            11 => self.resume(detail),
            12 => self.nodes[at].check_invalid_acks(),
            13 if detail == 0 => self.close(at, input.byte()),
            13 => self.acknowledge(at),
            14 => self.shed(at, input.size()),
            _ if detail == 0 => self.start_session(),
            _ => self.transfer(at),
        }
    }

    fn push(&mut self, at: usize, size: u8, number: u8, is_flood: bool) {
        if size == 7 {
            self.large_frames += 1;
        }
        let payload = match size {
            7 if self.large_frames <= LARGE_FRAMES => 60_000 + usize::from(number),
            6 => 2_100,
            5 => 900,
            small => 4 + 10 * usize::from(small),
        };
        self.nodes[at].push(payload, is_flood);
    }

    /// Lets one node write `bytes` more bytes.
    fn write(&mut self, at: usize, bytes: usize) {
        let Some(active) = &mut self.nodes[at].link else { return };
        active.pipe.outgoing().room += bytes;
        let Some(writer) = &mut active.writer else { return };
        let Some(done) = self.waker.poll(writer.as_mut()) else { return };
        active.writer = None;
        // On a write error the link is still read to its end.
        if done.is_ok() {
            active.pipe.close_write();
        }
    }

    /// Makes up to `bytes` bytes arrive at one node.
    fn arrive(&mut self, at: usize, bytes: usize) {
        if let Some(active) = &self.nodes[at].link {
            active.pipe.incoming().arrive(bytes);
        }
        self.read(at);
    }

    fn read(&mut self, at: usize) {
        let Some(active) = &mut self.nodes[at].link else { return };
        let Some(reason) = self.waker.poll(active.reader.as_mut()) else { return };
        let other = &self.nodes[1 - at];
        match &reason {
            DownReason::Closed => {}
            DownReason::ClosedInsideFrame => self.may_lose = true,
            DownReason::Goodbye(_) if other.is_stopped => {}
            other => panic!("the link ended: {other}"),
        }
        self.link_down(at, true, &reason);
    }

    /// Takes the link of one node down.
    fn link_down(&mut self, at: usize, flushes_ack: bool, reason: &DownReason) {
        let node = &mut self.nodes[at];
        let Some(ActiveLink { pipe, link, writer, reader }) = node.link.take() else { return };
        drop((writer, reader));
        if flushes_ack {
            flush_final_ack(&node.peer, &link);
        }
        self.may_lose |= !pipe.incoming().bytes.is_empty();
        pipe.abort();
        node.peer.link_down(reason, None);
    }

    /// Cuts the link of one node. What it wrote is lost or may still arrive.
    fn cut(&mut self, at: usize, detail: u8) {
        let Some(active) = &self.nodes[at].link else { return };
        let pipe = active.pipe.clone();
        self.may_lose = true;
        self.link_down(at, detail & 1 != 0, &DownReason::Closed);
        if detail & 2 != 0 {
            let mut half = pipe.outgoing();
            let kept = half.arrived;
            half.bytes.truncate(kept);
        }
    }

    /// Delivers arrived frames to the router of one node.
    fn deliver(&mut self, at: usize, count: usize) {
        for _ in 0..count {
            let Some((_, frame)) = self.nodes[at].inbound.try_next().unwrap() else { break };
            self.nodes[at].arrived.push(number(&frame));
        }
        self.read(at);
    }

    /// Connects a new link. On an extended link both nodes exchange their counts; this may be
    /// interrupted after only the listener has received one.
    fn resume(&mut self, detail: u8) {
        if self.is_over {
            return;
        }
        let dialer = usize::from(detail & 1);
        for at in [dialer, 1 - dialer] {
            self.may_lose |= self.nodes[at].link.is_some();
            self.link_down(at, detail & 2 != 0, &DownReason::Replaced);
        }
        if self.is_extended {
            let progress = [0, 1].map(|at| Progress::of(&self.nodes[at].peer.queue));
            self.nodes[1 - dialer].resume(progress[dialer]);
            if detail & 4 != 0 {
                return;
            }
            self.nodes[dialer].resume(progress[1 - dialer]);
        }
        let (one, other) = Pipe::pair();
        for (node, pipe) in self.nodes.iter_mut().zip([one, other]) {
            node.link_up(pipe, self.is_extended);
        }
    }

    /// Starts a new session at both nodes, as if the old one could not be proved.
    fn start_session(&mut self) {
        for at in 0..2 {
            self.may_lose |= self.nodes[at].link.is_some();
            self.link_down(at, true, &DownReason::Closed);
        }
        let credits = [0, 1].map(|at| self.nodes[at].initial_credit());
        for at in 0..2 {
            let credit = InitialCredit { granted: credits[at], received: credits[1 - at] };
            let node = &mut self.nodes[at];
            let window = WindowSize::initial(node.sender.pool(), node.peer.class());
            let frames = OnNewSession::ReturnUnacknowledged;
            let frames = node.peer.start_session(None, frames, window, credit);
            node.returned.extend(frames.iter().map(number));
        }
    }

    /// Delivers an acknowledgement while no other can be in flight.
    fn acknowledge(&mut self, at: usize) {
        if !self.is_extended || self.nodes.iter().any(|node| node.link.is_some()) {
            return;
        }
        let count = self.nodes[1 - at].peer.queue.received_total();
        let queue = &self.nodes[at].peer.queue;
        queue.acknowledge(count, None).expect("the count is right");
        if let Some(less) = count.checked_sub(1) {
            assert!(queue.acknowledge(less, None).is_err(), "the count decreased from {count}");
        }
    }

    fn close(&mut self, at: usize, how: u8) {
        let node = &mut self.nodes[at];
        (node.is_stopped, self.is_over) = (true, true);
        match how & 3 {
            0 => node.peer.stop(Closing::Drain, DownReason::ShuttingDown),
            1 => node.peer.stop(Closing::Now, DownReason::Removed),
            2 => node.peer.stop(Closing::Now, DownReason::ShuttingDown),
            _ => {
                self.link_down(at, true, &DownReason::Removed);
                self.nodes[at].end();
                self.may_lose = true;
            }
        }
    }

    fn shed(&mut self, at: usize, bytes: usize) {
        let node = &mut self.nodes[at];
        let frames = node.peer.queue.shed(bytes);
        node.returned.extend(frames.iter().map(number));
        node.unsent.extend(frames.iter().map(number));
    }

    /// Delivers everything that one node has to write.
    fn transfer(&mut self, at: usize) {
        self.write(at, 1 << 20);
        self.arrive(1 - at, 1 << 20);
    }

    /// Delivers everything that can still be delivered, then ends both.
    fn finish(mut self) {
        self.run_until_idle();
        if !self.is_over {
            self.resume(0);
            self.run_until_idle();
            self.check_all_arrived();
        }
        for at in 0..2 {
            self.link_down(at, true, &DownReason::ShuttingDown);
            self.nodes[at].end();
            self.deliver(at, usize::MAX);
        }
        for at in 0..2 {
            self.check(at);
            self.nodes[at].check_budgets();
        }
    }

    /// Runs until nothing moves any more.
    fn run_until_idle(&mut self) {
        for round in 0.. {
            let before = self.progress();
            for at in 0..2 {
                if self.is_extended && self.nodes[at].link.is_some() {
                    self.nodes[at].peer.queue.queue_ack();
                }
                self.transfer(at);
                self.deliver(1 - at, usize::MAX);
            }
            if self.progress() == before {
                return;
            }
            assert!(round < 1_000, "it never becomes idle");
        }
    }

    /// A value that changes whenever a frame moves.
    fn progress(&self) -> [(usize, usize, bool, u64, usize); 2] {
        [0, 1].map(|at| {
            let Node { arrived, peer, link, .. } = &self.nodes[at];
            let queue = &peer.queue;
            let (given, got) = (queue.granted_credit(), queue.lock().credit_left());
            (arrived.len(), queue.size().0, link.is_some(), given, got)
        })
    }

    fn check_all_arrived(&self) {
        for node in &self.nodes {
            assert!(node.link.is_some(), "a link that neither closed is down");
            assert_eq!(node.peer.queue.size(), (0, 0), "frames are queued forever");
        }
    }

    /// Checks that each frame of one node arrived once and in order, or was returned.
    fn check(&self, at: usize) {
        let Node { sent, returned, unsent, .. } = &self.nodes[at];
        let arrived = &self.nodes[1 - at].arrived;
        assert!(arrived.is_sorted_by(|a, b| a < b), "reordered or duplicated: {arrived:?}");
        assert!(arrived.iter().all(|number| sent.contains(number)), "never sent");
        assert!(unsent.iter().all(|number| !arrived.contains(number)), "shed, and delivered");
        let mut once = returned.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), returned.len(), "a frame was returned twice");
        let loses = self.may_lose && !self.is_extended;
        for number in sent {
            let is_there = arrived.contains(number) || returned.contains(number);
            assert!(is_there || loses, "node {at} lost frame {number}");
        }
    }
}

impl Node {
    fn new(is_large: bool, inbound_size: u8) -> Node {
        let budget_bytes = if is_large { 600_000 } else { 3_000 };
        let budget = MemoryBudget::new(budget_bytes);
        let (max_bytes, max_frames) = if is_large { (1 << 20, 100) } else { (2_500, 12) };
        let queue = SendQueue::new(budget.clone(), max_bytes, max_frames);
        let (sender, inbound) = inbound((usize::from(inbound_size) + 1) << 10);
        Node {
            peer: Arc::new(Peer::linked(7.into(), PeerType::Standard, Origin::Accepted, queue)),
            budget,
            budget_bytes,
            sender,
            inbound,
            link: None,
            is_stopped: false,
            sent: Vec::new(),
            returned: Vec::new(),
            unsent: Vec::new(),
            arrived: Vec::new(),
        }
    }

    fn push(&mut self, payload: usize, is_flood: bool) {
        let number = self.sent.len() as u32;
        let mut bytes = vec![0; payload];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(bytes).build().unwrap();
        let admission = match is_flood {
            false => Admission::Bounded,
            true => match SharedReservation::new(&self.budget, &frame) {
                Some(reservation) => Admission::Flood(reservation),
                None => return,
            },
        };
        let before = self.peer.queue.size();
        // As the liveness monitor does; it is a precondition of direct writes.
        self.peer.queue.arm_monitor();
        match self.peer.push(frame.clone(), admission) {
            Ok(_) => {
                let is_due = self.link.is_some() || !is_flood;
                assert!(!self.is_stopped && is_due);
                let ((frames, bytes), size) = (before, self.peer.queue.size());
                let is_queued = size == (frames + 1, bytes + cost(&frame));
                // A plain link retains nothing of a direct write.
                assert!(is_queued || (before, size) == ((0, 0), (0, 0)));
                self.sent.push(number);
            }
            Err((error, same)) => {
                assert_eq!((same, self.peer.queue.size()), (frame, before));
                assert_eq!(error == SendErrorKind::UnknownTarget, self.is_stopped);
            }
        }
    }

    fn link_up(&mut self, pipe: Arc<Pipe>, is_extended: bool) {
        let id = Id::from_bytes([1; 32]);
        let link = Link::unencrypted(pipe.clone(), None, Vec::new(), is_extended.then_some(id));
        self.peer.link_up(id, &link);
        let (peer, writer_link) = (self.peer.clone(), link.clone());
        let writer = async move { run_writer(&peer, &writer_link).await };
        let (peer, reader_link, sender) = (self.peer.clone(), link.clone(), self.sender.clone());
        let reader = async move { run_reader(&peer, &reader_link, &sender, &|_| ()).await };
        let (writer, reader) = (Some(Box::pin(writer) as _), Box::pin(reader));
        self.link = Some(ActiveLink { pipe, link, writer, reader });
    }

    fn resume(&mut self, progress: Progress) {
        let Progress { received, credit } = progress;
        self.peer.queue.resume(received, credit).expect("the count is right");
    }

    /// The credit that the other node gets with a new session.
    fn initial_credit(&self) -> u64 {
        let window = WindowSize::initial(self.sender.pool(), self.peer.class());
        let held = self.peer.inbox().map_or(0, |inbox| inbox.held());
        window.bytes().saturating_sub(held) as u64
    }

    /// Checks that an acknowledgement of more than was sent is refused.
    fn check_invalid_acks(&self) {
        let queue = &self.peer.queue;
        let (before, count) = (queue.size(), self.sent.len() as u64 + 1);
        assert!(queue.acknowledge(count, None).is_err());
        assert!(queue.resume(count, 0).is_err());
        assert_eq!(queue.size(), before);
    }

    fn end(&mut self) {
        self.is_stopped = true;
        let frames = self.peer.end_and_drain();
        self.returned.extend(frames.iter().flatten().map(number));
        assert_eq!(self.peer.queue.size(), (0, 0), "bytes of no frame are counted");
    }

    fn check_budgets(&mut self) {
        let held = self.peer.inbox().map_or(0, |inbox| inbox.held());
        assert_eq!((held, self.sender.pool().strangers().used()), (0, 0), "inbound memory");
        // Fits only if nothing else is reserved.
        let tenth = Frame::builder(8, Id::from_bytes([1; 32]));
        let payload = self.budget_bytes / 10 - 64 - Frame::MIN_LEN;
        let tenth = tenth.payload(vec![0; payload.min(Frame::MAX_PAYLOAD)]).build().unwrap();
        let count = self.budget_bytes / cost(&tenth);
        let queue =
            SendQueue::new(mem::replace(&mut self.budget, MemoryBudget::new(0)), usize::MAX, 99);
        for _ in 0..count {
            queue.push(tenth.clone(), Admission::Bounded).expect("memory was not released");
        }
        queue.push(tenth, Admission::Bounded).expect_err("more memory was released than reserved");
    }
}

/// The number in the payload of a frame.
fn number(frame: &Frame) -> u32 {
    u32::from_be_bytes(*frame.payload().first_chunk().unwrap())
}
