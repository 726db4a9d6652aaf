//! Waits with an end.

use std::future::Future;
use std::time::Duration;

use futures_lite::future;
use smol::Timer;

/// The result of `future`, unless it takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let timed_out = async {
        Timer::after(limit).await;
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
    let _ = future::poll_once(Timer::after(Duration::from_millis(1))).await;
}
