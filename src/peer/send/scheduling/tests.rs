use crate::error::SendErrorKind;
use crate::peer::PeerClass;
use crate::peer::recv::batch::{Batch, FRAME_OVERHEAD};
use crate::peer::recv::inbox::Inbox;
use crate::peer::recv::permit::Permit;
use crate::peer::recv::receive_pool::WindowSize;
use crate::peer::recv::stranger_memory::StrangerMemory;
use crate::peer::send::batch_source::stage_batch;
use crate::peer::send::test_support::{LinkedPeer, numbered_frame, numbers, plain_link, push};
use crate::peer::send::write_batch::WriteBatch;
use crate::peer::{Admission, InitialCredit, MemoryBudget, OnNewSession, SendQueue};
use crate::primitives::clock;
use crate::proto::{Frame, Id, LENGTH_PREFIX};
use std::sync::Arc;

/// What a numbered frame costs in terms of credit.
const COST: usize = LENGTH_PREFIX + 100 + FRAME_OVERHEAD;

/// An extended queue with credit for this many numbered frames.
fn queue(frames: usize) -> (Arc<MemoryBudget>, SendQueue) {
    let budget = MemoryBudget::new(usize::MAX);
    let queue = SendQueue::new(budget.clone(), usize::MAX, usize::MAX);
    start_session(&queue, (frames * COST) as u64, OnNewSession::SendAgain);
    queue.link_up(true);
    (budget, queue)
}

fn start_session(queue: &SendQueue, received: u64, frames: OnNewSession) -> Vec<Frame> {
    let credit = InitialCredit { granted: 0, received };
    queue.reset_session(frames, WindowSize::default(), credit)
}

/// A peer from which frames are forwarded, with a window for this many numbered frames.
struct Ingress(Arc<Inbox>);

impl Ingress {
    fn new(frames: usize) -> Ingress {
        Ingress::with_memory(frames, &StrangerMemory::new(0))
    }

    fn with_memory(frames: usize, memory: &Arc<StrangerMemory>) -> Ingress {
        let inbox = Inbox::new(7.into(), memory.account(None.into()));
        inbox.set_window(frames * COST);
        Ingress(inbox)
    }

    /// Receives a frame of this payload and forwards it.
    fn forward(&self, queue: &SendQueue, number: u8, payload: usize) -> Result<(), SendErrorKind> {
        self.forward_as(queue, number, payload, false)
    }

    fn forward_as(
        &self,
        queue: &SendQueue,
        number: u8,
        payload: usize,
        is_stranger: bool,
    ) -> Result<(), SendErrorKind> {
        let builder = Frame::builder(8, Id::from_bytes([number; 32]));
        let frame = builder.payload(vec![number; payload]).build().unwrap();
        let messages = vec![0; LENGTH_PREFIX + frame.len()].into();
        let batch = Batch { messages, frames: 1, pinned: 0, no_trailing: true, is_stranger };
        let cost = batch.cost();
        self.0.push(batch, PeerClass::Dialed);
        let mut permit = Some(Permit::new(self.0.clone(), cost, is_stranger));
        let queued = queue.push(frame, Admission::ForwardedWithinHalf(&mut permit));
        if !is_stranger {
            assert_eq!(permit.is_some(), queued.is_err() || !queue.is_up());
        }
        queued.map(drop).map_err(|(error, _)| error)
    }
}

/// Writes all that may be written now. Returns how many frames that were.
fn write(queue: &SendQueue) -> usize {
    let (link, mut batch) = (plain_link(), WriteBatch::default());
    let mut written = 0;
    loop {
        let mut state = queue.lock();
        batch.reset(None);
        stage_batch(|| &mut batch, &mut state, &link, clock::now());
        drop(state);
        if batch.unwritten() == 0 {
            return written;
        }
        written += queue.on_written(batch.unwritten()).0;
        batch = WriteBatch::default();
    }
}

#[test]
fn own_frames_leave_a_rest_of_the_credit_for_those_that_are_forwarded() {
    let (_, queue) = queue(10);
    let ingress = Ingress::new(100);
    (1..=9).for_each(|number| push(&queue, number).unwrap());
    assert_eq!(write(&queue), 5, "half of the credit");
    (11..=19).for_each(|number| ingress.forward(&queue, number, 59).unwrap());
    assert_eq!(write(&queue), 5, "the rest of it");
    queue.add_credit(20 * COST as u64);
    assert!((5..8).contains(&write(&queue)), "both take turns, and a rest is left");
    let state = queue.lock();
    let (frames, own) = (state.lanes.forwarded.size().0, state.lanes.own.size().0);
    drop(state);
    assert!(frames == 0 && own > 0, "{frames} forwarded ones and {own} others wait");
    let first_half: Vec<_> = [1, 2, 3, 4, 5, 11, 12, 13, 14, 15].to_vec();
    let acknowledged = queue.end();
    let sent = numbers(acknowledged);
    assert_eq!(sent[..10], first_half);
    let own: Vec<_> = sent.iter().filter(|number| **number < 10).collect();
    let forwarded: Vec<_> = sent.iter().filter(|number| **number > 10).collect();
    assert!(own.is_sorted() && forwarded.is_sorted(), "{sent:?}");
    assert_eq!((own.len(), forwarded.len(), ingress.0.held()), (9, 9, 0));
}

