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

/// Something that changed, and why. Shown as one readable line.
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
    /// A peer's link is up.
    Up {
        /// The peer.
        target: Target,
        /// The router id that it claims.
        id: Id,
        /// Where it is.
        addr: Option<SocketAddr>,
        /// Who dialed.
        origin: Origin,
        /// What kind of peer it is.
        peer_type: PeerType,
        /// The key that it has shown to have, if the link is encrypted.
        key: Option<PublicKey>,
    },
    /// A peer's link ended.
    Down {
        /// The peer.
        target: Target,
        /// Why.
        reason: DownReason,
        /// When this node dials again, if it does.
        retry: Option<Duration>,
    },
    /// A dial failed.
    Attempt {
        /// The peer.
        target: Target,
        /// The address: a socket address, or the name that could not be looked up.
        addr: String,
        /// Why.
        reason: AttemptError,
        /// When this node dials again, if it does.
        retry: Option<Duration>,
    },
    /// The stream of a stranger was dropped before it became a peer.
    Dropped {
        /// Where it came from, if that is known.
        addr: Option<SocketAddr>,
        /// Why.
        reason: DropReason,
        /// How many more were dropped since the last event of this kind, and not told because
        /// there were more than `Limits::drop_events_per_sec` in a second.
        suppressed: usize,
    },
    /// Frames that a peer was not sent came back; `take_unconfirmed` hands them out.
    Unconfirmed {
        /// The peer.
        target: Target,
        /// How many frames came back with this event.
        frames: usize,
    },
    /// Two peers turned out to be the same node, and became one.
    Merged {
        /// The peer that stays.
        target: Target,
        /// The target of the other one: an alias from now on.
        retired: Target,
    },
    /// A peer ended, and its target names nobody any more.
    Removed {
        /// The peer.
        target: Target,
    },
    /// A listener cannot accept for now, for want of file descriptors or memory. It goes on.
    AcceptFailed {
        /// The listener.
        addr: Option<SocketAddr>,
        /// What the system said.
        reason: String,
    },
    /// This listener was slow, and missed events.
    Missed {
        /// How many.
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

/// An address for people.
struct DisplayAddr(Option<SocketAddr>);

impl fmt::Display for DisplayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(addr) => addr.fmt(f),
            None => f.write_str("unknown address"),
        }
    }
}

/// A listener for events, from [`InetEndpoint::events`](crate::InetEndpoint::events).
///
/// It holds at most `Limits::events` events. When it is full the oldest is dropped, and the next
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
    /// Hears of the next event, when this is polled as a stream.
    pub(crate) arrived: Option<EventListener>,
}

/// What one listener has not read yet.
#[derive(Debug, Default)]
struct Subscription {
    buffered: Mutex<Buffered>,
    /// Notified when something came in.
    arrived: Signal,
}

#[derive(Debug, Default)]
struct Buffered {
    events: VecDeque<Event>,
    missed: usize,
    closed: bool,
}

impl Events {
    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the endpoint has stopped and all events were read.
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

    /// The next event, if there is one now.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the endpoint has stopped and all events were read.
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

    /// Waits until [`try_next`](Events::try_next) has something to return: an event or an error.
    ///
    /// # Cancel safety
    ///
    /// This has no effect, so it can be dropped at any time.
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

    /// Listens for the next event that arrives.
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

/// Hands events to all listeners.
#[derive(Debug)]
pub(crate) struct EventBus {
    listeners: Mutex<Listeners>,
    capacity: usize,
    strangers: Mutex<RateLimiter>,
}

#[derive(Debug, Default)]
struct Listeners {
    /// Keeps what happens before anybody listens, for the first who does.
    first: Option<Arc<Subscription>>,
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
            // Nothing may ever happen that would have those who are gone be noticed.
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

    /// Tells of a stranger, unless too many were told of within this second.
    pub(crate) fn dropped(&self, addr: Option<SocketAddr>, reason: DropReason) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = strangers.take(clock::now()) {
            drop(strangers);
            self.emit(Event::Dropped { addr, reason, suppressed });
        }
    }

    /// Says that the endpoint stopped, and nothing after it.
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

/// So many a second, the rest counted.
#[derive(Debug)]
struct RateLimiter {
    per_second: usize,
    left: usize,
    second: Option<Instant>,
    suppressed: usize,
}

impl RateLimiter {
    fn new(per_second: usize) -> RateLimiter {
        RateLimiter { per_second, left: per_second, second: None, suppressed: 0 }
    }

    /// Takes one: how many were refused since the last that was not.
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
