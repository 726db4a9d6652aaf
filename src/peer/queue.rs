//! What waits to be sent to one peer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use event_listener::{Event, EventListener};

use super::budget::{Budget, FloodCharge, cost};
use crate::error::Refusal;
use crate::proto::{Frame, Impossible, Received, Records, Sent};
use crate::timer;

/// A frame that waits.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) frame: Frame,
    /// What pays for it, unless it is charged on its own.
    flood: Option<Arc<FloodCharge>>,
}

/// How a queue ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// What waits is sent first, as far as time allows.
    Drain,
    /// The frame that is being written is finished; what waits comes back.
    Now,
}

/// The outbound queue of one peer. It belongs to the peer, not to the link: while the link is
/// down frames wait, up to the bound.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Notified when room was made, for those who wait in `send`.
    room: Event,
    budget: Arc<Budget>,
    max_bytes: usize,
    max_frames: usize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) waiting: VecDeque<Entry>,
    /// Frames that were written, oldest first, and that the other side has not said it has. Only
    /// with a peer that shares records.
    unacknowledged: VecDeque<Entry>,
    /// Frames and bytes charged: those that wait, those in the hands of the writer, and those that
    /// are not acknowledged.
    pub(super) frames: usize,
    bytes: usize,
    up: bool,
    /// Whether the link that is up carries records of ours.
    pub(super) shares_records: bool,
    pub(super) sent: Sent,
    pub(super) received: Received,
    /// Whether the reader waits for the router.
    pub(super) is_held_up: bool,
    /// Whether there is reason to think that the other side is gone.
    pub(super) is_suspected: bool,
    /// Whether the other side said goodbye: it sends no frames any more, and takes none.
    pub(super) is_parting: bool,
    /// Records that go out before anything else.
    pub(super) control: Records,
    pub(super) closing: Option<Closing>,
    /// No frame is taken any more, and all that waited was taken out.
    ended: bool,
    pub(super) writer: Option<Waker>,
}

impl Queue {
    pub(crate) fn new(budget: Arc<Budget>, max_bytes: usize, max_frames: usize) -> Queue {
        Queue { state: Mutex::default(), room: Event::new(), budget, max_bytes, max_frames }
    }

