//! The event bus.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use crate::error::DropReason;
use crate::events::event::Event;
use crate::events::log;
use crate::events::rate_limiter::RateLimiter;
use crate::events::subscription::{Events, Subscription};
use crate::peer::{Peer, PeerClass};
use crate::primitives::clock;
use crate::primitives::lock::Mutex;
use crate::primitives::notify::Notify;

/// How often subscribers are told how many events about strangers were suppressed.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Delivers events to all subscriptions.
#[derive(Debug)]
pub(crate) struct EventBus {
    subscriptions: Mutex<Subscriptions>,
    /// Maximum number of unread events of each subscription.
    capacity: usize,
    /// Limits [`Event::Dropped`], which any remote can cause.
    dropped_limiter: Mutex<RateLimiter>,
    /// Limits the links of strangers that come up with an event, and counts all events about
    /// strangers that were suppressed.
    stranger_limiter: Mutex<RateLimiter>,
    /// Notified when an event about a stranger was suppressed.
    suppressed: Notify,
    /// Whether a task reports suppressed events.
    has_reporter: AtomicBool,
}

#[derive(Debug, Default)]
struct Subscriptions {
    /// Buffers events until the first subscription, which takes it.
    first: Option<Arc<Subscription>>,
    /// May hold dropped subscriptions, which `subscribe` and `emit` prune.
    open: Vec<Weak<Subscription>>,
    /// Whether the endpoint has stopped.
    closed: bool,
}

impl EventBus {
    /// Each subscription buffers `capacity` events. Each second, `drops` events about dropped
    /// streams are delivered, and those of `links` links of strangers.
    pub(crate) fn new(capacity: usize, drops: usize, links: usize) -> EventBus {
        let first = Arc::<Subscription>::default();
        let open = vec![Arc::downgrade(&first)];
        EventBus {
            subscriptions: Mutex::new(Subscriptions { first: Some(first), open, closed: false }),
            capacity,
            dropped_limiter: Mutex::new(RateLimiter::new(drops)),
            stranger_limiter: Mutex::new(RateLimiter::new(links)),
            suppressed: Notify::new(),
            has_reporter: AtomicBool::new(false),
        }
    }

    /// Creates a subscription. The first one receives all events since the start.
    pub(crate) fn subscribe(&self) -> Events {
        let mut subscriptions = self.lock();
        let subscription = subscriptions.first.take().unwrap_or_else(|| {
            // Also prunes dropped subscriptions here, since there may never be another event.
            subscriptions.open.retain(|weak| weak.strong_count() > 0);
            let subscription = Arc::<Subscription>::default();
            subscriptions.open.push(Arc::downgrade(&subscription));
            subscription
        });
        if subscriptions.closed {
            subscription.close();
        }
        Events::new(subscription)
    }

    /// Delivers an event to all subscriptions, and logs it.
    pub(crate) fn emit(&self, event: Event) {
        self.deliver(event, false);
    }

    /// Emits an event about a peer, unless the peer is a stranger and the rate limit is exceeded
    /// when its link comes up. The events that follow such an [`Event::Up`] are suppressed too.
    pub(crate) fn emit_about(&self, peer: &Peer, event: Event) {
        let is_stranger = peer.class() == PeerClass::Stranger;
        let is_due = match event {
            Event::Up { .. } => {
                let is_due = !is_stranger || self.stranger_limiter.lock().try_acquire(clock::now());
                peer.set_reported(is_due);
                is_due
            }
            Event::Down { .. } => peer.take_up_reported(),
            _ => peer.is_reported(),
        };
        match is_due || !is_stranger {
            true => self.deliver(event, is_stranger),
            false => self.suppress(),
        }
    }

    /// Emits that the peer `goes` was merged into `stays`, unless it is unknown to subscribers.
    pub(crate) fn emit_merged(&self, goes: &Peer, stays: &Peer) {
        let is_stranger = goes.class().max(stays.class()) == PeerClass::Stranger;
        if is_stranger && !goes.is_reported() {
            return self.suppress();
        }
        stays.set_known();
        let event = Event::Merged { target: stays.target(), retired: goes.target() };
        self.deliver(event, is_stranger);
    }

    /// Counts an event about a stranger that is not delivered.
    fn suppress(&self) {
        self.stranger_limiter.lock().suppress();
        self.suppressed.notify_all();
    }

    /// Whether a task has to be started that reports suppressed events: on the first call after
    /// one was suppressed.
    pub(crate) fn needs_reporter(&self) -> bool {
        let has_suppressed = self.stranger_limiter.lock().has_suppressed();
        has_suppressed && !self.has_reporter.swap(true, Ordering::Relaxed)
    }

    /// Reports to each subscription, at most once a second, how many events about strangers were
    /// suppressed. Never completes.
    pub(crate) async fn report_suppressed(&self) {
        loop {
            let suppressed = self.suppressed.listen();
            if !self.stranger_limiter.lock().has_suppressed() {
                suppressed.await;
            }
            clock::after(REPORT_INTERVAL).await;
            self.flush_suppressed();
        }
    }

    fn flush_suppressed(&self) {
        let count = self.stranger_limiter.lock().take_suppressed();
        if count > 0 {
            self.for_each(|subscription| subscription.miss(count));
        }
    }

    fn deliver(&self, event: Event, is_stranger: bool) {
        log::event(&event);
        self.for_each(|open| open.put(event.clone(), is_stranger, self.capacity));
    }

