//! Redial delays: exponential back-off, and staggered reconnects.

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
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Backoff {
        Backoff { first, cap, failures: 0 }
    }

    /// Returns the delay before the next attempt. `random` must be uniformly distributed.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let ceiling = self.first.saturating_mul(1 << self.failures.min(30)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX))
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

    const HERD: usize = 10_000;

    /// The highest number of reconnects within one second.
    fn most_in_a_second(mut times: Vec<Duration>) -> usize {
        times.sort_unstable();
        let second = Duration::from_secs(1);
        let count = |(at, start): (usize, &Duration)| {
            times.partition_point(|time| *time < *start + second) - at
        };
        times.iter().enumerate().map(count).max().unwrap_or(0)
    }

    /// The times at which all dialers reconnect to a listener that was down for `away`.
    fn after_an_absence(away: Duration) -> Vec<Duration> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut dialer = || {
            let mut backoff = backoff();
            let mut now = backoff.next(random.u32(..));
            while now < away {
                now += backoff.next(random.u32(..));
            }
            now
        };
        (0..HERD).map(|_| dialer()).collect()
    }

    #[test]
    fn a_herd_comes_back_within_the_cap_and_no_more_than_a_fifth_in_a_second() {
        let away = Duration::from_secs(30);
        let back = after_an_absence(away);
        assert!(back.iter().all(|time| *time <= away + Duration::from_secs(60)));
        let most = most_in_a_second(back);
        assert!(most <= HERD / 5, "{most}");
    }

    #[test]
    fn a_herd_that_was_asked_to_stay_away_comes_back_one_by_one() {
        let away = Duration::from_secs(20);
        let back: Vec<_> = staggered_retry_after(HERD, away).collect();
        assert!(back.len() == HERD && back[0] == away);
        let most = most_in_a_second(back);
        assert!(most <= HERD / 20, "{most}");
        let few: Vec<_> = staggered_retry_after(3, away).collect();
        assert!(few[2] < away + Duration::from_millis(100), "{few:?}");
        assert!(staggered_retry_after(HERD, Duration::MAX).all(|time| time <= MAX_RETRY_AFTER));
        assert_eq!(staggered_retry_after(0, away).count(), 0);
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
    fn failures_without_end_stay_at_the_cap() {
        let mut backoff = backoff();
        backoff.failures = u32::MAX;
        assert_eq!(backoff.next(u32::MAX), Duration::from_secs(60));
    }
}
