//! Subscriptions, each with a bounded buffer of unread events.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use event_listener::{Event as Signal, EventListener};

use crate::error::Closed;
use crate::events::event::Event;
use crate::primitives::lock::Mutex;

/// A subscription to events, from [`InetEndpoint::events`](crate::InetEndpoint::events).
///
/// It buffers at most `Limits::events` events. When it is full, the oldest about an unknown node is
/// dropped, or without such the oldest of all, and the next one read is [`Event::Missed`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::InetEndpoint;
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let events = endpoint.events();
/// let printing = smol::spawn(async move {
///     while let Ok(event) = events.next().await {
///         println!("{event}");
///     }
/// });
/// endpoint.shutdown().await;
/// printing.await;
/// # Ok(()) }) }
/// ```
#[derive(Debug)]
pub struct Events {
    subscription: Arc<Subscription>,
    /// The pending wait of the stream implementation.
    pub(crate) arrived: Option<EventListener>,
}

/// The unread events of one subscription.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
    buffered: Mutex<Buffered>,
    /// Notified when an event arrives or the endpoint stops.
    arrived: Signal,
}

#[derive(Debug, Default)]
struct Buffered {
    /// The events, and whether each is about a stranger. Invariant: at most `EventBus::capacity`.
    events: VecDeque<(Event, bool)>,
    /// Number of events dropped since [`Event::Missed`] was last returned.
    missed: usize,
    /// Whether the endpoint has stopped: no event follows.
    closed: bool,
}

impl Events {
    pub(crate) fn new(subscription: Arc<Subscription>) -> Events {
        Events { subscription, arrived: None }
    }

    /// Waits for the next event and returns it.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the endpoint has stopped and all events have been read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Closed, Event, InetEndpoint};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let events = endpoint.events();
    /// endpoint.shutdown().await;
    /// assert!(matches!(events.next().await, Ok(Event::Stopped)));
    /// assert_eq!(events.next().await.unwrap_err(), Closed);
    /// # Ok(()) }) }
    /// ```
    pub async fn next(&self) -> Result<Event, Closed> {
        loop {
            let arrived = self.listen();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            arrived.await;
        }
    }

    /// Returns the next event, if there is one now.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the endpoint has stopped and all events have been read.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert!(endpoint.events().try_next()?.is_none(), "nothing happened yet");
    /// # Ok(()) }) }
    /// ```
    pub fn try_next(&self) -> Result<Option<Event>, Closed> {
        let mut buffered = self.subscription.lock();
        if buffered.missed > 0 {
            return Ok(Some(Event::Missed { count: std::mem::take(&mut buffered.missed) }));
        }
        match buffered.events.pop_front() {
            None if buffered.closed => Err(Closed),
            event => Ok(event.map(|(event, _)| event)),
        }
    }

    /// Waits until [`try_next`](Events::try_next) returns an event or an error.
    ///
    /// # Cancel safety
    ///
    /// This has no side effect, so it can be dropped at any time.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let events = endpoint.events();
    /// endpoint.shutdown().await;
    /// events.ready().await;
    /// assert_eq!(events.try_next()?.expect("it is ready").to_string(), "stopped");
    /// # Ok(()) }) }
    /// ```
    pub async fn ready(&self) {
        loop {
            let arrived = self.listen();
            if self.subscription.lock().is_ready() {
                return;
            }
            arrived.await;
        }
    }

    /// Returns a listener that is notified when the next event arrives.
    pub(crate) fn listen(&self) -> EventListener {
        self.subscription.arrived.listen()
    }
}

impl Buffered {
    fn is_ready(&self) -> bool {
        self.closed || self.missed > 0 || !self.events.is_empty()
    }
}

impl Subscription {
    /// Adds an event. If there are more than `capacity` events then, the oldest about a stranger is
    /// dropped, or without such the oldest of all.
    pub(crate) fn put(&self, event: Event, is_stranger: bool, capacity: usize) {
        let mut buffered = self.lock();
        buffered.events.push_back((event, is_stranger));
        if buffered.events.len() > capacity {
            let oldest = buffered.events.iter().position(|(_, is_stranger)| *is_stranger);
            buffered.events.remove(oldest.unwrap_or(0));
            buffered.missed = buffered.missed.saturating_add(1);
        }
        drop(buffered);
        self.arrived.notify(usize::MAX);
    }

    /// Records that events were not delivered.
    pub(crate) fn miss(&self, count: usize) {
        let mut buffered = self.lock();
        buffered.missed = buffered.missed.saturating_add(count);
        drop(buffered);
        self.arrived.notify(usize::MAX);
    }

    /// Lets readers know that no event follows.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify(usize::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Buffered> {
        self.buffered.lock()
    }
}
