//! An exponentially weighted moving average of a byte rate.

use std::time::{Duration, Instant};

/// Time constant of the average: long enough to smooth bursts, short enough to follow by eye.
const TIME_CONSTANT: Duration = Duration::from_secs(4);

/// Shortest period over which bytes are averaged. A single frame is no flow.
const MIN_WINDOW: Duration = Duration::from_secs(1);

/// Longest period of observation; the weight of older bytes is negligible.
const MAX_WINDOW: Duration = Duration::from_secs(60);

/// Bytes per second, as an exponentially weighted moving average.
///
/// It needs no timer: the decay is applied when the rate is read or updated. `f32` saves memory,
/// since each idle link has two of them.
#[derive(Debug, Default)]
pub(crate) struct ByteRate {
    /// The decayed rate at the time of the last bytes, not corrected for a short observation.
    per_second: f32,
    /// Seconds between the first and the last bytes.
    lasted: f32,
    /// When the last bytes were added.
    last: Option<Instant>,
}

impl ByteRate {
    pub(crate) fn add(&mut self, bytes: usize, now: Instant) {
        let decayed = self.decayed(now);
        self.lasted = if decayed > 0.0 { self.observed_for(now).as_secs_f32() } else { 0.0 };
        self.per_second = decayed + bytes as f32 / TIME_CONSTANT.as_secs_f32();
        self.last = Some(now);
    }

    /// Bytes per second, averaged over the last seconds.
    pub(crate) fn per_second(&self, now: Instant) -> u64 {
        // Correct for the bias of a flow that began only recently.
        let observed = self.observed_for(now).max(MIN_WINDOW);
        (self.decayed(now) / (1.0 - decay(observed))).round() as u64
    }

    /// For how long the flow has been observed, up to [`MAX_WINDOW`].
    fn observed_for(&self, now: Instant) -> Duration {
        let since = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        (Duration::from_secs_f32(self.lasted) + since).min(MAX_WINDOW)
    }

    /// The decayed rate; zero below a thousandth of its last value.
    fn decayed(&self, now: Instant) -> f32 {
        let Some(last) = self.last else { return 0.0 };
        match decay(now.saturating_duration_since(last)) {
            part if part < 0.001 => 0.0,
            part => self.per_second * part,
        }
    }
}

/// The weight of bytes after `time`.
fn decay(time: Duration) -> f32 {
    (-time.as_secs_f32() / TIME_CONSTANT.as_secs_f32()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Adds `bytes` bytes every 10 ms.
    fn flow(rate: &mut ByteRate, bytes: usize, from: Instant, time: Duration) -> Instant {
        let steps = (time.as_millis() / 10) as u32;
        (0..steps).for_each(|step| rate.add(bytes, from + 10 * step * MS));
        from + time
    }

    fn is_about(rate: u64, wanted: u64) -> bool {
        rate.abs_diff(wanted) <= wanted / 50
    }

    #[test]
    fn the_rate_of_a_steady_flow_is_accurate_from_the_first_second() {
        let mut rate = ByteRate::default();
        let mut now = Instant::now();
        assert_eq!(rate.per_second(now), 0);
        for _ in 0..30 {
            now = flow(&mut rate, 1_000, now, 1_000 * MS);
            assert!(is_about(rate.per_second(now), 100_000), "{}", rate.per_second(now));
        }
    }

    #[test]
    fn the_rate_follows_the_flow_and_decays_to_zero() {
        let mut rate = ByteRate::default();
        let now = flow(&mut rate, 1_000, Instant::now(), 20_000 * MS);
        let now = flow(&mut rate, 3_000, now, 20_000 * MS);
        assert!(is_about(rate.per_second(now), 300_000), "{}", rate.per_second(now));
        let later = rate.per_second(now + TIME_CONSTANT);
        assert!(is_about(later, 110_000), "{later}");
        assert_eq!(rate.per_second(now + 60_000 * MS), 0);
        let now = flow(&mut rate, 500, now + 60_000 * MS, 1_000 * MS);
        assert!(is_about(rate.per_second(now), 50_000), "{}", rate.per_second(now));
    }

    #[test]
    fn a_burst_is_averaged_over_a_second() {
        let mut rate = ByteRate::default();
        let now = Instant::now();
        rate.add(1_000_000, now);
        let rate = rate.per_second(now);
        assert!((1_000_000..1_200_000).contains(&rate), "{rate}");
    }
}
