//! When to dial again.

use std::time::Duration;

/// Exponential back-off with full jitter.
///
/// The ceiling starts at `first`, doubles with every failure up to `cap`, and each delay is drawn
/// evenly from nothing to the ceiling. Full jitter spreads a herd of dialers over the whole
/// interval: all who lost the same listener come back evenly, not in waves.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Backoff {
        Backoff { first, cap, failures: 0 }
    }

    /// The delay before the next attempt; `random` is any number, evenly drawn.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let ceiling = self.first.saturating_mul(1 << self.failures.min(30)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Starts again from the first delay, because the last link was good.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(60))
    }

    #[test]
    fn doubles_up_to_the_cap_and_starts_again() {
        let mut backoff = backoff();
        let mut ceilings = (0..12).map(|_| backoff.next(u32::MAX).as_millis());
        assert!(ceilings.by_ref().take(10).eq((0..10).map(|n| 100 << n)));
        assert!(ceilings.eq([60_000, 60_000]));
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), Duration::from_millis(100));
    }

    #[test]
    fn spreads_over_the_whole_interval() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut slots = [0u32; 10];
        for _ in 0..10_000 {
            let delay = backoff().next(random.u32(..)).as_millis() as usize;
            slots[(delay / 10).min(9)] += 1;
        }
        assert!(slots.iter().all(|&count| (800..1_200).contains(&count)), "{slots:?}");
    }

    #[test]
    fn failures_without_end_stay_at_the_cap() {
        let mut backoff = backoff();
        backoff.failures = u32::MAX;
        assert_eq!(backoff.next(u32::MAX), Duration::from_secs(60));
    }
}