    /// Calls `f` for each subscription, unless the endpoint has stopped.
    fn for_each(&self, f: impl Fn(&Subscription)) {
        let mut subscriptions = self.lock();
        if subscriptions.closed {
            return;
        }
        subscriptions.open.retain(|weak| weak.upgrade().inspect(|open| f(open)).is_some());
    }

    /// Emits [`Event::Dropped`], unless the rate limit is exceeded.
    pub(crate) fn dropped(&self, addr: Option<SocketAddr>, reason: DropReason) {
        let mut limiter = self.dropped_limiter.lock();
        if let Some(suppressed) = limiter.acquire(clock::now()) {
            drop(limiter);
            self.deliver(Event::Dropped { addr, reason, suppressed }, true);
        }
    }

    /// Emits [`Event::Stopped`] and closes all subscriptions.
    pub(crate) fn close(&self) {
        self.flush_suppressed();
        self.emit(Event::Stopped);
        let mut subscriptions = self.lock();
        subscriptions.closed = true;
        for subscription in subscriptions.open.drain(..).filter_map(|weak| weak.upgrade()) {
            subscription.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Closed, DownReason};
    use crate::peer::{MemoryBudget, Origin, SendQueue};
    use crate::proto::{Id, PeerType};
    use crate::testing::kit::manual_clock::Clock;

    #[test]
    fn a_slow_subscriber_gets_the_number_of_missed_events() {
        let bus = EventBus::new(2, 1, 1);
        bus.emit(Event::Removed { target: 9.into() });
        let events = bus.subscribe();
        assert!(
            matches!(events.try_next(), Ok(Some(Event::Removed { target })) if target == 9.into()),
            "the first"
        );
        assert!(matches!(bus.subscribe().try_next(), Ok(None)), "the second");
        for target in 0..5 {
            bus.emit(Event::Removed { target: target.into() });
        }
        assert!(matches!(events.try_next(), Ok(Some(Event::Missed { count: 3 }))));
        assert!(
            matches!(events.try_next(), Ok(Some(Event::Removed { target })) if target == 3.into())
        );
        bus.close();
        assert!(
            matches!(events.try_next(), Ok(Some(Event::Removed { target })) if target == 4.into())
        );
        assert!(matches!(events.try_next(), Ok(Some(Event::Stopped))));
        assert_eq!(events.try_next().unwrap_err(), Closed);
        assert_eq!(bus.subscribe().try_next().unwrap_err(), Closed);
    }

    fn peer(target: u16, origin: Origin) -> Peer {
        let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
        Peer::linked(target.into(), PeerType::Standard, origin, queue)
    }

    /// Brings the link of a peer up and down, and removes the peer.
    fn churn(bus: &EventBus, peer: &Peer) {
        let (target, id, key) = (peer.target(), Id::from_bytes([1; 32]), None);
        let (origin, peer_type) = (peer.origin(), peer.peer_type());
        bus.emit_about(peer, Event::Up { target, id, addr: None, origin, peer_type, key });
        bus.emit_about(peer, Event::Down { target, reason: DownReason::Closed, retry: None });
        bus.emit_about(peer, Event::Removed { target });
    }

    fn drain(events: &Events) -> Vec<String> {
        let next = || events.try_next().expect("open");
        std::iter::from_fn(next).map(|event| event.to_string()).collect()
    }

    /// Regression: links of strangers caused events past the limit on such.
    #[test]
    fn of_a_stranger_all_events_are_reported_or_none() {
        let _clock = Clock::install();
        let bus = EventBus::new(100, 1, 2);
        let events = bus.subscribe();
        for target in 0..5 {
            churn(&bus, &peer(target, Origin::Accepted));
        }
        assert!(bus.needs_reporter() && !bus.needs_reporter());
        assert_eq!(drain(&events).len(), 2 * 3);
        churn(&bus, &peer(5, Origin::Dialed));
        assert_eq!(drain(&events).len(), 3, "a dialed peer has no limit");
        bus.flush_suppressed();
        assert_eq!(drain(&events), ["9 events were missed"]);
        let [known, unknown] = [6, 7].map(|target| peer(target, Origin::Accepted));
        known.set_known();
        bus.emit_merged(&unknown, &known);
        assert_eq!(drain(&events), [""; 0]);
        bus.emit_merged(&known, &unknown);
        bus.emit_about(&unknown, Event::Removed { target: unknown.target() });
        assert_eq!(drain(&events).len(), 2, "it was named, so its end is reported");
    }

    #[test]
    fn a_slow_subscriber_misses_events_about_strangers_first() {
        let bus = EventBus::new(4, 1, 100);
        let events = bus.subscribe();
        let [dialed, stranger] = [Origin::Dialed, Origin::Accepted].map(|origin| peer(0, origin));
        churn(&bus, &stranger);
        churn(&bus, &dialed);
        churn(&bus, &stranger);
        let found = drain(&events);
        assert_eq!(found[0], "5 events were missed");
        assert!(found[1].starts_with("peer 0 up: unknown address (standard, out)"), "{found:?}");
        assert_eq!(found.len(), 1 + 4);
    }

    #[test]
    fn dropped_subscriptions_are_removed() {
        let bus = EventBus::new(2, 1, 1);
        let first = bus.subscribe();
        for _ in 0..100 {
            drop(bus.subscribe());
        }
        assert!(bus.lock().open.len() <= 2, "a quiet endpoint keeps them");
        bus.emit(Event::Removed { target: 1.into() });
        assert!(
            matches!(first.try_next(), Ok(Some(Event::Removed { target })) if target == 1.into())
        );
    }
}
