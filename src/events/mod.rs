mod log;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use event_listener::{Event as Signal, EventListener};

use crate::error::{AttemptError, Closed, DownReason, DropReason};
use crate::peer::Origin;
use crate::primitives::clock::{self, whole_millis};
use crate::proto::Target;
use crate::proto::{Id, PeerType, PublicKey};

/// A change of state, with its reason. Displayed as one readable line.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{Event, InetEndpoint};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let events = endpoint.events();
/// endpoint.shutdown().await;
/// while let Ok(event) = events.next().await {
///     match event {
///         Event::Up { target, id, .. } => println!("{target} is {id}"),
///         Event::Stopped => println!("that was it"),
///         other => println!("{other}"),
///     }
/// }
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A link to a peer is up.
    Up {
        /// The target of the peer.
        target: Target,
        /// The router id that it claims.
        id: Id,
        /// The remote address, if known.
        addr: Option<SocketAddr>,
        /// Whether this node or the remote dialed.
        origin: Origin,
        /// The type of the peer.
        peer_type: PeerType,
        /// The key that it authenticated with; `None` on a plain link.
        key: Option<PublicKey>,
    },
    /// A peer's link ended.
    Down {
        /// The target of the peer.
        target: Target,
        /// The reason.
        reason: DownReason,
        /// The delay until this node dials again, if it does.
        retry: Option<Duration>,
    },
    /// A dial attempt failed.
    Attempt {
        /// The target of the peer.
        target: Target,
        /// The socket address that was dialed, or the name that could not be resolved.
        addr: String,
        /// The reason.
        reason: AttemptError,
        /// The delay until this node dials again, if it does.
        retry: Option<Duration>,
    },
    /// An inbound stream was dropped before it became a peer.
    Dropped {
        /// The remote address, if known.
        addr: Option<SocketAddr>,
        /// The reason.
        reason: DropReason,
        /// The number of events of this kind suppressed since the last one, because of the limit
        /// `Limits::drop_events_per_sec`.
        suppressed: usize,
    },
    /// Queued frames of a peer came back; `take_unconfirmed` returns them.
    Unconfirmed {
        /// The target of the peer.
        target: Target,
        /// The number of frames that came back with this event.
        frames: usize,
    },
    /// Two peers are the same node, and were merged.
    Merged {
        /// The target of the remaining peer.
        target: Target,
        /// The target of the other peer, which is an alias from now on.
        retired: Target,
    },
    /// A peer ended, and its target is invalid from now on.
    Removed {
        /// The target of the peer.
        target: Target,
    },
    /// Accepting connections failed for lack of file descriptors or memory. It is retried.
    AcceptFailed {
        /// The local address of the listening socket.
        addr: Option<SocketAddr>,
        /// The error of the system.
        reason: String,
    },
    /// This subscription was read too slowly, and its oldest events were dropped.
    Missed {
        /// The number of dropped events.
        count: usize,
    },
    /// The endpoint stopped. No event follows.
    Stopped,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Up { target, id, addr, origin, peer_type, key } => {
                write!(
                    f,
                    "peer {target} up: {} ({peer_type}, {origin}), id {id}",
                    DisplayAddr(*addr)
                )?;
                key.map_or(Ok(()), |key| write!(f, ", key {key}"))
            }
            Event::Down { target, reason, retry } => {
                write!(f, "peer {target} down: {reason}")?;
                next_try(f, *retry)
            }
            Event::Attempt { target, addr, reason, retry } => {
                write!(f, "peer {target} not reached at {addr}: {reason}")?;
                next_try(f, *retry)
            }
            Event::Dropped { addr, reason, suppressed } => {
                write!(f, "dropped {}: {reason}", DisplayAddr(*addr))?;
                match suppressed {
                    0 => Ok(()),
                    more => write!(f, " ({more} more like it were not shown)"),
                }
            }
            Event::Unconfirmed { target, frames: 1 } => {
                write!(f, "a frame for peer {target} came back")
            }
            Event::Unconfirmed { target, frames } => {
                write!(f, "{frames} frames for peer {target} came back")
            }
            Event::Merged { target, retired } => {
                write!(f, "peer {retired} is the same node as peer {target}, and merged with it")
            }
            Event::Removed { target } => write!(f, "peer {target} ended"),
            Event::AcceptFailed { addr, reason } => {
                write!(f, "cannot accept on {} for now: {reason}", DisplayAddr(*addr))
            }
            Event::Missed { count } => write!(f, "{count} events were missed"),
            Event::Stopped => f.write_str("stopped"),
        }
    }
}

