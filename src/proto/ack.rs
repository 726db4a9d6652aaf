//! Frame counters for acknowledgement and resumption.
//!
//! Every router frame of a session has an implicit sequence number: its position in the stream,
//! counted over all links of the session. Numbers are never written to the wire. The receiver
//! acknowledges the total it has received; after a reconnect, everything beyond that is
//! retransmitted. Control frames are not counted.

use std::time::{Duration, Instant};

use crate::proto::rtt::RttEstimator;

/// Received bytes after which an acknowledgement is due immediately, measured as the sender's queue
/// measures them.
///
/// A quarter of a queue of 1 MiB. A sender with a smaller queue requests acknowledgements instead.
/// Smaller values spend noticeably more CPU on acknowledgements.
pub(crate) const ACK_BYTES: usize = 256 << 10;

/// Longest time for which an acknowledgement is delayed.
const MAX_ACK_DELAY: Duration = Duration::from_millis(50);

/// The remote acknowledged an impossible count: more than was sent, or less than it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidAck;

/// Counts the frames sent in a session and those that the remote has acknowledged.
#[derive(Debug, Default)]
pub(crate) struct SendCounter {
    /// Frames sent over all links, without those that await retransmission.
    ///
    /// Invariant: `acknowledged <= total <= highest`.
    total: u64,
    /// Highest value that `total` ever had. The remote may have received more than `total` after a
    /// resume over a link that it had already abandoned.
    highest: u64,
    acknowledged: u64,
    pub(crate) rtt: RttEstimator,
}

impl SendCounter {
    /// Records that `frames` more frames were sent.
    pub(crate) fn add(&mut self, frames: usize, now: Instant) {
        if frames == 0 {
            return;
        }
        self.rtt.on_sent(self.total + 1, now);
        self.total += frames as u64;
        self.highest = self.highest.max(self.total);
    }

    /// Handles an acknowledgement of `count` frames in total, and returns how many of them are
    /// newly acknowledged.
    ///
    /// `held` is the time by which the remote delayed it, or `None` if it is a reply to a ping.
    /// Only delayed acknowledgements yield round-trip samples.
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

    /// Resumes on a new link whose remote has received `count` frames, and returns how many of them
    /// are newly acknowledged. The rest is to be retransmitted.
    pub(crate) fn resume(&mut self, count: u64) -> Result<usize, InvalidAck> {
        let more = self.take_count(count, self.highest)?;
        self.total = count;
        self.rtt.begin(count);
        Ok(more)
    }

    /// Number of frames that await retransmission.
    pub(crate) fn retransmit_count(&self) -> usize {
        usize::try_from(self.highest - self.total).unwrap_or(usize::MAX)
    }

    /// The smoothed round-trip time. `None` before the first sample.
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

/// Counts received frames and schedules their acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct AckScheduler {
    total: u64,
    bytes: usize,
    since: Option<Instant>,
}

/// When the next acknowledgement is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckTiming {
    /// Everything is acknowledged.
    Nothing,
    /// At this time at the latest.
    At(Instant),
    /// Immediately.
    Now,
}

impl AckScheduler {
    /// Records that `frames` more frames, `bytes` bytes in all, were delivered to the router.
    pub(crate) fn add(&mut self, frames: usize, bytes: usize, now: Instant) {
        self.total += frames as u64;
        self.bytes = self.bytes.saturating_add(bytes);
        self.since.get_or_insert(now);
    }

    /// Total number of frames received.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// When the next acknowledgement is due.
    pub(crate) fn timing(&self, now: Instant) -> AckTiming {
        match self.since {
            None => AckTiming::Nothing,
            Some(_) if self.bytes >= ACK_BYTES => AckTiming::Now,
            Some(since) if now >= since + MAX_ACK_DELAY => AckTiming::Now,
            Some(since) => AckTiming::At(since + MAX_ACK_DELAY),
        }
    }

    /// Takes the acknowledgement to be sent now: the count, and the time by which it was delayed.
    /// `None` if everything is acknowledged.
    pub(crate) fn take_ack(&mut self, now: Instant) -> Option<(u64, Duration)> {
        let since = self.since.take()?;
        self.bytes = 0;
        Some((self.total, now.saturating_duration_since(since)))
    }

    /// Resumes on a new link, whose handshake carried the count.
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

    /// The remote dialed, gave up, and received more over another link. Its first count, which is
    /// the smaller, arrives last.
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