    /// Takes a frame, or says why not and gives it back.
    ///
    /// `flood` pays for a frame that many queues share. `only_up` refuses while the link is down.
    pub(crate) fn push(
        &self,
        frame: Frame,
        flood: Option<Arc<FloodCharge>>,
        only_up: bool,
    ) -> Result<(), (Refusal, Frame)> {
        // A slice of a receive buffer must not keep all of it in memory while it waits.
        let frame = frame.compact();
        let cost = cost(&frame);
        let mut state = self.lock();
        if let Some(refusal) = self.refusal(&state, cost, only_up) {
            return Err((refusal, frame));
        }
        if flood.is_none() && !self.budget.take(cost) {
            return Err((Refusal::EndpointFull, frame));
        }
        state.frames += 1;
        state.bytes += cost;
        state.waiting.push_back(Entry { frame, flood });
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    fn refusal(&self, state: &State, cost: usize, only_up: bool) -> Option<Refusal> {
        if state.closing.is_some() || state.ended {
            return Some(Refusal::UnknownTarget);
        }
        if only_up && !state.up {
            return Some(Refusal::LinkDown);
        }
        if cost > self.max_bytes || self.max_frames == 0 {
            return Some(Refusal::TooLarge);
        }
        let full = state.frames >= self.max_frames || state.bytes + cost > self.max_bytes;
        full.then_some(Refusal::Full)
    }

    /// Whether the link is up, so that waiting for room makes sense.
    pub(crate) fn is_up(&self) -> bool {
        self.lock().up
    }

    /// Hears of the next time that room was made or the link went down.
    pub(crate) fn listen(&self) -> EventListener {
        self.room.listen()
    }

    /// Notes that a link is up, and whether it carries records of ours.
    pub(crate) fn link_up(&self, shares_records: bool) {
        let mut state = self.lock();
        state.up = true;
        state.shares_records = shares_records;
        state.control = Records::default();
        state.is_held_up = false;
        state.is_suspected = false;
        state.is_parting = false;
        state.received.resume();
    }

    /// Notes that the link ended.
    pub(crate) fn link_down(&self) {
        self.lock().up = false;
        // Those who wait for room must learn that none is made for now.
        self.room.notify(usize::MAX);
    }

    /// Goes on with a new link of the same pair, whose other side has `count` frames: the others
    /// wait again, in front.
    pub(crate) fn resume(&self, count: u64) -> Result<(), Impossible> {
        let mut state = self.lock();
        let more = state.sent.resume(count)?;
        let mut again = std::mem::take(&mut state.unacknowledged);
        again.append(&mut state.waiting);
        // Those that it has stand in front, though not all of them may be unacknowledged ones: a
        // resume that came to nothing made them wait again.
        let arrived = self.take_first(&mut state, &mut again, more);
        state.waiting = again;
        drop(state);
        drop(arrived);
        Ok(())
    }

    /// Starts a new pair. Frames that the old one may not have received come back, for they may
    /// have arrived.
    pub(crate) fn start_anew(&self) -> Vec<Frame> {
        let mut state = self.lock();
        (state.sent, state.received) = (Sent::default(), Received::default());
        let entries = std::mem::take(&mut state.unacknowledged);
        let frames = entries.into_iter().map(|entry| {
            self.release(&mut state, &entry);
            entry.frame
        });
        frames.collect()
    }

    /// The other side has `count` frames, and held the count back for `held`.
    pub(crate) fn acknowledge(&self, count: u64, held: Duration) -> Result<(), Impossible> {
        let mut state = self.lock();
        let more = state.sent.acknowledge(count, held, timer::now())?;
        let mut unacknowledged = std::mem::take(&mut state.unacknowledged);
        let arrived = self.take_first(&mut state, &mut unacknowledged, more);
        if !unacknowledged.is_empty() || unacknowledged.capacity() <= IDLE_CAPACITY {
            state.unacknowledged = unacknowledged;
        }
        drop(state);
        drop(arrived);
        self.room.notify(usize::MAX);
        Ok(())
    }

    /// Uncharges the first entries and takes them out. They are to be dropped after the lock:
    /// bytes that the caller lent may run code of his then.
    fn take_first(
        &self,
        state: &mut State,
        entries: &mut VecDeque<Entry>,
        count: usize,
    ) -> Vec<Entry> {
        let first: Vec<Entry> = entries.drain(..count.min(entries.len())).collect();
        for entry in &first {
            self.release(state, entry);
        }
        first
    }

    /// Frames were handed to the router, and the other side will be told.
    pub(crate) fn received(&self, frames: usize, bytes: usize) {
        let mut state = self.lock();
        if state.shares_records {
            state.received.add(frames, bytes, timer::now());
        }
    }

    /// How many frames the router was handed over all links of the pair.
    pub(crate) fn received_total(&self) -> u64 {
        self.lock().received.total()
    }

    /// The smoothed round trip, measured by acknowledgements.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.lock().sent.round_trip()
    }

    /// Moves all that waits to the end of another queue, and takes nothing any more. Not if the
    /// other one has ended.
    ///
    /// The bounds of the other one are for what is added later; what was accepted is not lost.
    pub(crate) fn move_to(&self, other: &Queue) -> bool {
        // Nothing else holds two of them, and peers are merged one pair at a time.
        let mut state = other.lock();
        if state.ended {
            return false;
        }
        let mut own = self.lock();
        own.ended = true;
        state.waiting.append(&mut own.waiting);
        state.frames += std::mem::take(&mut own.frames);
        state.bytes += std::mem::take(&mut own.bytes);
        drop(own);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        self.room.notify(usize::MAX);
        true
    }

    /// The first `count` entries were written whole: kept until they are acknowledged, if they
    /// ever will be.
    pub(super) fn written(&self, entries: &mut VecDeque<Entry>, count: usize) {
        let mut state = self.lock();
        if state.shares_records {
            state.unacknowledged.extend(entries.drain(..count));
            return state.sent.add(count, timer::now());
        }
        for entry in entries.range(..count) {
            self.release(&mut state, entry);
        }
        drop(state);
        entries.drain(..count);
        self.room.notify(usize::MAX);
    }

