//! What waits to be sent to one peer, and the budget that all peers share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use event_listener::{Event, EventListener};

use crate::error::Refusal;
use crate::proto::{Frame, Impossible, Received, Records, Sent, Tell};
use crate::timer;

/// What a waiting frame costs beside its own bytes: its place in the queue and its allocation.
const OVERHEAD: usize = 64;

/// What a frame counts against the budgets.
pub(crate) fn cost(frame: &Frame) -> usize {
    frame.len() + OVERHEAD
}

/// The bytes that all outbound queues of an endpoint may hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget { used: AtomicUsize::new(0), limit })
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit;
        if !fits {
            self.give(bytes);
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The share of the budget that a frame takes while it waits in several queues: once.
#[derive(Debug)]
pub(crate) struct FloodCharge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl FloodCharge {
    /// Charges the budget for a frame that goes to many peers.
    pub(crate) fn new(budget: &Arc<Budget>, frame: &Frame) -> Option<Arc<FloodCharge>> {
        let bytes = cost(frame);
        budget.take(bytes).then(|| Arc::new(FloodCharge { budget: budget.clone(), bytes }))
    }
}

impl Drop for FloodCharge {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

/// A frame that waits.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) frame: Frame,
    /// What pays for it, unless it is charged on its own.
    flood: Option<Arc<FloodCharge>>,
}

/// What there is to watch on a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    /// Frames wait for the other side to take them, or to say that it has them.
    pub(super) owes: bool,
    /// This side does not read, because its router is slow.
    pub(super) is_held_up: bool,
    /// There is reason to think that the other side is gone.
    pub(super) is_suspected: bool,
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
    frames: usize,
    bytes: usize,
    up: bool,
    /// Whether the link that is up carries records of ours.
    pub(super) shares_records: bool,
    sent: Sent,
    received: Received,
    /// Whether the reader waits for the router.
    is_held_up: bool,
    /// Whether there is reason to think that the other side is gone.
    is_suspected: bool,
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
        for entry in again.drain(..more.min(again.len())) {
            self.release(&mut state, &entry);
        }
        state.waiting = again;
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
        self.confirm(&mut state, more);
        drop(state);
        self.room.notify(usize::MAX);
        Ok(())
    }

    /// Lets go of the oldest frames that were not acknowledged.
    fn confirm(&self, state: &mut State, count: usize) {
        for _ in 0..count {
            let Some(entry) = state.unacknowledged.pop_front() else { break };
            self.release(state, &entry);
        }
        if state.unacknowledged.is_empty() && state.unacknowledged.capacity() > IDLE_CAPACITY {
            state.unacknowledged = VecDeque::new();
        }
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

    /// Notes whether the reader waits for the router.
    pub(super) fn set_held_up(&self, is_held_up: bool) {
        self.lock().is_held_up = is_held_up;
    }

    /// What there is to watch on a link that carries records.
    pub(super) fn watched(&self) -> Watched {
        let state = self.lock();
        let State { is_held_up, is_suspected, .. } = *state;
        Watched { owes: state.frames > 0, is_held_up, is_suspected }
    }

    /// Asks the other side for a sign of life.
    pub(crate) fn say_probe(&self) {
        self.say(|state| state.control.probe = Some(()));
    }

    /// Asks the other side for a sign of life, and gives the link up soon if there is none.
    pub(super) fn suspect(&self) {
        self.say(|state| {
            state.is_suspected = true;
            state.control.probe = Some(());
        });
    }

    /// The other side lives.
    pub(super) fn trust(&self) {
        self.lock().is_suspected = false;
    }

    /// Notes that the other side said goodbye.
    pub(super) fn part(&self) {
        self.say(|state| state.is_parting = true);
    }

    /// Tells the other side of another link to the same node.
    pub(crate) fn say_same(&self, name: &[u8; 8], proof: &[u8; 16]) {
        self.say(|state| state.control.same = Some((*name, *proof)));
    }

    /// Tells the other side that the pair called `name` goes.
    pub(crate) fn say_merge(&self, name: &[u8; 8], received: u64) {
        self.say(|state| state.control.merge = Some((*name, received)));
    }

    /// Answers that.
    pub(crate) fn say_merged(&self, name: &[u8; 8], received: u64) {
        self.say(|state| state.control.merged = Some((*name, received)));
    }

    /// Moves all that waits to the end of another queue, and takes nothing any more.
    ///
    /// The bounds of the other one are for what is added later; what was accepted is not lost.
    pub(crate) fn move_to(&self, other: &Queue) {
        let (entries, frames, bytes) = {
            let mut state = self.lock();
            state.ended = true;
            let entries = std::mem::take(&mut state.waiting);
            (entries, std::mem::take(&mut state.frames), std::mem::take(&mut state.bytes))
        };
        self.room.notify(usize::MAX);
        let mut state = other.lock();
        state.frames += frames;
        state.bytes += bytes;
        state.waiting.extend(entries);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Tells the other side that this one lives, though it does not read.
    pub(super) fn say_busy(&self) {
        self.say(|state| state.control.busy = Some(()));
    }

    /// Tells the other side at once how many frames were received.
    pub(super) fn say_received(&self) {
        self.say(|state| state.control.received = Some(state.received.total()));
    }

    /// Adds to the records that go out next, and wakes the writer.
    fn say(&self, add: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        add(&mut state);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// The count of received frames, if the other side is owed one.
    pub(crate) fn owed(&self) -> Option<Records> {
        let mut state = self.lock();
        let (count, held) = state.received.take(timer::now())?;
        let (received, held) = (Some(count), Some(micros(held)));
        state.shares_records.then(|| Records { received, held, ..Records::default() })
    }

    /// Entries that were written whole: kept until they are acknowledged, if they ever will be.
    pub(super) fn written(&self, entries: impl Iterator<Item = Entry>) {
        let mut state = self.lock();
        match state.shares_records {
            true => {
                let before = state.unacknowledged.len();
                state.unacknowledged.extend(entries);
                let count = state.unacknowledged.len() - before;
                state.sent.add(count, timer::now());
            }
            false => {
                for entry in entries {
                    self.release(&mut state, &entry);
                }
                drop(state);
                self.room.notify(usize::MAX);
            }
        }
    }

    /// When the count of received frames is to be told, and the records that go with it if that is
    /// now.
    pub(super) fn take_control(state: &mut State, now: Instant) -> Option<Records> {
        let is_last_chance = state.closing.is_some() || state.is_parting;
        if state.received.tell(now) == Tell::Now || is_last_chance {
            let told = state.received.take(now);
            state.control.received = told.map(|(count, _)| count);
            state.control.held = told.map(|(_, held)| micros(held));
        }
        if !state.shares_records || state.control == Records::default() {
            return None;
        }
        Some(std::mem::take(&mut state.control))
    }

    /// When the count of received frames is to be told at the latest.
    pub(super) fn tell_at(state: &State, now: Instant) -> Option<Instant> {
        match state.received.tell(now) {
            Tell::At(at) if state.shares_records => Some(at),
            _ => None,
        }
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

    /// Takes out the oldest frames that wait, until `bytes` were freed or none is left. Those that
    /// are not acknowledged stay: the other side counts them.
    pub(crate) fn shed(&self, bytes: usize) -> Vec<Frame> {
        let mut state = self.lock();
        let kept = std::mem::take(&mut state.unacknowledged);
        // Nor those that wait to be sent again.
        let counted = state.sent.to_send_again().min(state.waiting.len());
        let never_sent = state.waiting.split_off(counted);
        let counted = std::mem::replace(&mut state.waiting, never_sent);
        let frames = self.take_out(&mut state, bytes);
        let never_sent = std::mem::replace(&mut state.waiting, counted);
        state.waiting.extend(never_sent);
        state.unacknowledged = kept;
        frames
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

    /// Uncharges an entry that leaves the queue.
    fn release(&self, state: &mut State, entry: &Entry) -> usize {
        let cost = cost(&entry.frame);
        state.frames -= 1;
        state.bytes -= cost;
        if entry.flood.is_none() {
            self.budget.give(cost);
        }
        cost
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

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

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

    /// A frame of 100 bytes counts 164.
    fn queue(budget: usize, bytes: usize, frames: usize) -> (Arc<Budget>, Queue) {
        let budget = Budget::new(budget);
        (budget.clone(), Queue::new(budget, bytes, frames))
    }

    fn push(queue: &Queue, number: u8) -> Result<(), Refusal> {
        queue.push(frame(number), None, false).map_err(|(refusal, _)| refusal)
    }

    #[test]
    fn every_bound_refuses_and_gives_back() {
        let (_, narrow) = queue(usize::MAX, 163, 9);
        assert_eq!(push(&narrow, 1), Err(Refusal::TooLarge));
        let (_, bytes) = queue(usize::MAX, 2 * 164, 9);
        let (_, frames) = queue(usize::MAX, usize::MAX, 2);
        let (budget, shared) = queue(2 * 164, usize::MAX, 9);
        for (queue, refusal) in
            [(&bytes, Refusal::Full), (&frames, Refusal::Full), (&shared, Refusal::EndpointFull)]
        {
            assert_eq!(push(queue, 1), Ok(()));
            assert_eq!(push(queue, 2), Ok(()));
            assert_eq!(queue.push(frame(3), None, false), Err((refusal, frame(3))));
            assert_eq!(queue.push(frame(3), None, true), Err((Refusal::LinkDown, frame(3))));
        }
        drop(shared);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
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
        assert_eq!(queue.size(), (3, 3 * 164));
        assert_eq!(senders(queue.end()), [2, 3, 4]);
        assert_eq!((queue.size(), budget.used.load(Ordering::Relaxed)), ((0, 0), 0));
        assert_eq!(push(&queue, 5), Err(Refusal::UnknownTarget));
    }

    #[test]
    fn a_flood_is_charged_once() {
        let budget = Budget::new(164);
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
        assert_eq!(senders(queue.shed(165)), [1, 2]);
        assert_eq!(queue.size().0, 2);
    }
}
