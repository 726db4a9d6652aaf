use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{DownReason, SendErrorKind};
use crate::peer::recv::reader::run_reader;
use crate::peer::send::writer::{flush_final_ack, run_writer};
use crate::peer::{
    Admission, Closing, Inbound, InboundSender, MemoryBudget, OnNewSession, Origin, Peer,
    SendQueue, SharedReservation, cost, inbound,
};
use crate::proto::{Frame, Id, PeerType};
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
const PASSES: Duration = Duration::from_millis(5);

const INBOUND_BYTES: usize = 80 << 10;

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
        clock.advance(PASSES);
    }
    world.finish();
}

/// Two connected nodes.
struct World {
    sides: [Side; 2],
    wakes: TestWaker,
    shares_records: bool,
    /// Whether an end closed, was ended or went away, so that no link follows.
    is_over: bool,
    /// Whether data on a plain link may be lost because the link broke.
    may_lose: bool,
    large_frames: usize,
}

/// One end: the part of a node that serves the other.
struct Side {
    peer: Arc<Peer>,
    budget: Arc<MemoryBudget>,
    budget_bytes: usize,
    sender: InboundSender,
    inbound: Inbound,
    link: Option<Serving>,
    /// Whether it has closed, so that its goodbye may end the link.
    stopped: bool,
    /// Frames accepted from its router, and those handed back.
    sent: Vec<u32>,
    returned: Vec<u32>,
    /// Of these, the frames that were certainly not delivered.
    unsent: Vec<u32>,
    /// Frames that its router received.
    arrived: Vec<u32>,
}

type Task<T> = Pin<Box<dyn Future<Output = T>>>;

/// A link, its writer and its reader.
struct Serving {
    line: Arc<Pipe>,
    link: Arc<Link>,
    writing: Option<Task<Result<(), DownReason>>>,
    reading: Task<DownReason>,
}

impl World {
    fn new(flags: u8) -> World {
        let is_large = flags & 2 != 0;
        World {
            sides: [Side::new(is_large, flags >> 4), Side::new(is_large, flags >> 4)],
            wakes: TestWaker::new(),
            shares_records: flags & 1 != 0,
            is_over: false,
            may_lose: false,
            large_frames: 0,
        }
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
            7 => self.take(at, usize::from(detail) + 1),
            8 => self.sides[at].peer.queue.queue_ack(),
            9 => drop(self.sides[at].peer.probe()),
            10 => self.cut(at, detail),
            11 => self.resume(detail),
            12 => self.sides[at].impossible_count(),
            13 if detail == 0 => self.close(at, input.byte()),
            13 => self.acknowledge(at),
            14 => self.shed(at, input.size()),
            _ if detail == 0 => self.start_anew(),
            _ => self.both(at),
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
        let admission = match number & 1 {
            0 => Admission::Bounded,
            _ => Admission::WhileUp,
        };
        self.sides[at].push(payload, is_flood, admission);
    }

    /// Lets one end write `bytes` more bytes.
    fn write(&mut self, at: usize, bytes: usize) {
        let Some(serving) = &mut self.sides[at].link else { return };
        serving.line.outgoing().room += bytes;
        let Some(writing) = &mut serving.writing else { return };
        let Some(done) = self.wakes.poll(writing.as_mut()) else { return };
        serving.writing = None;
        // On a write error the link is still read to its end.
        if done.is_ok() {
            serving.line.close_write();
        }
    }

    /// Makes up to `bytes` bytes arrive at one end.
    fn arrive(&mut self, at: usize, bytes: usize) {
        if let Some(serving) = &self.sides[at].link {
            serving.line.incoming().arrive(bytes);
        }
        self.read(at);
    }

    fn read(&mut self, at: usize) {
        let Some(serving) = &mut self.sides[at].link else { return };
        let Some(reason) = self.wakes.poll(serving.reading.as_mut()) else { return };
        let other = &self.sides[1 - at];
        match &reason {
            DownReason::Closed => {}
            DownReason::ClosedInsideFrame => self.may_lose = true,
            DownReason::Goodbye(_) if other.stopped => {}
            other => panic!("the link ended: {other}"),
        }
        self.go_down(at, true, &reason);
    }

    /// Takes the link of one end down.
    fn go_down(&mut self, at: usize, settles: bool, reason: &DownReason) {
        let side = &mut self.sides[at];
        let Some(Serving { line, link, writing, reading }) = side.link.take() else { return };
        drop((writing, reading));
        if settles {
            flush_final_ack(&side.peer, &link);
        }
        self.may_lose |= !line.incoming().bytes.is_empty();
        line.abort();
        side.peer.link_down(reason, None);
    }

    /// Cuts the link of one end. What it wrote is lost or may still arrive.
    fn cut(&mut self, at: usize, detail: u8) {
        let Some(serving) = &self.sides[at].link else { return };
        let line = serving.line.clone();
        self.may_lose = true;
        self.go_down(at, detail & 1 != 0, &DownReason::Closed);
        if detail & 2 != 0 {
            let mut way = line.outgoing();
            let kept = way.arrived;
            way.bytes.truncate(kept);
        }
    }

