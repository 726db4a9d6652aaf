//! An event that wakes all of its listeners.

use std::sync::atomic::{Ordering, fence};

use event_listener::{Event, EventListener};

/// Wakes all listeners, without allocating if there are none.
///
/// An [`Event`] allocates on its first notification, even without listeners, and most peers never
/// have one. The two events of each peer would take 170 bytes from its first frame on. They also
/// fragment the heap, which makes it 0.3 KiB for each of 10 000 links.
#[derive(Debug)]
pub(crate) struct Notify(Event);

impl Notify {
    pub(crate) fn new() -> Notify {
        Notify(Event::new())
    }

    /// Listens for the next notification. Check the condition both before and after the call: then
    /// no change is missed.
    pub(crate) fn listen(&self) -> EventListener {
        self.0.listen()
    }

    /// Wakes all listeners. Call it after the condition has changed.
    pub(crate) fn notify_all(&self) {
        // Pairs with the fence in `listen`: a listener that is not seen here sees the change.
        fence(Ordering::SeqCst);
        if self.0.total_listeners() > 0 {
            self.0.notify(usize::MAX);
        }
    }
}
