//! The clock, and waits with an end. No other file knows what time it is.
//!
//! In tests a thread may have a clock of its own, which stands still until it is moved on: see
//! `testing::kit::manual_clock`.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_lite::future;

#[cfg(any(fuzzing, test))]
pub(crate) use crate::testing::kit::manual_clock::Timer;
#[cfg(not(any(fuzzing, test)))]
pub(crate) use smol::Timer;

/// The present.
pub(crate) fn now() -> Instant {
    #[cfg(any(fuzzing, test))]
    if let Some(now) = crate::testing::kit::manual_clock::now() {
        return now;
    }
    Instant::now()
}

/// How long it has been since `then`.
pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

/// A time in milliseconds. In 64 bits: to show 128 takes a kilobyte of code.
pub(crate) fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A timer that fires after so long.
pub(crate) fn after(delay: Duration) -> Timer {
    Timer::after(delay)
}

/// A timer that fires at this time.
pub(crate) fn at(time: Instant) -> Timer {
    Timer::at(time)
}

/// The result of `future`, unless it takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let timed_out = async {
        after(limit).await;
        None
    };
    let done = future::or(async { Some(future.await) }, timed_out).await;
    forget_timers().await;
    done
}

/// Has the reactor take note of timers that were dropped.
///
/// It does not by itself: it would go on sleeping towards the time of one that is gone, and wake
/// up for nothing, which on a quiet node is the only thing that wakes it.
async fn forget_timers() {
    // Any timer that is registered makes the reactor look at its list.
    let _ = future::poll_once(after(Duration::from_millis(1))).await;
}
