//! What this node says to the other side of a link by records of its own.

use std::time::{Duration, Instant};

use super::queue::{Queue, State, wake_writer};
use super::seldom::Empty;
use crate::proto::{Records, Tell};
use crate::timer;

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

impl Empty for Records {
    const EMPTY: &'static Records = Records::NONE;
}

impl Watched {
    /// Whether there is something to watch.
    pub(super) fn is_needed(&self) -> bool {
        self.owes || self.is_held_up || self.is_suspected
    }
}

impl State {
    /// Adds the count of received frames to the last records of a link. Even if none is owed: a
    /// count that the writer took may not have been written.
    pub(super) fn add_last_count(&mut self, records: Records) -> Records {
        let held = self.received.take(timer::now()).map(|(_, held)| micros(held));
        Records { received: Some(self.received.total()), held, ..records }
    }

    fn watched(&self) -> Watched {
        let State { is_held_up, is_suspected, .. } = *self;
        Watched { owes: self.backlog.size().0 > 0, is_held_up, is_suspected }
    }
}

impl Queue {
    /// Notes whether the reader waits for the router.
    pub(super) fn set_held_up(&self, is_held_up: bool) {
        self.lock().is_held_up = is_held_up;
    }

    /// What there is to watch on a link that carries records.
    pub(super) fn watched(&self) -> Watched {
        self.lock().watched()
    }

    /// The same for somebody who watches from now on if there is anything, and else does not.
    pub(super) fn watch(&self) -> Watched {
        let mut state = self.lock();
        let watched = state.watched();
        state.is_watched = watched.is_needed();
        watched
    }

    /// Asks the other side for a sign of life.
    pub(crate) fn say_probe(&self) {
        self.say(|state| state.control.probe = Some(()));
    }

    /// Asks the other side for a sign of life, and gives the link up soon if there is none. Not if
    /// the link carries no records.
    pub(super) fn suspect(&self) -> bool {
        let can_ask = self.lock().shares_records;
        if can_ask {
            self.say(|state| {
                state.is_suspected = true;
                state.control.probe = Some(());
            });
        }
        can_ask
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
    pub(crate) fn say_merge(&self, name: &[u8; 8], received: u64, proof: &[u8; 16]) {
        self.say(|state| state.control.merge = Some((*name, (received, *proof))));
    }

    /// Answers that.
    pub(crate) fn say_merged(&self, name: &[u8; 8], received: u64) {
        self.say(|state| state.control.merged = Some((*name, received)));
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
        wake_writer(state);
    }

    /// The count of received frames, if the other side is owed one.
    pub(crate) fn owed(&self) -> Option<Records> {
        let mut state = self.lock();
        let (count, held) = state.received.take(timer::now())?;
        let (received, held) = (Some(count), Some(micros(held)));
        state.shares_records.then(|| Records { received, held, ..Records::default() })
    }

    /// When the count of received frames is to be told, and the records that go with it if that is
    /// now.
    pub(super) fn take_control(state: &mut State, now: Instant) -> Option<Records> {
        let is_last_chance = state.closing.is_some() || state.is_parting;
        if state.received.tell(now) == Tell::Now || is_last_chance {
            // With nothing new to tell, the answer to a probe that waits stays as it is.
            if let Some((count, held)) = state.received.take(now) {
                state.control.received = Some(count);
                state.control.held = Some(micros(held));
            }
        }
        match state.shares_records {
            true => state.control.take().filter(|records| records != Records::NONE),
            false => None,
        }
    }

    /// When the count of received frames is to be told at the latest.
    pub(super) fn tell_at(state: &State, now: Instant) -> Option<Instant> {
        match state.received.tell(now) {
            Tell::At(at) if state.shares_records => Some(at),
            _ => None,
        }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
