//! The counts by which a link goes on where the one before it broke off.
//!
//! Every frame of the router that a pair's links carry has a number that nobody writes: its place
//! in the stream, over all links. The receiver tells how many it has; what it has not is sent
//! again. Frames of ours for control do not count.

use std::time::{Duration, Instant};

use crate::proto::rtt::RttEstimator;

/// What was received, counted as the sender's queue counts it, after which that is told at once: a
/// quarter of a queue of 1 MiB. A sender with less asks for it. At 64 KiB all that acknowledgements
/// take was 13 % of the instructions for frames of 4 KiB, at 256 KiB it is under 5 %.
pub(crate) const ACK_BYTES: usize = 256 << 10;

/// Longest time that a count is held back.
const MAX_ACK_DELAY: Duration = Duration::from_millis(50);

/// The other side tells a count that cannot be: more than was sent, or less than it told before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidAck;

/// What was sent and what of it the other side has.
#[derive(Debug, Default)]
pub(crate) struct SendCounter {
    /// Over all links, what is to be sent again left out.
    total: u64,
    /// The most that `total` ever was. After a resume over a link that the other side had given up
    /// already, it may have more than `total` says.
    highest: u64,
    acknowledged: u64,
    pub(crate) rtt: RttEstimator,
}

impl SendCounter {
    /// So many frames were sent.
    pub(crate) fn add(&mut self, frames: usize, now: Instant) {
        if frames == 0 {
            return;
        }
        self.rtt.on_sent(self.total + 1, now);
        self.total += frames as u64;
        self.highest = self.highest.max(self.total);
    }

    /// The other side has `count` frames: how many that is more than it had. It held the count
    /// back for `held`, if it was not asked for it.
    pub(crate) fn acknowledge(
        &mut self,
        count: u64,
        held: Option<Duration>,
        now: Instant,
    ) -> Result<usize, InvalidAck> {
        let more = self.take_count(count, self.total)?;
        if let Some(held) = held {
            self.rtt.on_ack(count, held, now);
            if count == self.total {
                self.rtt.clear();
            }
        }
        Ok(more)
    }

    /// The other side has `count` frames, and a new link begins: how many that is more than it
    /// had. The rest is to be sent again.
    pub(crate) fn resume(&mut self, count: u64) -> Result<usize, InvalidAck> {
        let more = self.take_count(count, self.highest)?;
        self.total = count;
        self.rtt.begin(count);
        Ok(more)
    }

    /// Frames that wait to be sent again.
    pub(crate) fn retransmit_count(&self) -> usize {
        usize::try_from(self.highest - self.total).unwrap_or(usize::MAX)
    }

    /// The smoothed round trip. `None` before it was measured.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    fn take_count(&mut self, count: u64, most: u64) -> Result<usize, InvalidAck> {
        if count < self.acknowledged || count > most {
            return Err(InvalidAck);
        }
        let more = count - self.acknowledged;
        self.acknowledged = count;
        usize::try_from(more).map_err(|_| InvalidAck)
    }
}

/// What was received and what of it the other side was told.
#[derive(Debug, Default)]
pub(crate) struct AckScheduler {
    total: u64,
    bytes: usize,
    since: Option<Instant>,
}

/// When a count is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckTiming {
    /// There is nothing to tell.
    Nothing,
    /// By then, if nothing makes it earlier.
    At(Instant),
    /// Now.
    Now,
}

impl AckScheduler {
    /// So many frames were handed to the router.
    pub(crate) fn add(&mut self, frames: usize, bytes: usize, now: Instant) {
        self.total += frames as u64;
        self.bytes = self.bytes.saturating_add(bytes);
        self.since.get_or_insert(now);
    }

    /// How many frames were received.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// When the count is to be told.
    pub(crate) fn timing(&self, now: Instant) -> AckTiming {
        match self.since {
            None => AckTiming::Nothing,
            Some(_) if self.bytes >= ACK_BYTES => AckTiming::Now,
            Some(since) if now >= since + MAX_ACK_DELAY => AckTiming::Now,
            Some(since) => AckTiming::At(since + MAX_ACK_DELAY),
        }
    }

    /// The count, and for how long it was held back, to be told now.
    pub(crate) fn take_ack(&mut self, now: Instant) -> Option<(u64, Duration)> {
        let since = self.since.take()?;
        self.bytes = 0;
        Some((self.total, now.saturating_duration_since(since)))
    }

    /// A new link begins, over which the count was told.
    pub(crate) fn resume(&mut self) {
        (self.bytes, self.since) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn counts_that_cannot_be_are_refused() {
        let now = Instant::now();
        let mut sent = SendCounter::default();
        sent.add(5, now);
        assert_eq!(sent.acknowledge(6, None, now), Err(InvalidAck));
        assert_eq!(sent.acknowledge(3, None, now), Ok(3));
        assert_eq!(sent.acknowledge(2, None, now), Err(InvalidAck));
        assert_eq!(sent.resume(4), Ok(1));
        assert_eq!(sent.acknowledge(5, None, now), Err(InvalidAck), "not sent again yet");
        sent.add(1, now);
        assert_eq!(sent.acknowledge(5, None, now), Ok(1));
    }

    /// The other side dialed, gave up, and got more over another link; its first count, which is
    /// smaller, was heard last.
    #[test]
    fn a_count_that_came_late_does_not_make_the_true_one_impossible() {
        let mut sent = SendCounter::default();
        sent.add(10, Instant::now());
        assert_eq!(sent.resume(2), Ok(2));
        assert_eq!(sent.retransmit_count(), 8);
        assert_eq!(sent.resume(9), Ok(7));
        assert_eq!((sent.resume(11), sent.retransmit_count()), (Err(InvalidAck), 1));
    }

    #[test]
    fn the_round_trip_leaves_out_what_was_held_back() {
        let start = Instant::now();
        let mut sent = SendCounter::default();
        sent.add(1, start);
        sent.add(1, start + 20 * MS);
        sent.acknowledge(2, Some(50 * MS), start + 60 * MS).unwrap();
        assert_eq!(sent.round_trip(), Some(10 * MS));
        sent.add(1, start);
        sent.acknowledge(3, Some(Duration::ZERO), start + 90 * MS).unwrap();
        assert_eq!(sent.round_trip(), Some(20 * MS));
    }

    #[test]
    fn a_count_is_told_after_so_many_bytes_or_so_long() {
        let start = Instant::now();
        let mut received = AckScheduler::default();
        assert_eq!(received.timing(start), AckTiming::Nothing);
        received.add(1, 100, start);
        received.add(1, 100, start + MS);
        assert_eq!(received.timing(start + MS), AckTiming::At(start + MAX_ACK_DELAY));
        assert_eq!(received.timing(start + MAX_ACK_DELAY), AckTiming::Now);
        assert_eq!(received.take_ack(start + MAX_ACK_DELAY), Some((2, MAX_ACK_DELAY)));
        assert_eq!((received.timing(start), received.take_ack(start)), (AckTiming::Nothing, None));
        received.add(9, ACK_BYTES, start);
        assert_eq!(received.timing(start), AckTiming::Now);
        received.resume();
        assert_eq!((received.timing(start), received.total()), (AckTiming::Nothing, 11));
    }
}