    /// Frames that wait and the bytes that they count.
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.frames, state.bytes)
    }

    /// Stops taking frames and wakes whoever waits. `Now` outranks `Drain`.
    pub(crate) fn close(&self, how: Closing) {
        let mut state = self.lock();
        if state.closing != Some(Closing::Now) {
            state.closing = Some(how);
        }
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        self.room.notify(usize::MAX);
    }

    /// Waits until the queue is closing, or the other side parts.
    pub(crate) fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        match state.closing.is_some() || state.is_parting {
            true => Poll::Ready(()),
            false => {
                register(&mut state.writer, cx);
                Poll::Pending
            }
        }
    }

    /// Takes out all frames: for a peer that ended, none is taken afterwards.
    pub(crate) fn end(&self) -> Vec<Frame> {
        let mut state = self.lock();
        state.ended = true;
        self.take_out(&mut state, usize::MAX)
    }

    /// Takes out the oldest frames that wait, until `bytes` of the budget were given back or none
    /// is left: frames that wait for others too give nothing back. Those that are not acknowledged
    /// stay: the other side counts them.
    pub(crate) fn shed(&self, bytes: usize) -> Vec<Frame> {
        let mut state = self.lock();
        let kept = std::mem::take(&mut state.unacknowledged);
        // Nor those that wait to be sent again.
        let counted = state.sent.to_send_again().min(state.waiting.len());
        let never_sent = state.waiting.split_off(counted);
        let counted = std::mem::replace(&mut state.waiting, never_sent);
        let shed = self.take_out(&mut state, bytes);
        let never_sent = std::mem::replace(&mut state.waiting, counted);
        state.waiting.extend(never_sent);
        state.unacknowledged = kept;
        shed
    }

    fn take_out(&self, state: &mut State, bytes: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut freed = 0;
        while freed < bytes {
            let oldest = state.unacknowledged.pop_front().or_else(|| state.waiting.pop_front());
            let Some(entry) = oldest else { break };
            freed += self.release(state, &entry);
            frames.push(entry.frame);
        }
        if state.waiting.is_empty() {
            state.waiting = VecDeque::new();
        }
        frames
    }

    /// Uncharges an entry that leaves the queue, and tells what the budget gets back once the entry
    /// is dropped.
    fn release(&self, state: &mut State, entry: &Entry) -> usize {
        let cost = cost(&entry.frame);
        state.frames -= 1;
        state.bytes -= cost;
        match &entry.flood {
            None => {
                self.budget.give(cost);
                cost
            }
            Some(charge) if Arc::strong_count(charge) == 1 => cost,
            Some(_) => 0,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.end();
    }
}

/// Room for so many entries is kept while there is none; more is given back.
const IDLE_CAPACITY: usize = 64;

