//! A clock that moves only when it is advanced. Each thread may install its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

thread_local! {
    static CLOCK: RefCell<Option<State>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct State {
    now: Instant,
    /// Pending timers, by deadline and then in order of registration.
    timers: BTreeMap<(Instant, u64), Waker>,
    last: u64,
}

/// The time on this thread's clock. `None` if none is installed and system time applies.
pub(crate) fn now() -> Option<Instant> {
    CLOCK.with_borrow(|clock| clock.as_ref().map(|clock| clock.now))
}

/// Whether this thread has a manual clock.
#[cfg(test)]
pub(crate) fn is_installed() -> bool {
    now().is_some()
}

/// Guard of the current thread's manual clock, which it uninstalls on drop. Timers must be created,
/// polled and dropped on that thread.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Makes the guard neither `Send` nor `Sync`.
    _here: std::marker::PhantomData<*const ()>,
}

impl Clock {
    pub(crate) fn install() -> Clock {
        let state = State { now: Instant::now(), timers: BTreeMap::new(), last: 0 };
        let before = CLOCK.replace(Some(state));
        assert!(before.is_none(), "a thread has one clock");
        Clock { _here: std::marker::PhantomData }
    }

    /// The earliest deadline. `None` if no timer is pending.
    pub(crate) fn next(&self) -> Option<Instant> {
        CLOCK.with_borrow(|clock| {
            let (&(time, _), _) = clock.as_ref()?.timers.first_key_value()?;
            Some(time)
        })
    }

    /// Advances the clock, and fires the timers that expire, each at its own time.
    pub(crate) fn advance(&self, by: Duration) {
        let Some(to) = now().and_then(|now| now.checked_add(by)) else { return };
        while let Some(time) = self.next().filter(|time| *time <= to) {
            self.set(time);
            // Outside of the borrow, since a waker may run arbitrary code.
            let first = CLOCK.with_borrow_mut(|clock| clock.as_mut()?.timers.pop_first());
            if let Some((_, waker)) = first {
                waker.wake();
            }
        }
        self.set(to);
    }

    fn set(&self, now: Instant) {
        CLOCK.with_borrow_mut(|clock| {
            if let Some(clock) = clock {
                clock.now = clock.now.max(now);
            }
        });
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let state = CLOCK.take();
        // After the clock is uninstalled: wakers may own tasks, whose timers access it on drop.
        drop(state);
    }
}

/// A timer on the thread's manual clock, or on system time if there is none.
#[derive(Debug)]
pub(crate) enum Timer {
    System(smol::Timer),
    Simulated(Alarm),
}

/// A timer on a manual clock.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// The deadline. `None`: never.
    time: Option<Instant>,
    /// Registration number, once the timer is pending.
    number: Option<u64>,
}

impl Timer {
    pub(crate) fn after(delay: Duration) -> Timer {
        match now() {
            Some(now) => Timer::simulated(now.checked_add(delay)),
            None => Timer::System(smol::Timer::after(delay)),
        }
    }

    pub(crate) fn at(time: Instant) -> Timer {
        match now() {
            Some(_) => Timer::simulated(Some(time)),
            None => Timer::System(smol::Timer::at(time)),
        }
    }

    fn simulated(time: Option<Instant>) -> Timer {
        Timer::Simulated(Alarm { time, number: None })
    }
}

impl Future for Timer {
    type Output = Instant;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        match &mut *self {
            Timer::System(timer) => Pin::new(timer).poll(cx),
            Timer::Simulated(alarm) => alarm.poll(cx),
        }
    }
}

impl Alarm {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Instant> {
        let Some(time) = self.time else { return Poll::Pending };
        CLOCK.with_borrow_mut(|clock| {
            // The clock is uninstalled, so nothing will poll again.
            let Some(clock) = clock else { return Poll::Pending };
            if clock.now >= time {
                return Poll::Ready(time);
            }
            let number = *self.number.get_or_insert_with(|| {
                clock.last += 1;
                clock.last
            });
            clock.timers.insert((time, number), cx.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let (Some(time), Some(number)) = (self.time, self.number) else { return };
        let waker = CLOCK.with_borrow_mut(|clock| clock.as_mut()?.timers.remove(&(time, number)));
        // Outside of the borrow: the waker may own the last reference to a task.
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn time_passes_only_when_the_clock_is_advanced() {
        let clock = Clock::install();
        let start = now().unwrap();
        let second = Duration::from_secs(1);
        let (mut one, mut two) = (Timer::after(second), Timer::at(start + 2 * second));
        let mut never = Timer::after(Duration::MAX);
        block_on(async {
            assert_eq!(poll_once(&mut one).await, None);
            assert_eq!(poll_once(&mut two).await, None);
            assert_eq!(poll_once(&mut never).await, None);
            assert_eq!(clock.next(), Some(start + second));
            clock.advance(second);
            assert_eq!(poll_once(&mut one).await, Some(start + second));
            assert_eq!(poll_once(&mut two).await, None);
            drop(two);
            assert_eq!((clock.next(), now()), (None, Some(start + second)));
        });
        drop(clock);
        assert_eq!(now(), None);
    }
}
