//! Round-trip time estimator.

use std::time::{Duration, Instant};

/// Maximum number of send times that are kept. When samples are thinned out, the estimate is too
/// long by at most an eighth of the time that the frames are in flight.
const MAX_SAMPLES: usize = 32;

/// Minimum spacing between two samples once they had to be thinned out, in microseconds.
const LEAST_SPACING: u32 = 1000;

/// Estimates the round-trip time from delayed acknowledgements.
///
/// Each acknowledgement states by how long it was delayed, counted from the arrival of the first
/// frame that it newly acknowledges. So that frame is the one to measure, and which one it is
/// becomes known only when the acknowledgement arrives.
#[derive(Debug, Default)]
pub(crate) struct RttEstimator {
    /// Sequence numbers and send times of frames that no delayed acknowledgement covers yet. One
    /// earlier entry may stand in for the next frame.
    ///
    /// Invariant: ascending in both, and at most [`MAX_SAMPLES`] long.
    sent: Vec<(u64, Instant)>,
    /// Minimum time between two samples, in microseconds. Zero: every frame is sampled.
    sample_spacing: u32,
    /// Number of frames covered by delayed acknowledgements.
    told: u64,
    smoothed: Option<Duration>,
}

impl RttEstimator {
    /// Records that the frame with this sequence number was sent.
    pub(crate) fn on_sent(&mut self, number: u64, now: Instant) {
        if let Some((_, last)) = self.sent.last() {
            if now.saturating_duration_since(*last)
                < Duration::from_micros(self.sample_spacing.into())
            {
                return;
            }
        }
        if self.sent.len() == MAX_SAMPLES {
            let mut is_kept = false;
            self.sent.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.sample_spacing = self.sample_spacing.saturating_mul(2).max(LEAST_SPACING);
        }
        if self.sent.is_empty() {
            // Usually the only sample before everything is acknowledged; `push` would reserve four.
            self.sent.reserve_exact(1);
        }
        self.sent.push((number, now));
    }

    /// Handles an acknowledgement of `count` frames, which the remote delayed by `held`.
    pub(crate) fn on_ack(&mut self, count: u64, held: Duration, now: Instant) {
        if count <= self.told {
            return;
        }
        let before = |number: u64| move |(sent, _): &(u64, Instant)| *sent <= number;
        let first = self.sent.partition_point(before(self.told + 1)).checked_sub(1);
        if let Some((_, sent)) = first.and_then(|at| self.sent.get(at)) {
            self.measured(now.saturating_duration_since(*sent).saturating_sub(held));
        }
        self.told = count;
        // If the next frame was not sampled, the last acknowledged sample stands in for it.
        let done = self.sent.partition_point(before(count + 1)).saturating_sub(1);
        self.sent.drain(..done);
        if self.sent.len() < MAX_SAMPLES / 4 {
            self.sample_spacing /= 2;
        }
    }

    /// Everything sent is acknowledged: frees the samples, so that an idle link keeps no memory.
    pub(crate) fn clear(&mut self) {
        self.sent = Vec::new();
        self.sample_spacing = 0;
    }

    /// Starts on a new link whose remote has received `count` frames.
    pub(crate) fn begin(&mut self, count: u64) {
        self.clear();
        self.told = count;
    }

    /// The round-trip time, smoothed as in TCP: each new sample has a weight of one eighth. `None`
    /// before the first sample.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    fn measured(&mut self, sample: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => sample,
            Some(smoothed) => (smoothed * 7 + sample) / 8,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ack::{AckScheduler, AckTiming, SendCounter};
    use std::collections::VecDeque;

    const MS: Duration = Duration::from_millis(1);

    /// The estimate for a one-way delay of `way` milliseconds and one frame every `pace`
    /// milliseconds.
    fn measured(way: u32, pace: u32, len: usize) -> Duration {
        let start = Instant::now();
        let (mut sent, mut received) = (SendCounter::default(), AckScheduler::default());
        let mut told = VecDeque::new();
        for ms in 0..50 * way + 3000 {
            let now = start + ms * MS;
            if ms % pace == 0 {
                sent.add(1, now);
            }
            if ms >= way && (ms - way) % pace == 0 {
                received.add(1, len, now);
            }
            if received.timing(now) == AckTiming::Now {
                told.push_back((now + way * MS, received.take_ack(now).unwrap()));
            }
            while let Some((_, (count, held))) = told.front().filter(|(at, _)| *at <= now) {
                sent.acknowledge(*count, Some(*held), now).unwrap();
                told.pop_front();
            }
        }
        sent.round_trip().unwrap()
    }

    #[test]
    fn it_is_right_whatever_the_flow() {
        for way in [1, 20, 1000] {
            for (pace, len) in [(1, 100), (1, 10_000), (3, 70_000), (10, 100), (30, 100), (700, 1)]
            {
                let told = measured(way, pace, len);
                let right = 2 * way * MS;
                let is_right = (right - right / 20..=right + right / 8 + 10 * MS).contains(&told);
                assert!(is_right, "{told:?}, not {right:?}: {len} bytes every {pace} ms");
            }
        }
    }

    #[test]
    fn few_times_are_kept_and_none_of_an_idle_link() {
        let start = Instant::now();
        let mut sent = SendCounter::default();
        (0..100_000).for_each(|number| sent.add(1, start + number * MS / 10));
        assert!(sent.rtt.sent.len() <= MAX_SAMPLES);
        sent.acknowledge(100_000, Some(MS), start + 10_000 * MS).unwrap();
        assert_eq!(sent.rtt.sent.capacity(), 0);
        assert_eq!(sent.round_trip(), Some(9_999 * MS));
    }

    #[test]
    fn an_answer_to_a_probe_is_no_measure() {
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
    fn a_frame_counts_from_when_it_was_sent_whole() {
        let start = Instant::now();
        let mut sent = SendCounter::default();
        sent.add(0, start);
        sent.add(1, start + 900 * MS);
        sent.acknowledge(1, Some(Duration::ZERO), start + 910 * MS).unwrap();
        assert_eq!(sent.round_trip(), Some(10 * MS));
    }
}
