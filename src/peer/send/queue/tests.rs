use super::*;
use crate::peer::send::batch_source::{BatchSource, Staged};
use crate::peer::send::test_support::{
    numbered_frame as frame, numbers, plain_link as link, poll_stage, push, queue,
};
use crate::proto::{Id, LENGTH_PREFIX};

#[test]
fn each_limit_refuses_and_returns_the_frame() {
    let (_, narrow) = queue(usize::MAX, 227, 9);
    assert_eq!(push(&narrow, 1), Err(SendErrorKind::TooLarge));
    let (_, bytes) = queue(usize::MAX, 2 * 228, 9);
    let (_, frames) = queue(usize::MAX, usize::MAX, 2);
    let (budget, shared) = queue(2 * 228, usize::MAX, 9);
    for (queue, error) in [
        (&bytes, SendErrorKind::Full),
        (&frames, SendErrorKind::Full),
        (&shared, SendErrorKind::EndpointFull),
    ] {
        assert_eq!(push(queue, 1), Ok(()));
        assert_eq!(push(queue, 2), Ok(()));
        assert_eq!(queue.push(frame(3), Admission::Bounded).unwrap_err(), (error, frame(3)));
    }
    let reservation = SharedReservation::new(&MemoryBudget::new(999), &frame(3)).unwrap();
    let refused = bytes.push(frame(3), Admission::Flood(reservation)).unwrap_err();
    assert_eq!(refused, (SendErrorKind::LinkDown, frame(3)));
    drop(shared);
    assert_eq!(budget.used(), 0);
}

/// Regression: announcements were refused for as long as a stream filled the queue, until the
/// routers behind it took this one for gone.
#[test]
fn floods_are_admitted_to_a_queue_that_others_fill() {
    let (budget, queue) = queue(usize::MAX, 16 * 228, 99);
    let flood = || {
        let shared = SharedReservation::new(&budget, &frame(9)).unwrap();
        let flooded = queue.push(frame(9), Admission::Flood(shared));
        flooded.map(drop).map_err(|(error, _)| error)
    };
    queue.link_up(false);
    (1..=16).for_each(|number| push(&queue, number).unwrap());
    assert_eq!(push(&queue, 17), Err(SendErrorKind::Full));
    let full = Err(SendErrorKind::Full);
    assert_eq!([(); 3].map(|()| flood()), [Ok(()), Ok(()), full]);
    assert_eq!(queue.size(), (18, 18 * 228));
    queue.pop_acked(&mut queue.lock(), 17);
    assert_eq!([(); 16].map(|()| flood()).into_iter().filter(Result::is_ok).count(), 15);
    drop(queue.end());
    assert_eq!(budget.used(), 0);
}

#[test]
fn frames_of_a_dropped_batch_are_unwritten_again() {
    let (budget, queue) = queue(usize::MAX, usize::MAX, 9);
    (1..=3).for_each(|number| push(&queue, number).unwrap());
    let link = link();
    let mut source = BatchSource::new(&queue, &link);
    assert_eq!(poll_stage(&mut source), Poll::Ready(Staged::Batch));
    assert_eq!(queue.on_written(LENGTH_PREFIX + 100 + 50), (1, LENGTH_PREFIX + 100));
    push(&queue, 4).unwrap();
    drop(source);
    assert_eq!(queue.size(), (3, 3 * 228));
    assert_eq!(numbers(queue.end()), [2, 3, 4]);
    assert_eq!((queue.size(), budget.used()), ((0, 0), 0));
    assert_eq!(push(&queue, 5), Err(SendErrorKind::UnknownTarget));
}

#[test]
fn a_shared_frame_is_reserved_once_and_its_slot_in_each_queue() {
    let budget = MemoryBudget::new(228 + 2 * SLOT_COST);
    let queues = [0; 4].map(|_| SendQueue::new(budget.clone(), usize::MAX, 9));
    let reservation = SharedReservation::new(&budget, &frame(1)).unwrap();
    let taken = queues.each_ref().map(|queue| {
        queue.link_up(false);
        let pushed = queue.push(frame(1), Admission::Flood(reservation.clone()));
        pushed.map(drop).map_err(|(error, _)| error)
    });
    assert_eq!(taken, [Ok(()), Ok(()), Ok(()), Err(SendErrorKind::EndpointFull)]);
    drop(reservation);
    assert!(SharedReservation::new(&budget, &frame(2)).is_none());
    drop(queues);
    assert_eq!(budget.used(), 0);
}

