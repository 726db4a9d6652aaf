//! The clock, timers and timeouts. No other module reads the time.
//!
//! In tests a thread may install a manual clock, which moves only when it is advanced: see
//! `testing::kit::manual_clock`.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_lite::future;

#[cfg(any(fuzzing, test))]
pub(crate) use crate::testing::kit::manual_clock::Timer;
#[cfg(not(any(fuzzing, test)))]
pub(crate) use smol::Timer;

/// The current time.
pub(crate) fn now() -> Instant {
    #[cfg(any(fuzzing, test))]
    if let Some(now) = crate::testing::kit::manual_clock::now() {
        return now;
    }
    Instant::now()
}

/// The time elapsed since `then`, or zero if that is in the future.
pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

/// A duration in whole milliseconds. 64 bits, since formatting 128 takes a kilobyte of code.
pub(crate) fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A timer that fires after `delay`.
pub(crate) fn after(delay: Duration) -> Timer {
    Timer::after(delay)
}

/// A timer that fires at `time`.
pub(crate) fn at(time: Instant) -> Timer {
    Timer::at(time)
}

/// Runs `future` with a timeout. `None` if it takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let timed_out = async {
        after(limit).await;
        None
    };
    let done = future::or(async { Some(future.await) }, timed_out).await;
    forget_timers().await;
    done
}

/// Makes the reactor forget timers that were dropped.
///
/// On its own it keeps sleeping until the deadline of a dropped timer and wakes up for nothing,
/// which would be the only wake-up of an idle node.
async fn forget_timers() {
    // Registering any timer makes the reactor process its list.
    let _ = future::poll_once(after(Duration::from_millis(1))).await;
}
