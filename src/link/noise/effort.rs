//! What strangers may cost: exchanging keys is the only work that is much of it.

use std::time::{Duration, Instant};

use async_lock::Mutex;

use crate::timer;

/// Work that may be done at once after some quiet, as time of the second's share: a handful of
/// nodes that come back together are not held up.
const BURST: Duration = Duration::from_millis(200);

/// Longest that one exchange counts: the task may have been interrupted.
const MOST: Duration = Duration::from_millis(50);

/// Spreads work so that it takes a share of the time.
#[derive(Debug)]
pub(crate) struct Effort {
    /// When the work that was done is paid for.
    paid: Mutex<Option<Instant>>,
    per_second: Duration,
}

impl Effort {
    /// So much of every second.
    pub(crate) fn new(per_second: Duration) -> Effort {
        Effort { paid: Mutex::new(None), per_second }
    }

    /// Does some work when it may be done. Whoever comes first is served first; who is dropped
    /// meanwhile leaves his place to the next.
    pub(crate) async fn spend<T>(&self, work: impl FnOnce() -> T) -> T {
        // Held while this waits, so that others wait in their order.
        let mut paid = self.paid.lock().await;
        let now = timer::now();
        // What was not used long ago is not saved up.
        let oldest = now.checked_sub(BURST).unwrap_or(now);
        let begin = paid.unwrap_or(oldest).max(oldest);
        if begin > now {
            timer::at(begin).await;
        }
        let began = timer::now();
        let done = work();
        let took = timer::since(began).min(MOST);
        let share = self.per_second.as_secs_f64().max(0.001);
        *paid = Some(begin + took.div_f64(share));
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::simulated::Clock;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn work_takes_its_share_of_the_time_and_no_more() {
        let clock = Clock::install();
        let effort = Effort::new(Duration::from_millis(250));
        let work = || clock.advance(Duration::from_millis(10));
        let start = timer::now();
        let mut done = 0;
        while timer::since(start) < Duration::from_secs(10) {
            match block_on(poll_once(Box::pin(effort.spend(work)))) {
                Some(()) => done += 1,
                // It waits for its time, and gave its place up.
                None => clock.advance(Duration::from_millis(1)),
            }
        }
        // A quarter of 10 s, and what may be done at once.
        assert!((250..=258).contains(&done), "{done}");
    }
}
