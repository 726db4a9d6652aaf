//! Rate limiter for the CPU time of key exchanges, the only expensive work that an unknown dialer
//! can cause.

use std::future::poll_fn;
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::primitives::clock;
use crate::primitives::lock::Mutex;

/// Burst size of the token bucket, as the wall-clock time in which its tokens accrue. A handful of
/// nodes that reconnect together are not delayed.
const BURST: Duration = Duration::from_millis(200);

/// Upper bound on the time charged for one key exchange, since the thread may have been preempted.
const MAX_CHARGE: Duration = Duration::from_millis(50);

/// Priority of a waiting handshake, lowest first. Equal priorities are served LIFO.
///
/// Under a flood the oldest are about to be evicted or to time out. Serving the newest first lets
/// some of them finish; in FIFO order each would be gone by the time it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    Unknown,
    /// An earlier key exchange step was done for it, which would be wasted.
    InProgress,
    /// It comes from an address that the local node dials, or claims to be a trusted peer.
    Expected,
}

/// A token bucket of CPU time with priorities. Handshakes run one at a time.
#[derive(Debug)]
pub(crate) struct HandshakeLimiter {
    queue: Mutex<WaitQueue>,
    per_second: Duration,
}

/// The waiting handshakes.
#[derive(Debug, Default)]
struct WaitQueue {
    /// Sorted by rank; the last is served next. A waker is set only while another handshake runs or
    /// is ahead.
    ///
    /// A plain waker suffices, without a cell of atomics for each: it is set and taken under the
    /// lock that the change of the order needs anyway.
    waiting: Vec<(Rank, Option<Waker>)>,
    last_number: u64,
    is_running: bool,
    /// When the time charged so far has accrued again.
    next_allowed: Option<Instant>,
}

/// Priority, then order of arrival.
type Rank = (Priority, u64);

impl HandshakeLimiter {
    /// Creates a limiter that allows this much CPU time per second.
    pub(crate) fn new(per_second: Duration) -> HandshakeLimiter {
        HandshakeLimiter { queue: Mutex::default(), per_second }
    }

    /// Runs `work` once it is admitted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws from the queue and wakes the next one.
    pub(crate) async fn run<T>(&self, priority: Priority, work: impl FnOnce() -> T) -> T {
        let mut ticket = Ticket::new(self, priority);
        loop {
            match poll_fn(|cx| ticket.poll_admit(cx)).await {
                Ok(()) => return ticket.run(work),
                // One of a higher priority may arrive before then, so admission is checked again.
                Err(at) => drop(clock::at(at).await),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitQueue> {
        self.queue.lock()
    }
}

impl WaitQueue {
    /// The earliest time at which work may start. Unused time accrues for [`BURST`] at most.
    fn earliest_start(&self, now: Instant) -> Instant {
        let oldest = now.checked_sub(BURST).unwrap_or(now);
        self.next_allowed.unwrap_or(oldest).max(oldest)
    }

    fn find(&self, rank: Rank) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&rank, |(rank, _)| *rank)
    }

    /// Takes the waker of the handshake to serve next.
    fn take_next_waker(&mut self) -> Option<Waker> {
        self.waiting.last_mut().and_then(|(_, waker)| waker.take())
    }
}

/// A position in the wait queue. Dropping it leaves the queue and wakes the next one.
struct Ticket<'a> {
    limiter: &'a HandshakeLimiter,
    rank: Rank,
    /// Whether this is the handshake for which the queue has `is_running` set.
    is_running: bool,
}

