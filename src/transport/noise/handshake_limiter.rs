//! What strangers may cost: exchanging keys is the only work that is much of it.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::primitives::clock;

/// Work that may be done at once after some quiet, as time of the second's share: a handful of
/// nodes that come back together are not held up.
const BURST: Duration = Duration::from_millis(200);

/// Longest that one exchange counts: the task may have been interrupted.
const MOST: Duration = Duration::from_millis(50);

/// Who goes first, if many wait: the later of these, and of equals who came last. In a flood the
/// oldest are about to be displaced or to run out of time, and who begins gets through or does not;
/// in the order of arrival all would wait, and be gone when it is their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    Unknown,
    /// Some work was done for it, which would be lost.
    InProgress,
    /// It comes from where this node dials, or says that it is a peer which this node trusts.
    Expected,
}

/// Spreads work so that it takes a share of the time.
#[derive(Debug)]
pub(crate) struct HandshakeLimiter {
    line: Mutex<WaitQueue>,
    per_second: Duration,
}

/// Who waits.
#[derive(Debug, Default)]
struct WaitQueue {
    /// The most urgent last. A waker once it is not that one's turn.
    waiting: Vec<(Rank, Option<Waker>)>,
    last: u64,
    is_at_work: bool,
    /// When the work that was done is paid for.
    next_allowed: Option<Instant>,
}

type Rank = (Priority, u64);

impl HandshakeLimiter {
    /// So much of every second.
    pub(crate) fn new(per_second: Duration) -> HandshakeLimiter {
        HandshakeLimiter { line: Mutex::default(), per_second }
    }

    /// Does some work when it may be done. Who is dropped meanwhile leaves his place to the next.
    pub(crate) async fn run<T>(&self, urgency: Priority, work: impl FnOnce() -> T) -> T {
        let mut place = Ticket::take(self, urgency);
        loop {
            match poll_fn(|cx| place.poll_admit(cx)).await {
                Ok(()) => return place.work(work),
                // Somebody more urgent may come until then.
                Err(at) => drop(clock::at(at).await),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitQueue> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitQueue {
    /// When the next work may begin: what was not used long ago is not saved up.
    fn begin(&self, now: Instant) -> Instant {
        let oldest = now.checked_sub(BURST).unwrap_or(now);
        self.next_allowed.unwrap_or(oldest).max(oldest)
    }

    fn find(&self, rank: Rank) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&rank, |(rank, _)| *rank)
    }

    /// Whoever is to be woken now that it may be his turn.
    fn next(&mut self) -> Option<Waker> {
        self.waiting.last_mut().and_then(|(_, waker)| waker.take())
    }
}

/// A place among those who wait. Dropping it leaves it to the next.
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

    /// Begins a turn, or says when it may begin. Waits as long as it is somebody else's.
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
                // It waits for its time, and gave its place up.
                None => clock.advance(Duration::from_millis(1)),
            }
        }
        // A quarter of 10 s, and what may be done at once.
        assert!((250..=258).contains(&done), "{done}");
    }

    /// What waits, and the order in which it was done.
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
        // What may be done at once.
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
        // Evicted, while it is its turn.
        drop(crowd.waiting.remove(1));
        crowd.come(6, Priority::Expected);
        assert_eq!(crowd.wait_until(5), [1, 4, 6, 5, 3]);
        assert_eq!(crowd.wait_until(6), [1, 4, 6, 5, 3, number]);
        assert!(crowd.waiting.is_empty() && effort.lock().waiting.is_empty());
    }
}