#[test]
fn a_forwarded_frame_keeps_its_permit_until_it_is_acknowledged() {
    let (budget, queue) = queue(100);
    let ingress = Ingress::new(100);
    for payload in [59, 59, 59, 3000] {
        ingress.forward(&queue, 1, payload).unwrap();
    }
    push(&queue, 2).unwrap();
    let large = LENGTH_PREFIX + 41 + 3000 + FRAME_OVERHEAD;
    assert_eq!((write(&queue), ingress.0.held()), (5, 3 * COST + large));
    assert_eq!(budget.used(), 228, "forwarded frames take nothing of the budget");
    for (count, held) in [(2, COST + large), (3, large), (4, 0)] {
        queue.acknowledge(count, None).unwrap();
        assert_eq!(ingress.0.held(), held);
    }
    assert!(queue.lock().lanes.is_empty(), "nothing is allocated for it any more");
}

/// Regression: two strangers whose frames for each other used up the memory of strangers were not
/// read any more. Each waited for the acknowledgement of the other.
#[test]
fn forwarded_frames_of_strangers_that_used_up_their_memory_take_the_budget() {
    let (budget, queue) = queue(100);
    let memory = StrangerMemory::new(2 * COST);
    let ingress = Ingress::with_memory(100, &memory);
    for (number, held, used) in [(1, COST, 0), (2, COST, 228), (3, COST, 456)] {
        ingress.forward_as(&queue, number, 59, true).unwrap();
        assert_eq!((ingress.0.held(), memory.used(), budget.used()), (held, held, used));
    }
    assert_eq!(write(&queue), 3);
    queue.acknowledge(3, None).unwrap();
    assert_eq!((memory.used(), budget.used()), (0, 0));
}

#[test]
fn half_of_a_window_may_wait_for_one_peer() {
    let (_, queue) = queue(2);
    let (ingress, other) = (Ingress::new(10), Ingress::new(10));
    (1..=5).for_each(|number| ingress.forward(&queue, number, 59).unwrap());
    assert_eq!(ingress.forward(&queue, 6, 59), Err(SendErrorKind::Full));
    assert_eq!(ingress.0.held(), 5 * COST, "the refused one was dropped");
    other.forward(&queue, 7, 59).unwrap();
    push(&queue, 8).expect("the router's own frames have a limit of their own");
    assert_eq!(write(&queue), 2);
    queue.acknowledge(1, None).unwrap();
    ingress.forward(&queue, 6, 59).unwrap();
    // One that is larger than half of the window is admitted if nothing else waits.
    Ingress::new(10).forward(&queue, 9, 9000).unwrap();
}

