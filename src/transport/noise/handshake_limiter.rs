//! Rate limiter for the CPU time of key exchanges, the only expensive work that an unknown dialer
//! can cause.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::primitives::clock;

/// Burst size of the token bucket, as the wall-clock time in which its tokens accrue. A handful of
/// nodes that reconnect together are not delayed.
const BURST: Duration = Duration::from_millis(200);

/// Upper bound on the time charged for one key exchange, since the thread may have been preempted.
const MOST: Duration = Duration::from_millis(50);

/// Priority of a waiting handshake, lowest first. Equal priorities are served LIFO.
///
/// Under a flood the oldest are about to be evicted or to time out. Serving the newest first lets
/// some of them finish; in FIFO order each would be gone by the time it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    Unknown,
    /// An earlier key exchange step was done for it, which would be wasted.
    InProgress,
    /// It comes from an address that this node dials, or claims to be a trusted peer.
    Expected,
}

/// A token bucket of CPU time with priorities. Handshakes run one at a time.
#[derive(Debug)]
pub(crate) struct HandshakeLimiter {
    line: Mutex<WaitQueue>,
    per_second: Duration,
}

/// The waiting handshakes.
#[derive(Debug, Default)]
struct WaitQueue {
    /// Sorted by rank; the last is served next. A waker is set only while another one is ahead.
    waiting: Vec<(Rank, Option<Waker>)>,
    last: u64,
    is_at_work: bool,
    /// When the time charged so far has accrued again.
    next_allowed: Option<Instant>,
}

type Rank = (Priority, u64);

impl HandshakeLimiter {
    /// Creates a limiter that allows this much CPU time per second.
    pub(crate) fn new(per_second: Duration) -> HandshakeLimiter {
        HandshakeLimiter { line: Mutex::default(), per_second }
    }

    /// Runs `work` once it is admitted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws from the queue and wakes the next one.
    pub(crate) async fn run<T>(&self, urgency: Priority, work: impl FnOnce() -> T) -> T {
        let mut place = Ticket::take(self, urgency);
        loop {
            match poll_fn(|cx| place.poll_admit(cx)).await {
                Ok(()) => return place.work(work),
                // A more urgent handshake may arrive before then, so admission is checked again.
                Err(at) => drop(clock::at(at).await),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitQueue> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitQueue {
    /// The earliest time at which work may start. Unused time accrues for [`BURST`] at most.
    fn begin(&self, now: Instant) -> Instant {
        let oldest = now.checked_sub(BURST).unwrap_or(now);
        self.next_allowed.unwrap_or(oldest).max(oldest)
    }

    fn find(&self, rank: Rank) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&rank, |(rank, _)| *rank)
    }

    /// Takes the waker of the handshake to serve next.
    fn next(&mut self) -> Option<Waker> {
        self.waiting.last_mut().and_then(|(_, waker)| waker.take())
    }
}

/// A position in the wait queue. Dropping it leaves the queue and wakes the next one.
struct Ticket<'a> {
    effort: &'a HandshakeLimiter,
    rank: Rank,
    is_at_work: bool,
}

impl Ticket<'_> {
    fn take(effort: &HandshakeLimiter, urgency: Priority) -> Ticket<'_> {
        let mut line = effort.lock();
        line.last += 1;
        let rank = (urgency, line.last);
        let (Ok(at) | Err(at)) = line.find(rank);
        line.waiting.insert(at, (rank, None));
        Ticket { effort, rank, is_at_work: false }
    }

    /// Starts the work, or returns the earliest time at which it may start. Pending while another
    /// handshake is running or ahead in the queue.
    fn poll_admit(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Instant>> {
        let mut line = self.effort.lock();
        let Ok(at) = line.find(self.rank) else { return Poll::Pending };
        if line.is_at_work || at + 1 < line.waiting.len() {
            line.waiting[at].1 = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let now = clock::now();
        let begin = line.begin(now);
        if begin > now {
            return Poll::Ready(Err(begin));
        }
        (line.is_at_work, self.is_at_work) = (true, true);
        Poll::Ready(Ok(()))
    }

    fn work<T>(self, work: impl FnOnce() -> T) -> T {
        let began = clock::now();
        let done = work();
        let took = clock::since(began).min(MOST);
        let share = self.effort.per_second.as_secs_f64().max(0.001);
        let mut line = self.effort.lock();
        line.next_allowed = Some(line.begin(began) + took.div_f64(share));
        done
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut line = self.effort.lock();
        if self.is_at_work {
            line.is_at_work = false;
        }
        if let Ok(at) = line.find(self.rank) {
            line.waiting.remove(at);
        }
        let next = line.next();
        drop(line);
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
    fn work_takes_its_share_of_the_time_and_no_more() {
        let clock = Clock::install();
        let effort = HandshakeLimiter::new(Duration::from_millis(250));
        let work = || clock.advance(WORK);
        let start = clock::now();
        let mut done = 0;
        while clock::since(start) < Duration::from_secs(10) {
            let spend = effort.run(Priority::Unknown, work);
            match block_on(poll_once(Box::pin(spend))) {
                Some(()) => done += 1,
                // It waits for tokens to accrue; dropping it has withdrawn it from the queue.
                None => clock.advance(Duration::from_millis(1)),
            }
        }
        // A quarter of 10 s, and the burst.
        assert!((250..=258).contains(&done), "{done}");
    }

    /// Waiting handshakes, and the order in which those that ran were served.
    struct Crowd<'a> {
        effort: &'a HandshakeLimiter,
        clock: &'a Clock,
        done: &'a RefCell<Vec<u32>>,
        waiting: Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    }

    impl Crowd<'_> {
        fn come(&mut self, number: u32, urgency: Priority) {
            let (clock, done) = (self.clock, self.done);
            let work = move || {
                clock.advance(WORK);
                done.borrow_mut().push(number);
            };
            self.waiting.push(Box::pin(self.effort.run(urgency, work)));
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
    fn the_urgent_and_the_newest_go_first_and_who_is_dropped_leaves_his_place() {
        let clock = Clock::install();
        let (effort, done) =
            (HandshakeLimiter::new(Duration::from_millis(100)), RefCell::default());
        let mut crowd = Crowd { effort: &effort, clock: &clock, done: &done, waiting: Vec::new() };
        // Use up the burst.
        let mut number = 0;
        while crowd.waiting.is_empty() {
            number = 100 + done.borrow().len() as u32;
            crowd.come(number, Priority::Unknown);
        }
        done.borrow_mut().clear();
        for (number, urgency) in [
            (1, Priority::Expected),
            (2, Priority::InProgress),
            (3, Priority::Unknown),
            (4, Priority::InProgress),
            (5, Priority::Unknown),
        ] {
            crowd.come(number, urgency);
        }
        assert!(done.borrow().is_empty(), "it was not the time for it");
        assert_eq!(crowd.wait_until(2), [1, 4]);
        // Evicted while it is next in line.
        drop(crowd.waiting.remove(1));
        crowd.come(6, Priority::Expected);
        assert_eq!(crowd.wait_until(5), [1, 4, 6, 5, 3]);
        assert_eq!(crowd.wait_until(6), [1, 4, 6, 5, 3, number]);
        assert!(crowd.waiting.is_empty() && effort.lock().waiting.is_empty());
    }
}