fn next_try(f: &mut fmt::Formatter<'_>, retry: Option<Duration>) -> fmt::Result {
    match retry {
        Some(retry) => write!(f, "; next try in {} ms", whole_millis(retry)),
        None => Ok(()),
    }
}

/// Displays an address, or that it is unknown.
struct DisplayAddr(Option<SocketAddr>);

impl fmt::Display for DisplayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(addr) => addr.fmt(f),
            None => f.write_str("unknown address"),
        }
    }
}

/// A subscription to events, from [`InetEndpoint::events`](crate::InetEndpoint::events).
///
/// It buffers at most `Limits::events` events. When it is full, the oldest is dropped, and the next
/// one read is [`Event::Missed`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::InetEndpoint;
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let events = endpoint.events();
/// let telling = smol::spawn(async move {
///     while let Ok(event) = events.next().await {
///         println!("{event}");
///     }
/// });
/// endpoint.shutdown().await;
/// telling.await;
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
struct Subscription {
    buffered: Mutex<Buffered>,
    /// Notified when an event arrives or the endpoint stops.
    arrived: Signal,
}

#[derive(Debug, Default)]
struct Buffered {
    // Invariant: at most `EventBus::capacity` events.
    events: VecDeque<Event>,
    // Events dropped since `Event::Missed` was last returned.
    missed: usize,
    closed: bool,
}