/// Regression: a peer that went down held up those that feed it, for as long as it was down.
#[test]
fn a_peer_without_a_link_takes_nothing_of_the_windows_of_others() {
    let (budget, queue) = queue(3);
    let ingress = Ingress::new(100);
    (1..=6).for_each(|number| ingress.forward(&queue, number, 59).unwrap());
    assert_eq!((write(&queue), ingress.0.held(), budget.used()), (3, 6 * COST, 0));
    queue.link_down();
    assert_eq!((ingress.0.held(), budget.used()), (0, 6 * 228), "written ones as well");
    ingress.forward(&queue, 7, 3000).unwrap();
    assert_eq!((ingress.0.held(), queue.size().0), (0, 7));
    queue.link_up(true);
    queue.resume(1, 100 * COST as u64).unwrap();
    ingress.forward(&queue, 8, 59).unwrap();
    assert_eq!((write(&queue), ingress.0.held()), (7, COST));
    assert_eq!(numbers(queue.end()), [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((ingress.0.held(), budget.used()), (0, 0));
}

/// Regression: the forwarder waited for the delayed acknowledgement, since nothing woke the writer.
#[test]
fn a_request_for_an_acknowledgement_wakes_a_writer_that_awaits_credit() {
    let queue = SendQueue::new(MemoryBudget::new(usize::MAX), usize::MAX, usize::MAX);
    let mut linked = LinkedPeer::with_queue(queue, true);
    let ingress = Ingress::new(8);
    start_session(&linked.peer.queue, COST as u64, OnNewSession::SendAgain);
    assert!(!linked.run_writer());
    ingress.forward(&linked.peer.queue, 1, 59).unwrap();
    assert!(linked.waker.was_woken() && !linked.run_writer());
    ingress.forward(&linked.peer.queue, 2, 59).unwrap();
    assert!(linked.waker.was_woken() && !linked.run_writer());
    assert!(linked.written_extensions().iter().any(|extension| extension.ping.is_some()));
}

/// Any order of operations leaves every frame in its lane, and every part of a window and of the
/// budget accounted for.
#[test]
fn nothing_is_lost_or_counted_twice() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (budget, mut queue) = queue(random.usize(0..30));
        let ingress = [Ingress::new(40), Ingress::new(40)];
        let (mut sent, mut credit) = ([0u8; 3], 30 * COST as u64);
        let (mut written, mut acknowledged) = (0, 0);
        for _ in 0..60 {
            let at = random.usize(0..3);
            let payload = [1, 59, 3000][random.usize(0..3)];
            let mut body = vec![0; payload];
            body[0] = sent[at] + 1;
            let frame = Frame::builder(8, Id::from_bytes([at as u8; 32]));
            let frame = frame.payload(body).build().unwrap();
            match random.u8(0..8) {
                0..=2 if at == 2 => {
                    queue.push(frame, Admission::Bounded).unwrap();
                    sent[at] += 1;
                }
                0..=2 => {
                    let messages = vec![0; LENGTH_PREFIX + frame.len()].into();
                    let (no_trailing, is_stranger) = (true, true);
                    let batch = Batch { messages, frames: 1, pinned: 0, no_trailing, is_stranger };
                    let cost = batch.cost();
                    ingress[at].0.push(batch, PeerClass::Stranger);
                    let mut permit = Some(Permit::new(ingress[at].0.clone(), cost, true));
                    let queued = queue.push(frame, Admission::Forwarded(&mut permit));
                    sent[at] += u8::from(queued.is_ok());
                }
                3 => {
                    credit += random.u64(0..10) * COST as u64;
                    queue.add_credit(credit);
                }
                4 => written += write(&queue),
                5 => {
                    let before = queue.size().0;
                    // Fails if the random number is less than an earlier one.
                    let _ = queue.acknowledge(random.u64(0..=written as u64), None);
                    acknowledged += before - queue.size().0;
                }
                6 => {
                    // None is lost with the link, acknowledged or not.
                    queue.link_down();
                    queue.link_up(true);
                }
                _ => {
                    let other = SendQueue::new(budget.clone(), usize::MAX, usize::MAX);
                    start_session(&other, credit, OnNewSession::SendAgain);
                    other.link_up(true);
                    start_session(&queue, credit, OnNewSession::SendAgain);
                    assert!(queue.transfer_to(&other));
                    (queue, written) = (other, 0);
                }
            }
            let all: usize = sent.iter().map(|sent| usize::from(*sent)).sum();
            assert_eq!(queue.size().0, all - acknowledged, "seed {seed}");
        }
        // What is left are the last frames of each source, in order.
        let mut next = [None; 3];
        for frame in queue.end() {
            let (source, number) = (frame.sender().as_bytes()[0], frame.payload()[0]);
            let next = &mut next[usize::from(source)];
            assert!(next.is_none_or(|next| next == number), "seed {seed}, source {source}");
            *next = Some(number + 1);
        }
        for (next, sent) in next.into_iter().zip(sent) {
            assert!(next.is_none_or(|next| next == sent + 1), "seed {seed}");
        }
        assert_eq!(ingress.each_ref().map(|ingress| ingress.0.held()), [0; 2], "seed {seed}");
        assert_eq!(budget.used(), 0, "seed {seed}");
    }
}

/// The frames of a session that did not resume are sent in the next one, within its credit.
#[test]
fn a_new_session_begins_with_its_own_credit() {
    let (_, queue) = queue(100);
    let ingress = Ingress::new(100);
    (1..=6).for_each(|number| push(&queue, number).unwrap());
    (11..=16).for_each(|number| ingress.forward(&queue, number, 59).unwrap());
    assert_eq!(write(&queue), 12);
    let returned = start_session(&queue, 4 * COST as u64, OnNewSession::SendAgain);
    assert!(returned.is_empty());
    assert_eq!(write(&queue), 4);
    let all = numbers(queue.end());
    assert_eq!(all.len(), 12, "{all:?}");
    assert_eq!(numbered_frame(1).len(), 100);
    assert_eq!(ingress.0.held(), 0);
}
