//! The rate limiter of events that an unknown remote can cause.

use std::time::{Duration, Instant};

/// A rate limiter with a fixed window of one second, which counts what it suppresses.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    per_second: usize,
    /// Events that are still admitted in this window. Invariant: at most `per_second`.
    left: usize,
    /// Start of the current window; `None` until the first event.
    window_start: Option<Instant>,
    /// Number of events suppressed since the last admitted one.
    suppressed: usize,
}

impl RateLimiter {
    pub(crate) fn new(per_second: usize) -> RateLimiter {
        RateLimiter { per_second, left: per_second, window_start: None, suppressed: 0 }
    }

    /// Admits an event and returns the number of those suppressed since the last admitted one;
    /// `None` if this one is suppressed.
    pub(crate) fn acquire(&mut self, now: Instant) -> Option<usize> {
        if self.try_acquire(now) {
            return Some(self.take_suppressed());
        }
        self.suppress();
        None
    }

    /// Whether one more event is admitted.
    pub(crate) fn try_acquire(&mut self, now: Instant) -> bool {
        let window_start = *self.window_start.get_or_insert(now);
        if now.duration_since(window_start) >= Duration::from_secs(1) {
            (self.window_start, self.left) = (Some(now), self.per_second);
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// Counts a suppressed event.
    pub(crate) fn suppress(&mut self) {
        self.suppressed = self.suppressed.saturating_add(1);
    }

    /// Whether events were suppressed since they were last taken.
    pub(crate) fn has_suppressed(&self) -> bool {
        self.suppressed > 0
    }

    /// Takes the number of suppressed events.
    pub(crate) fn take_suppressed(&mut self) -> usize {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppressed_events_are_counted() {
        let mut limiter = RateLimiter::new(2);
        let start = Instant::now();
        assert_eq!([0, 1, 2, 3].map(|_| limiter.acquire(start)), [Some(0), Some(0), None, None]);
        let later = start + Duration::from_secs(1);
        assert_eq!([0, 1, 2].map(|_| limiter.acquire(later)), [Some(2), Some(0), None]);
    }
}