impl Ticket<'_> {
    fn new(limiter: &HandshakeLimiter, priority: Priority) -> Ticket<'_> {
        let mut queue = limiter.lock();
        queue.last_number += 1;
        let rank = (priority, queue.last_number);
        let (Ok(at) | Err(at)) = queue.find(rank);
        queue.waiting.insert(at, (rank, None));
        Ticket { limiter, rank, is_running: false }
    }

    /// Starts the work, or returns the earliest time at which it may start. Pending while another
    /// handshake is running or ahead in the queue.
    fn poll_admit(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Instant>> {
        let mut queue = self.limiter.lock();
        let Ok(at) = queue.find(self.rank) else { return Poll::Pending };
        if queue.is_running || at + 1 < queue.waiting.len() {
            queue.waiting[at].1 = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let now = clock::now();
        let start = queue.earliest_start(now);
        if start > now {
            return Poll::Ready(Err(start));
        }
        (queue.is_running, self.is_running) = (true, true);
        Poll::Ready(Ok(()))
    }

    /// Runs the work, and charges the time that it took.
    fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let started = clock::now();
        let done = work();
        let took = clock::since(started).min(MAX_CHARGE);
        let share = self.limiter.per_second.as_secs_f64().max(0.001);
        let mut queue = self.limiter.lock();
        queue.next_allowed = Some(queue.earliest_start(started) + took.div_f64(share));
        done
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut queue = self.limiter.lock();
        if self.is_running {
            queue.is_running = false;
        }
        if let Ok(at) = queue.find(self.rank) {
            queue.waiting.remove(at);
        }
        let next = queue.take_next_waker();
        drop(queue);
        if let Some(next) = next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::kit::manual_clock::Clock;
    use futures_lite::future::{block_on, poll_once};
    use std::cell::RefCell;
    use std::future::Future;
    use std::pin::Pin;

    const WORK: Duration = Duration::from_millis(10);

    #[test]
    fn work_is_limited_to_its_share_of_the_time() {
        let clock = Clock::install();
        let limiter = HandshakeLimiter::new(Duration::from_millis(250));
        let work = || clock.advance(WORK);
        let start = clock::now();
        let mut done = 0;
        while clock::since(start) < Duration::from_secs(10) {
            let run = limiter.run(Priority::Unknown, work);
            match block_on(poll_once(Box::pin(run))) {
                Some(()) => done += 1,
                // It waits for tokens to accrue; dropping it has withdrawn it from the queue.
                None => clock.advance(Duration::from_millis(1)),
            }
        }
        // A quarter of 10 s, and the burst.
        assert!((250..=258).contains(&done), "{done}");
    }

    /// Waiting handshakes, and the order in which those that ran were served.
    struct Waiters<'a> {
        limiter: &'a HandshakeLimiter,
        clock: &'a Clock,
        done: &'a RefCell<Vec<u32>>,
        waiting: Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    }

    impl Waiters<'_> {
        fn enqueue(&mut self, number: u32, priority: Priority) {
            let (clock, done) = (self.clock, self.done);
            let work = move || {
                clock.advance(WORK);
                done.borrow_mut().push(number);
            };
            self.waiting.push(Box::pin(self.limiter.run(priority, work)));
            self.poll();
        }

        fn poll(&mut self) {
            self.waiting.retain_mut(|waits| block_on(poll_once(waits)).is_none());
        }

        fn wait_until(&mut self, count: usize) -> Vec<u32> {
            for _ in 0..10_000 {
                if self.done.borrow().len() >= count {
                    break;
                }
                self.clock.advance(Duration::from_millis(1));
                self.poll();
            }
            self.done.borrow().clone()
        }
    }

    #[test]
    fn priority_then_lifo_and_a_dropped_waiter_leaves_the_queue() {
        let clock = Clock::install();
        let (limiter, done) =
            (HandshakeLimiter::new(Duration::from_millis(100)), RefCell::default());
        let mut waiters =
            Waiters { limiter: &limiter, clock: &clock, done: &done, waiting: Vec::new() };
        // Use up the burst.
        let mut number = 0;
        while waiters.waiting.is_empty() {
            number = 100 + done.borrow().len() as u32;
            waiters.enqueue(number, Priority::Unknown);
        }
        done.borrow_mut().clear();
        for (number, priority) in [
            (1, Priority::Expected),
            (2, Priority::InProgress),
            (3, Priority::Unknown),
            (4, Priority::InProgress),
            (5, Priority::Unknown),
        ] {
            waiters.enqueue(number, priority);
        }
        assert!(done.borrow().is_empty(), "no tokens were left");
        assert_eq!(waiters.wait_until(2), [1, 4]);
        // Evicted while it is the next to be served.
        drop(waiters.waiting.remove(1));
        waiters.enqueue(6, Priority::Expected);
        assert_eq!(waiters.wait_until(5), [1, 4, 6, 5, 3]);
        assert_eq!(waiters.wait_until(6), [1, 4, 6, 5, 3, number]);
        assert!(waiters.waiting.is_empty() && limiter.lock().waiting.is_empty());
    }
}