/// Notes whom to wake.
pub(super) fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::outbox::{Filled, Outbox};
    use crate::proto::Id;

    fn frame(number: u8) -> Frame {
        Frame::builder(8, Id::from_bytes([number; 32])).payload(vec![number; 59]).build().unwrap()
    }

    fn poll_fill(outbox: &mut Outbox<'_>) -> Poll<Filled> {
        outbox.poll_fill(&mut Context::from_waker(Waker::noop()))
    }

    fn senders(frames: Vec<Frame>) -> Vec<u8> {
        frames.iter().map(|frame| frame.sender().as_bytes()[0]).collect()
    }

    /// A frame of 100 bytes counts 228.
    fn queue(budget: usize, bytes: usize, frames: usize) -> (Arc<Budget>, Queue) {
        let budget = Budget::new(budget);
        (budget.clone(), Queue::new(budget, bytes, frames))
    }

    fn push(queue: &Queue, number: u8) -> Result<(), Refusal> {
        queue.push(frame(number), None, false).map_err(|(refusal, _)| refusal)
    }

    #[test]
    fn every_bound_refuses_and_gives_back() {
        let (_, narrow) = queue(usize::MAX, 227, 9);
        assert_eq!(push(&narrow, 1), Err(Refusal::TooLarge));
        let (_, bytes) = queue(usize::MAX, 2 * 228, 9);
        let (_, frames) = queue(usize::MAX, usize::MAX, 2);
        let (budget, shared) = queue(2 * 228, usize::MAX, 9);
        for (queue, refusal) in
            [(&bytes, Refusal::Full), (&frames, Refusal::Full), (&shared, Refusal::EndpointFull)]
        {
            assert_eq!(push(queue, 1), Ok(()));
            assert_eq!(push(queue, 2), Ok(()));
            assert_eq!(queue.push(frame(3), None, false), Err((refusal, frame(3))));
            assert_eq!(queue.push(frame(3), None, true), Err((Refusal::LinkDown, frame(3))));
        }
        drop(shared);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn frames_not_written_go_back_to_the_front() {
        let (budget, queue) = queue(usize::MAX, usize::MAX, 9);
        (1..=3).for_each(|number| push(&queue, number).unwrap());
        let mut outbox = Outbox::new(&queue);
        assert_eq!(poll_fill(&mut outbox), Poll::Ready(Filled::Something));
        outbox.written(1);
        push(&queue, 4).unwrap();
        drop(outbox);
        assert_eq!(queue.size(), (3, 3 * 228));
        assert_eq!(senders(queue.end()), [2, 3, 4]);
        assert_eq!((queue.size(), budget.used()), ((0, 0), 0));
        assert_eq!(push(&queue, 5), Err(Refusal::UnknownTarget));
    }

    #[test]
    fn a_flood_is_charged_once() {
        let budget = Budget::new(228);
        let queues = [0, 1, 2].map(|_| Queue::new(budget.clone(), usize::MAX, 9));
        let charge = FloodCharge::new(&budget, &frame(1)).unwrap();
        for queue in &queues {
            queue.push(frame(1), Some(charge.clone()), false).unwrap();
        }
        drop(charge);
        assert!(FloodCharge::new(&budget, &frame(2)).is_none());
        drop(queues);
        assert!(FloodCharge::new(&budget, &frame(2)).is_some());
    }

    #[test]
    fn closing_drains_or_stops() {
        let (_, queue) = queue(usize::MAX, usize::MAX, 9);
        push(&queue, 1).unwrap();
        queue.close(Closing::Drain);
        assert_eq!(push(&queue, 2), Err(Refusal::UnknownTarget));
        let mut outbox = Outbox::new(&queue);
        assert_eq!(poll_fill(&mut outbox), Poll::Ready(Filled::Something));
        outbox.written(1);
        assert_eq!(poll_fill(&mut outbox), Poll::Ready(Filled::Closing));
        queue.close(Closing::Now);
        queue.close(Closing::Drain);
        assert!(outbox.is_cut_short());
    }

    #[test]
    fn shedding_frees_what_is_asked_for() {
        let (_, queue) = queue(usize::MAX, usize::MAX, 9);
        (1..=4).for_each(|number| push(&queue, number).unwrap());
        assert_eq!(senders(queue.shed(229)), [1, 2]);
        assert_eq!(queue.size().0, 2);
    }

    #[test]
    fn shedding_goes_on_until_the_budget_has_got_it_back() {
        let budget = Budget::new(usize::MAX);
        let [one, other] = [0, 1].map(|_| Queue::new(budget.clone(), usize::MAX, 9));
        let charge = FloodCharge::new(&budget, &frame(1)).unwrap();
        for queue in [&one, &other] {
            queue.push(frame(1), Some(charge.clone()), false).unwrap();
        }
        drop(charge);
        push(&one, 2).unwrap();
        assert_eq!((senders(one.shed(1)), budget.used()), (vec![1, 2], 228));
        assert_eq!((senders(other.shed(1)), budget.used()), (vec![1], 0));
    }

    #[test]
    fn what_waits_does_not_go_to_a_queue_that_ended() {
        let budget = Budget::new(usize::MAX);
        let [one, other] = [0, 1].map(|_| Queue::new(budget.clone(), usize::MAX, 9));
        push(&one, 1).unwrap();
        other.end();
        assert!(!one.move_to(&other));
        push(&one, 2).unwrap();
        assert_eq!(senders(one.end()), [1, 2]);
    }

    /// Bytes of a caller who looks at the queue when it lets go of them.
    struct Nosy(Arc<Queue>, Vec<u8>);

    impl AsRef<[u8]> for Nosy {
        fn as_ref(&self) -> &[u8] {
            &self.1
        }
    }

    impl Drop for Nosy {
        fn drop(&mut self) {
            assert!(self.0.state.try_lock().is_ok(), "dropped under the lock");
        }
    }

    #[test]
    fn frames_are_dropped_outside_of_the_lock() {
        let (_, queue) = queue(usize::MAX, usize::MAX, 9);
        let queue = Arc::new(queue);
        for shares_records in [false, true] {
            queue.link_up(shares_records);
            let bytes = Nosy(queue.clone(), frame(1).as_bytes().to_vec());
            let nosy = Frame::parse(bytes::Bytes::from_owner(bytes)).unwrap();
            queue.push(nosy, None, false).unwrap();
            let mut outbox = Outbox::new(&queue);
            assert_eq!(poll_fill(&mut outbox), Poll::Ready(Filled::Something));
            outbox.written(1);
        }
        assert_eq!(queue.size().0, 1);
        queue.acknowledge(1, Duration::ZERO).unwrap();
        assert_eq!(queue.size(), (0, 0));
    }
}