#[test]
fn draining_writes_queued_frames_and_closing_now_does_not() {
    let (_, queue) = queue(usize::MAX, usize::MAX, 9);
    push(&queue, 1).unwrap();
    queue.close(Closing::Drain);
    assert_eq!(push(&queue, 2), Err(SendErrorKind::UnknownTarget));
    let link = link();
    let mut source = BatchSource::new(&queue, &link);
    assert_eq!(poll_stage(&mut source), Poll::Ready(Staged::Batch));
    queue.close(Closing::Now);
    queue.close(Closing::Drain);
    assert_eq!(poll_stage(&mut source), Poll::Ready(Staged::Closing), "a frame is still unwritten");
}

#[test]
fn shedding_releases_the_requested_bytes() {
    let (_, queue) = queue(usize::MAX, usize::MAX, 9);
    (1..=4).for_each(|number| push(&queue, number).unwrap());
    assert_eq!(numbers(queue.shed(229)), [1, 2]);
    assert_eq!(queue.size().0, 2);
}

#[test]
fn shedding_counts_only_what_the_budget_gets_back() {
    let budget = MemoryBudget::new(usize::MAX);
    let [one, other] = [0, 1].map(|_| SendQueue::new(budget.clone(), usize::MAX, 9));
    let reservation = SharedReservation::new(&budget, &frame(1)).unwrap();
    for queue in [&one, &other] {
        queue.link_up(false);
        queue.push(frame(1), Admission::Flood(reservation.clone())).unwrap();
    }
    drop(reservation);
    push(&one, 2).unwrap();
    assert_eq!((numbers(one.shed(SLOT_COST + 1)), budget.used()), (vec![1, 2], 228));
    assert_eq!((numbers(other.shed(1)), budget.used()), (vec![1], 0));
}

#[test]
fn frames_are_not_transferred_to_a_queue_that_has_ended() {
    let budget = MemoryBudget::new(usize::MAX);
    let [one, other] = [0, 1].map(|_| SendQueue::new(budget.clone(), usize::MAX, 9));
    push(&one, 1).unwrap();
    other.end();
    assert!(!one.transfer_to(&other));
    push(&one, 2).unwrap();
    assert_eq!(numbers(one.end()), [1, 2]);
}

/// User-owned bytes that lock the queue when they are dropped.
struct LockOnDrop(Arc<SendQueue>, Vec<u8>);

impl AsRef<[u8]> for LockOnDrop {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for LockOnDrop {
    fn drop(&mut self) {
        assert!(self.0.state.is_free(), "dropped under the lock");
    }
}

#[test]
fn frames_are_dropped_outside_of_the_lock() {
    let (_, queue) = queue(usize::MAX, usize::MAX, 9);
    let queue = Arc::new(queue);
    for is_extended in [false, true] {
        queue.link_up(is_extended);
        let link = link();
        let mut source = BatchSource::new(&queue, &link);
        for payload in [9, 9000] {
            let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![1; payload]);
            let bytes = LockOnDrop(queue.clone(), frame.build().unwrap().as_bytes().to_vec());
            let locking = Frame::parse(bytes::Bytes::from_owner(bytes)).unwrap();
            queue.push(locking, Admission::Bounded).unwrap();
            assert_eq!(poll_stage(&mut source), Poll::Ready(Staged::Batch));
            assert_eq!(queue.on_written(LENGTH_PREFIX + 41 + payload).0, 1);
        }
        queue.push(frame(1), Admission::Bounded).unwrap();
        assert_eq!(poll_stage(&mut source), Poll::Ready(Staged::Batch));
        queue.on_written(LENGTH_PREFIX + 100);
    }
    assert_eq!(queue.size().0, 3);
    queue.acknowledge(3, None).unwrap();
    assert_eq!(queue.size(), (0, 0));
}

/// A queue of the model: what each frame costs, and the flood that it is a copy of.
#[derive(Default)]
struct ModelQueue {
    frames: VecDeque<(usize, Option<usize>)>,
    is_stranger: bool,
}

/// What the frames of these queues hold of the budget: each flood once, and its slots.
fn held<'a>(queues: impl Iterator<Item = &'a ModelQueue>, floods: &[usize]) -> usize {
    let (mut bytes, mut counted) = (0, vec![false; floods.len()]);
    for (cost, flood) in queues.flat_map(|queue| &queue.frames) {
        bytes += match flood {
            None => *cost,
            Some(at) if std::mem::replace(&mut counted[*at], true) => SLOT_COST,
            Some(at) => SLOT_COST + floods[*at],
        };
    }
    bytes
}

