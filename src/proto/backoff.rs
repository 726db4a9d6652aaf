//! Redial delays: the curve of the exponential back-off, and staggered reconnects.

use std::time::Duration;

/// Exponential back-off with full jitter.
///
/// The ceiling starts at `first` and doubles with every failure up to `cap`. Each delay is drawn
/// uniformly between zero and the ceiling. Full jitter spreads the dialers that lost the same
/// listener over the whole interval, so that they return evenly, not in waves.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    /// Up to `MAX_FAILURES`.
    failures: u32,
}

/// Failures after which the ceiling no longer doubles: it is far beyond any cap.
const MAX_FAILURES: u32 = 30;

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Backoff {
        Backoff { first, cap, failures: 0 }
    }

    /// Returns the delay before the next attempt. `random` must be uniformly distributed.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let ceiling = self.ceiling();
        self.failures = (self.failures + 1).min(MAX_FAILURES);
        ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Lowers the ceiling to `max`, or to `first` if that is longer. It doubles on from there.
    pub(crate) fn lower(&mut self, max: Duration) {
        while self.failures > 0 && self.ceiling() > max {
            self.failures -= 1;
        }
    }

    fn ceiling(&self) -> Duration {
        self.first.saturating_mul(1 << self.failures).min(self.cap)
    }
}

/// Longest retry-after that is honoured from a remote.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Maximum time between two staggered reconnects. Even a small device sustains handshakes at this
/// rate.
const STAGGER: Duration = Duration::from_millis(30);

/// Time within which all staggered peers reconnect. Of a thousand or more, one in thirty connects
/// in any one second.
const STAGGER_SPAN: Duration = Duration::from_secs(30);

/// The retry-after of each of `count` peers that are asked to reconnect after `time`.
pub(crate) fn staggered_retry_after(
    count: usize,
    time: Duration,
) -> impl Iterator<Item = Duration> {
    // Lossless: targets are 16-bit.
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let apart = STAGGER.min(STAGGER_SPAN / count.max(1));
    // Clamped so that all delays stay within what remotes honour, or the last would not be
    // staggered.
    let first = time.min(MAX_RETRY_AFTER - STAGGER_SPAN);
    (0..count).map(move |number| first + apart * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALERS: usize = 10_000;

    /// The highest number of reconnects within one second.
    fn max_per_second(mut times: Vec<Duration>) -> usize {
        times.sort_unstable();
        let second = Duration::from_secs(1);
        let count = |(at, start): (usize, &Duration)| {
            times.partition_point(|time| *time < *start + second) - at
        };
        times.iter().enumerate().map(count).max().unwrap_or(0)
    }

    /// The times at which all dialers reconnect to a listener that was down for `downtime`.
    fn reconnects_after(downtime: Duration) -> Vec<Duration> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut dialer = || {
            let mut backoff = backoff();
            let mut now = backoff.next(random.u32(..));
            while now < downtime {
                now += backoff.next(random.u32(..));
            }
            now
        };
        (0..DIALERS).map(|_| dialer()).collect()
    }

    #[test]
    fn after_an_outage_reconnects_are_spread_out_within_the_cap() {
        let downtime = Duration::from_secs(30);
        let times = reconnects_after(downtime);
        assert!(times.iter().all(|time| *time <= downtime + Duration::from_secs(60)));
        let max = max_per_second(times);
        assert!(max <= DIALERS / 5, "{max}");
    }

    #[test]
    fn announced_reconnects_are_staggered() {
        let downtime = Duration::from_secs(20);
        let times: Vec<_> = staggered_retry_after(DIALERS, downtime).collect();
        assert!(times.len() == DIALERS && times[0] == downtime);
        let max = max_per_second(times);
        assert!(max <= DIALERS / 20, "{max}");
        let few: Vec<_> = staggered_retry_after(3, downtime).collect();
        assert!(few[2] < downtime + Duration::from_millis(100), "{few:?}");
        assert!(staggered_retry_after(DIALERS, Duration::MAX).all(|time| time <= MAX_RETRY_AFTER));
        assert_eq!(staggered_retry_after(0, downtime).count(), 0);
    }

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(60))
    }

    #[test]
    fn doubles_up_to_the_cap() {
        let mut backoff = backoff();
        let mut ceilings = (0..12).map(|_| backoff.next(u32::MAX).as_millis());
        assert!(ceilings.by_ref().take(10).eq((0..10).map(|n| 100 << n)));
        assert!(ceilings.eq([60_000, 60_000]));
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
    fn any_number_of_failures_stays_at_the_cap() {
        let mut backoff = backoff();
        (0..100).for_each(|_| _ = backoff.next(0));
        assert_eq!(backoff.next(u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn the_ceiling_can_be_lowered_and_doubles_on() {
        let mut backoff = backoff();
        (0..100).for_each(|_| _ = backoff.next(0));
        backoff.lower(Duration::from_secs(3));
        assert_eq!([1_600, 3_200], [0; 2].map(|_| backoff.next(u32::MAX).as_millis()));
        backoff.lower(Duration::ZERO);
        assert_eq!(backoff.next(u32::MAX).as_millis(), 100);
    }
}
