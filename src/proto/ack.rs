//! Frame counters for acknowledgement and resumption, and when an acknowledgement is due.
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
    rtt: RttEstimator,
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
    /// `ack_delay` is the time by which the remote delayed it, or `None` if it is a reply to a
    /// ping. Only delayed acknowledgements yield round-trip samples.
    pub(crate) fn acknowledge(
        &mut self,
        count: u64,
        ack_delay: Option<Duration>,
        now: Instant,
    ) -> Result<usize, InvalidAck> {
        let newly_acked = self.advance(count, self.total)?;
        if let Some(ack_delay) = ack_delay {
            self.rtt.on_ack(count, ack_delay, now);
            if count == self.total {
                self.rtt.clear();
            }
        }
        Ok(newly_acked)
    }

    /// Resumes on a new link whose remote has received `count` frames, and returns how many of them
    /// are newly acknowledged. The rest is to be retransmitted.
    pub(crate) fn resume(&mut self, count: u64) -> Result<usize, InvalidAck> {
        let newly_acked = self.advance(count, self.highest)?;
        self.total = count;
        self.rtt.resume(count);
        Ok(newly_acked)
    }

    /// Number of frames that were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Number of frames that await retransmission.
    pub(crate) fn retransmit_count(&self) -> usize {
        usize::try_from(self.highest - self.total).unwrap_or(usize::MAX)
    }

    /// The smoothed round-trip time. `None` before the first sample.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    fn advance(&mut self, count: u64, max: u64) -> Result<usize, InvalidAck> {
        if count < self.acknowledged || count > max {
            return Err(InvalidAck);
        }
        let newly_acked = count - self.acknowledged;
        self.acknowledged = count;
        usize::try_from(newly_acked).map_err(|_| InvalidAck)
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
    use crate::proto::rtt::MAX_SAMPLES;
    use std::collections::VecDeque;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn impossible_counts_are_refused() {
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
    fn a_late_count_does_not_invalidate_a_higher_one() {
        let mut sent = SendCounter::default();
        sent.add(10, Instant::now());
        assert_eq!(sent.resume(2), Ok(2));
        assert_eq!(sent.retransmit_count(), 8);
        assert_eq!(sent.resume(9), Ok(7));
        assert_eq!((sent.resume(11), sent.retransmit_count()), (Err(InvalidAck), 1));
    }

    #[test]
    fn the_ack_delay_is_subtracted_from_the_round_trip() {
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
    fn an_acknowledgement_is_due_after_enough_bytes_or_time() {
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

    /// The estimate for a one-way delay of `delay` milliseconds and one frame of `len` bytes every
    /// `interval` milliseconds.
    fn estimate(delay: u32, interval: u32, len: usize) -> Duration {
        let start = Instant::now();
        let (mut sent, mut received) = (SendCounter::default(), AckScheduler::default());
        let mut acks = VecDeque::new();
        for ms in 0..50 * delay + 3000 {
            let now = start + ms * MS;
            if ms % interval == 0 {
                sent.add(1, now);
            }
            if ms >= delay && (ms - delay) % interval == 0 {
                received.add(1, len, now);
            }
            if received.timing(now) == AckTiming::Now {
                acks.push_back((now + delay * MS, received.take_ack(now).unwrap()));
            }
            while let Some((_, (count, ack_delay))) = acks.front().filter(|(at, _)| *at <= now) {
                sent.acknowledge(*count, Some(*ack_delay), now).unwrap();
                acks.pop_front();
            }
        }
        sent.round_trip().unwrap()
    }

    #[test]
    fn the_round_trip_is_accurate_for_any_flow() {
        for delay in [1, 20, 1000] {
            for (interval, len) in
                [(1, 100), (1, 10_000), (3, 70_000), (10, 100), (30, 100), (700, 1)]
            {
                let estimate = estimate(delay, interval, len);
                let true_rtt = 2 * delay * MS;
                let bounds = true_rtt - true_rtt / 20..=true_rtt + true_rtt / 8 + 10 * MS;
                assert!(
                    bounds.contains(&estimate),
                    "{estimate:?}, not {true_rtt:?}: {len} bytes every {interval} ms"
                );
            }
        }
    }

    #[test]
    fn samples_are_bounded_and_an_idle_link_keeps_none() {
        let start = Instant::now();
        let mut sent = SendCounter::default();
        (0..100_000).for_each(|number| sent.add(1, start + number * MS / 10));
        assert!(sent.rtt.sample_capacity() <= MAX_SAMPLES);
        sent.acknowledge(100_000, Some(MS), start + 10_000 * MS).unwrap();
        assert_eq!(sent.rtt.sample_capacity(), 0);
        assert_eq!(sent.round_trip(), Some(9_999 * MS));
    }

    #[test]
    fn a_reply_to_a_ping_yields_no_sample() {
        let start = Instant::now();
        let mut sent = SendCounter::default();
        sent.add(1, start);
        sent.add(1, start + 10 * MS);
        sent.acknowledge(1, None, start + 40 * MS).unwrap();
        assert_eq!(sent.round_trip(), None);
        sent.acknowledge(2, Some(50 * MS), start + 70 * MS).unwrap();
        assert_eq!(sent.round_trip(), Some(20 * MS));
    }

    #[test]
    fn a_frame_is_timed_from_its_last_byte() {
        let start = Instant::now();
        let mut sent = SendCounter::default();
        sent.add(0, start);
        sent.add(1, start + 900 * MS);
        sent.acknowledge(1, Some(Duration::ZERO), start + 910 * MS).unwrap();
        assert_eq!(sent.round_trip(), Some(10 * MS));
    }
}