impl Events {
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
            let came = self.listen();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            came.await;
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
        let mut mail = self.subscription.lock();
        if mail.missed > 0 {
            return Ok(Some(Event::Missed { count: std::mem::take(&mut mail.missed) }));
        }
        match mail.events.pop_front() {
            None if mail.closed => Err(Closed),
            event => Ok(event),
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
            let came = self.listen();
            if self.subscription.lock().is_ready() {
                return;
            }
            came.await;
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
    fn put(&self, event: Event, capacity: usize) {
        let mut mail = self.lock();
        if mail.events.len() >= capacity {
            mail.events.pop_front();
            mail.missed = mail.missed.saturating_add(1);
        }
        mail.events.push_back(event);
        drop(mail);
        self.arrived.notify(usize::MAX);
    }

    fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify(usize::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Buffered> {
        self.buffered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers events to all subscriptions.
#[derive(Debug)]
pub(crate) struct EventBus {
    listeners: Mutex<Listeners>,
    capacity: usize,
    strangers: Mutex<RateLimiter>,
}

#[derive(Debug, Default)]
struct Listeners {
    /// Buffers events until the first subscription, which takes it.
    first: Option<Arc<Subscription>>,
    // May hold dropped subscriptions, which `subscribe` and `emit` prune.
    open: Vec<Weak<Subscription>>,
    closed: bool,
}

impl EventBus {
    pub(crate) fn new(capacity: usize, strangers_per_second: usize) -> EventBus {
        let first = Arc::<Subscription>::default();
        let open = vec![Arc::downgrade(&first)];
        EventBus {
            listeners: Mutex::new(Listeners { first: Some(first), open, closed: false }),
            capacity,
            strangers: Mutex::new(RateLimiter::new(strangers_per_second)),
        }
    }

    pub(crate) fn subscribe(&self) -> Events {
        let mut listeners = self.lock();
        let mailbox = listeners.first.take().unwrap_or_else(|| {
            // Also prunes dropped subscriptions here, since no event may ever come that would.
            listeners.open.retain(|mailbox| mailbox.strong_count() > 0);
            let mailbox = Arc::<Subscription>::default();
            listeners.open.push(Arc::downgrade(&mailbox));
            mailbox
        });
        if listeners.closed {
            mailbox.close();
        }
        Events { subscription: mailbox, arrived: None }
    }

    pub(crate) fn emit(&self, event: Event) {
        log::event(&event);
        let mut listeners = self.lock();
        if listeners.closed {
            return;
        }
        listeners.open.retain(|mailbox| {
            let mailbox = mailbox.upgrade();
            mailbox.inspect(|mailbox| mailbox.put(event.clone(), self.capacity)).is_some()
        });
    }

    /// Emits [`Event::Dropped`], unless the rate limit is exceeded.
    pub(crate) fn dropped(&self, addr: Option<SocketAddr>, reason: DropReason) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = strangers.take(clock::now()) {
            drop(strangers);
            self.emit(Event::Dropped { addr, reason, suppressed });
        }
    }

    /// Emits [`Event::Stopped`] and closes all subscriptions.
    pub(crate) fn close(&self) {
        self.emit(Event::Stopped);
        let mut listeners = self.lock();
        listeners.closed = true;
        for mailbox in listeners.open.drain(..).filter_map(|mailbox| mailbox.upgrade()) {
            mailbox.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rate limiter with a fixed window of one second, which counts what it suppresses.
#[derive(Debug)]
struct RateLimiter {
    per_second: usize,
    // Invariant: at most `per_second`.
    left: usize,
    // Start of the current window; `None` until the first event.
    second: Option<Instant>,
    suppressed: usize,
}

impl RateLimiter {
    fn new(per_second: usize) -> RateLimiter {
        RateLimiter { per_second, left: per_second, second: None, suppressed: 0 }
    }

    /// Admits an event and returns the number of those suppressed since the last admitted one;
    /// `None` if this one is suppressed.
    fn take(&mut self, now: Instant) -> Option<usize> {
        let second = *self.second.get_or_insert(now);
        if now.duration_since(second) >= Duration::from_secs(1) {
            (self.second, self.left) = (Some(now), self.per_second);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.suppressed))
            }
            None => {
                self.suppressed = self.suppressed.saturating_add(1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_listener_is_told_what_it_missed() {
        let hub = EventBus::new(2, 1);
        hub.emit(Event::Removed { target: 9 });
        let events = hub.subscribe();
        assert!(matches!(events.try_next(), Ok(Some(Event::Removed { target: 9 }))), "the first");
        assert!(matches!(hub.subscribe().try_next(), Ok(None)), "the second");
        for target in 0..5 {
            hub.emit(Event::Removed { target });
        }
        assert!(matches!(events.try_next(), Ok(Some(Event::Missed { count: 3 }))));
        assert!(matches!(events.try_next(), Ok(Some(Event::Removed { target: 3 }))));
        hub.close();
        assert!(matches!(events.try_next(), Ok(Some(Event::Removed { target: 4 }))));
        assert!(matches!(events.try_next(), Ok(Some(Event::Stopped))));
        assert_eq!(events.try_next().unwrap_err(), Closed);
        assert_eq!(hub.subscribe().try_next().unwrap_err(), Closed);
    }

    #[test]
    fn listeners_that_are_gone_leave_nothing_behind() {
        let hub = EventBus::new(2, 1);
        let first = hub.subscribe();
        for _ in 0..100 {
            drop(hub.subscribe());
        }
        assert!(hub.lock().open.len() <= 2, "a quiet endpoint keeps them");
        hub.emit(Event::Removed { target: 1 });
        assert!(matches!(first.try_next(), Ok(Some(Event::Removed { target: 1 }))));
    }

    #[test]
    fn strangers_are_counted_when_there_are_too_many() {
        let mut allowance = RateLimiter::new(2);
        let start = Instant::now();
        assert_eq!([0, 1, 2, 3].map(|_| allowance.take(start)), [Some(0), Some(0), None, None]);
        let later = start + Duration::from_secs(1);
        assert_eq!([0, 1, 2].map(|_| allowance.take(later)), [Some(2), Some(0), None]);
    }
}