/// Random operations on the queues of strangers and others, compared with a model that adds up what
/// every frame holds.
#[test]
fn the_budget_is_what_all_frames_hold_and_strangers_stay_in_their_part() {
    const LIMIT: usize = 30_000;
    const OPEN: usize = LIMIT - LIMIT / 4;
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let budget = MemoryBudget::new(LIMIT);
        let new_queue = || {
            let queue = SendQueue::new(budget.clone(), usize::MAX, usize::MAX);
            queue.link_up(true);
            queue.add_credit(u64::MAX);
            queue
        };
        let mut queues: Vec<SendQueue> = (0..6).map(|_| new_queue()).collect();
        let mut model: Vec<ModelQueue> = (0..6).map(|_| ModelQueue::default()).collect();
        let mut floods: Vec<usize> = Vec::new();
        for at in 0..4 {
            queues[at].set_stranger(true);
            model[at].is_stranger = true;
        }
        for _ in 0..400 {
            let at = random.usize(..queues.len());
            let payload = [random.usize(..90), random.usize(..3000)][random.usize(..2)];
            let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![1; payload]);
            let frame = frame.build().unwrap();
            let cost = cost(&frame);
            let limit_for = |queue: &ModelQueue| if queue.is_stranger { OPEN } else { LIMIT };
            let used = budget.used();
            match random.u8(..10) {
                0..=2 => {
                    let is_taken = queues[at].push(frame, Admission::Bounded).is_ok();
                    assert_eq!(is_taken, used + cost <= limit_for(&model[at]), "seed {seed}");
                    if is_taken {
                        model[at].frames.push_back((cost, None));
                    }
                }
                3 => {
                    let frames = VecDeque::from(vec![frame; random.usize(..5)]);
                    let fit = limit_for(&model[at]).saturating_sub(used) / cost;
                    let (taken, _, _) = queues[at].push_many(&frames, |_| None);
                    assert_eq!(taken, frames.len().min(fit), "seed {seed}");
                    model[at].frames.extend(vec![(cost, None); taken]);
                }
                4 | 5 => {
                    let shared = SharedReservation::new(&budget, &frame);
                    let payload = cost - SLOT_COST;
                    assert_eq!(shared.is_some(), used + payload <= LIMIT, "seed {seed}");
                    let Some(shared) = shared else { continue };
                    floods.push(payload);
                    for (queue, model) in queues.iter().zip(&mut model) {
                        let fits = budget.used() + SLOT_COST <= limit_for(model);
                        let flood = Admission::Flood(shared.clone());
                        let is_taken = queue.push(frame.clone(), flood).is_ok();
                        assert_eq!(is_taken, fits, "seed {seed}");
                        if is_taken {
                            model.frames.push_back((cost, Some(floods.len() - 1)));
                        }
                    }
                }
                6 => {
                    let count = random.usize(..=model[at].frames.len());
                    drop(queues[at].pop_acked(&mut queues[at].lock(), count));
                    model[at].frames.drain(..count);
                }
                7 => {
                    let shed = queues[at].shed(random.usize(..3000)).len();
                    model[at].frames.drain(..shed);
                }
                8 => {
                    let other = (at + 1) % queues.len();
                    // As in a merge: the class of the survivor rises first.
                    let is_stranger = model[at].is_stranger && model[other].is_stranger;
                    queues[other].set_stranger(is_stranger);
                    model[other].is_stranger = is_stranger;
                    assert!(queues[at].transfer_to(&queues[other]));
                    queues[other].lock().fill_buffer();
                    let moved = std::mem::take(&mut model[at].frames);
                    model[other].frames.extend(moved);
                    queues[at] = new_queue();
                    queues[at].set_stranger(model[at].is_stranger);
                }
                _ => {
                    assert_eq!(queues[at].end().len(), model[at].frames.len(), "seed {seed}");
                    queues[at] = new_queue();
                    let is_stranger = random.bool();
                    queues[at].set_stranger(is_stranger);
                    model[at] = ModelQueue { is_stranger, ..ModelQueue::default() };
                }
            }
            assert_eq!(budget.used(), held(model.iter(), &floods), "seed {seed}");
            let strangers = model.iter().filter(|queue| queue.is_stranger);
            assert!(held(strangers, &floods) <= OPEN, "seed {seed}");
        }
        drop(queues);
        assert_eq!(budget.used(), 0, "seed {seed}");
    }
}
