//! Round-trip time estimator.

use std::time::{Duration, Instant};

/// Maximum number of send times that are kept. When samples are thinned out, the estimate is too
/// long by at most an eighth of the time that the frames are in flight.
pub(crate) const MAX_SAMPLES: usize = 32;

/// Minimum spacing between two samples once they had to be thinned out, in microseconds.
const MIN_SPACING: u32 = 1000;

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
    acked: u64,
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
            self.sample_spacing = self.sample_spacing.saturating_mul(2).max(MIN_SPACING);
        }
        if self.sent.is_empty() {
            // Usually the only sample before everything is acknowledged; `push` would reserve four.
            self.sent.reserve_exact(1);
        }
        self.sent.push((number, now));
    }

    /// Handles an acknowledgement of `count` frames, which the remote delayed by `ack_delay`.
    pub(crate) fn on_ack(&mut self, count: u64, ack_delay: Duration, now: Instant) {
        if count <= self.acked {
            return;
        }
        let before = |number: u64| move |(sent, _): &(u64, Instant)| *sent <= number;
        let first = self.sent.partition_point(before(self.acked + 1)).checked_sub(1);
        if let Some((_, sent)) = first.and_then(|at| self.sent.get(at)) {
            self.add_sample(now.saturating_duration_since(*sent).saturating_sub(ack_delay));
        }
        self.acked = count;
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

    /// Resumes on a new link whose remote has received `count` frames.
    pub(crate) fn resume(&mut self, count: u64) {
        self.clear();
        self.acked = count;
    }

    /// The round-trip time, smoothed as in TCP: each new sample has a weight of one eighth. `None`
    /// before the first sample.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// Capacity of the samples, which is at least their number.
    #[cfg(test)]
    pub(crate) fn sample_capacity(&self) -> usize {
        self.sent.capacity()
    }

    fn add_sample(&mut self, sample: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => sample,
            Some(smoothed) => (smoothed * 7 + sample) / 8,
        });
    }
}