    /// Delivers arrived frames to the router of one end.
    fn take(&mut self, at: usize, count: usize) {
        for _ in 0..count {
            let Some((_, frame)) = self.sides[at].inbound.try_next().unwrap() else { break };
            self.sides[at].arrived.push(number(&frame));
        }
        self.read(at);
    }

    /// Connects a new link. On an extended link both ends exchange their counts; this may be
    /// interrupted after only the listener has received one.
    fn resume(&mut self, detail: u8) {
        if self.is_over {
            return;
        }
        let dialer = usize::from(detail & 1);
        for at in [dialer, 1 - dialer] {
            self.may_lose |= self.sides[at].link.is_some();
            self.go_down(at, detail & 2 != 0, &DownReason::Replaced);
        }
        if self.shares_records {
            let counts = [0, 1].map(|at| self.sides[at].peer.queue.received_total());
            self.sides[1 - dialer].resume(counts[dialer]);
            if detail & 4 != 0 {
                return;
            }
            self.sides[dialer].resume(counts[1 - dialer]);
        }
        let (one, other) = Pipe::pair();
        for (side, line) in self.sides.iter_mut().zip([one, other]) {
            side.link_up(line, self.shares_records);
        }
    }

    /// Starts a new session at both ends, as if the old one could not be proved.
    fn start_anew(&mut self) {
        for at in 0..2 {
            self.may_lose |= self.sides[at].link.is_some();
            self.go_down(at, true, &DownReason::Closed);
        }
        for side in &mut self.sides {
            let frames = side.peer.start_session(None, OnNewSession::ReturnUnacknowledged);
            side.returned.extend(frames.iter().map(number));
        }
    }

    /// Delivers an acknowledgement while no other can be in flight.
    fn acknowledge(&mut self, at: usize) {
        if !self.shares_records || self.sides.iter().any(|side| side.link.is_some()) {
            return;
        }
        let count = self.sides[1 - at].peer.queue.received_total();
        let queue = &self.sides[at].peer.queue;
        queue.acknowledge(count, None).expect("the count is right");
        if let Some(less) = count.checked_sub(1) {
            assert!(queue.acknowledge(less, None).is_err(), "it was told {count} before");
        }
    }

    fn close(&mut self, at: usize, how: u8) {
        let side = &mut self.sides[at];
        (side.stopped, self.is_over) = (true, true);
        match how & 3 {
            0 => side.peer.stop(Closing::Drain, DownReason::ShuttingDown),
            1 => side.peer.stop(Closing::Now, DownReason::Removed),
            2 => side.peer.stop(Closing::Now, DownReason::ShuttingDown),
            _ => {
                self.go_down(at, true, &DownReason::Removed);
                self.sides[at].end();
                self.may_lose = true;
            }
        }
    }

    fn shed(&mut self, at: usize, bytes: usize) {
        let side = &mut self.sides[at];
        let frames = side.peer.queue.shed(bytes);
        side.returned.extend(frames.iter().map(number));
        side.unsent.extend(frames.iter().map(number));
    }

    /// Delivers everything that one end has to write.
    fn both(&mut self, at: usize) {
        self.write(at, 1 << 20);
        self.arrive(1 - at, 1 << 20);
    }

    /// Delivers everything that can still be delivered, then ends both.
    fn finish(mut self) {
        self.flow();
        if !self.is_over {
            self.resume(0);
            self.flow();
            self.check_all_arrived();
        }
        for at in 0..2 {
            self.go_down(at, true, &DownReason::ShuttingDown);
            self.sides[at].end();
            self.take(at, usize::MAX);
        }
        for at in 0..2 {
            self.check(at);
            self.sides[at].check_budgets();
        }
    }

    /// Runs until nothing moves any more.
    fn flow(&mut self) {
        for round in 0.. {
            let before = self.progress();
            for at in 0..2 {
                if self.shares_records && self.sides[at].link.is_some() {
                    self.sides[at].peer.queue.queue_ack();
                }
                self.both(at);
                self.take(1 - at, usize::MAX);
            }
            if self.progress() == before {
                return;
            }
            assert!(round < 1_000, "it never settles");
        }
    }

    /// A value that changes whenever a frame moves.
    fn progress(&self) -> [(usize, usize, bool); 2] {
        [0, 1].map(|at| {
            let side = &self.sides[at];
            (side.arrived.len(), side.peer.queue.size().0, side.link.is_some())
        })
    }

    fn check_all_arrived(&self) {
        for side in &self.sides {
            assert!(side.link.is_some(), "a link that nobody closed is down");
            assert_eq!(side.peer.queue.size(), (0, 0), "frames wait for ever");
        }
    }

    /// Checks that each frame of one end arrived once and in order, or was handed back.
    fn check(&self, at: usize) {
        let Side { sent, returned, unsent, .. } = &self.sides[at];
        let arrived = &self.sides[1 - at].arrived;
        assert!(arrived.is_sorted_by(|a, b| a < b), "out of order or doubled: {arrived:?}");
        assert!(arrived.iter().all(|number| sent.contains(number)), "out of nowhere");
        assert!(unsent.iter().all(|number| !arrived.contains(number)), "shed, and arrived");
        let mut once = returned.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), returned.len(), "came back twice");
        let loses = self.may_lose && !self.shares_records;
        for number in sent {
            let is_there = arrived.contains(number) || returned.contains(number);
            assert!(is_there || loses, "side {at} lost frame {number}");
        }
    }
}

impl Side {
    fn new(is_large: bool, frames: u8) -> Side {
        let budget_bytes = if is_large { 600_000 } else { 3_000 };
        let budget = MemoryBudget::new(budget_bytes);
        let (max_bytes, max_frames) = if is_large { (1 << 20, 100) } else { (2_500, 12) };
        let queue = SendQueue::new(budget.clone(), max_bytes, max_frames);
        let (sender, inbound) = inbound(INBOUND_BYTES, usize::from(frames) + 1);
        Side {
            peer: Arc::new(Peer::linked(7, PeerType::Standard, Origin::Accepted, queue)),
            budget,
            budget_bytes,
            sender,
            inbound,
            link: None,
            stopped: false,
            sent: Vec::new(),
            returned: Vec::new(),
            unsent: Vec::new(),
            arrived: Vec::new(),
        }
    }

    fn push(&mut self, payload: usize, is_flood: bool, admission: Admission) {
        let number = self.sent.len() as u32;
        let mut bytes = vec![0; payload];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(bytes).build().unwrap();
        let charge = is_flood.then(|| SharedReservation::new(&self.budget, &frame));
        if matches!(charge, Some(None)) {
            return;
        }
        let before = self.peer.queue.size();
        // As the liveness monitor does; it is a precondition of direct writes.
        self.peer.queue.arm_monitor();
        match self.peer.push(frame.clone(), charge.flatten(), admission) {
            Ok(_) => {
                let is_due = self.link.is_some() || admission != Admission::WhileUp;
                assert!(!self.stopped && is_due);
                let ((frames, bytes), size) = (before, self.peer.queue.size());
                let is_queued = size == (frames + 1, bytes + cost(&frame));
                // A plain link retains nothing of a direct write.
                assert!(is_queued || (before, size) == ((0, 0), (0, 0)));
                self.sent.push(number);
            }
            Err((refusal, same)) => {
                assert_eq!((same, self.peer.queue.size()), (frame, before));
                assert_eq!(refusal == SendErrorKind::UnknownTarget, self.stopped);
            }
        }
    }

    fn link_up(&mut self, line: Arc<Pipe>, shares_records: bool) {
        let id = Id::from_bytes([1; 32]);
        let link = Link::new(line.clone(), None, Vec::new(), shares_records.then_some(id));
        self.peer.link_up(id, &link);
        let (peer, writers) = (self.peer.clone(), link.clone());
        let writing = async move { run_writer(&peer, &writers).await };
        let (peer, readers, sender) = (self.peer.clone(), link.clone(), self.sender.clone());
        let reading = async move { run_reader(&peer, &readers, &sender, &|_| ()).await };
        let (writing, reading) = (Some(Box::pin(writing) as _), Box::pin(reading));
        self.link = Some(Serving { line, link, writing, reading });
    }

    fn resume(&mut self, count: u64) {
        self.peer.queue.resume(count).expect("the count is right");
    }

    /// Checks that an acknowledgement of more than was sent is refused.
    fn impossible_count(&self) {
        let queue = &self.peer.queue;
        let (before, count) = (queue.size(), self.sent.len() as u64 + 1);
        assert!(queue.acknowledge(count, None).is_err());
        assert!(queue.resume(count).is_err());
        assert_eq!(queue.size(), before);
    }

    fn end(&mut self) {
        self.stopped = true;
        let frames = self.peer.end_and_drain();
        self.returned.extend(frames.iter().flatten().map(number));
        assert_eq!(self.peer.queue.size(), (0, 0), "charged for nothing");
    }

    fn check_budgets(&mut self) {
        let room = self.sender.try_acquire(INBOUND_BYTES).unwrap();
        assert!(room.is_some(), "room for what arrives was not given back");
        // Fits only if nothing else is reserved.
        let tenth = Frame::builder(8, Id::from_bytes([1; 32]));
        let payload = self.budget_bytes / 10 - 64 - Frame::MIN_LEN;
        let tenth = tenth.payload(vec![0; payload.min(Frame::MAX_PAYLOAD)]).build().unwrap();
        let count = self.budget_bytes / cost(&tenth);
        let queue =
            SendQueue::new(mem::replace(&mut self.budget, MemoryBudget::new(0)), usize::MAX, 99);
        for _ in 0..count {
            queue
                .push(tenth.clone(), None, Admission::Bounded)
                .expect("the budget was not given back");
        }
        queue
            .push(tenth, None, Admission::Bounded)
            .expect_err("more than the budget was given back");
    }
}

/// The number in the payload of a frame.
fn number(frame: &Frame) -> u32 {
    u32::from_be_bytes(*frame.payload().first_chunk().unwrap())
}
