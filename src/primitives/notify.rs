//! An event that is told to all who wait for it.

use std::sync::atomic::{Ordering, fence};

use event_listener::{Event, EventListener};

/// Tells all who wait that they should look again.
///
/// An event allocates when it is first notified, whether anybody waits or not, and for most peers
/// nobody ever does. The two that each peer has took 170 bytes from its first frame on, in between
/// what was soon let go of and could then not be given back: 0.3 KiB for each of 10 000 links.
#[derive(Debug)]
pub(crate) struct Notify(Event);

impl Notify {
    pub(crate) fn new() -> Notify {
        Notify(Event::new())
    }

    /// Hears of the next time. Whoever looks before and after this misses nothing.
    pub(crate) fn listen(&self) -> EventListener {
        self.0.listen()
    }

    /// Tells all who listen. To be called after what they wait for was changed.
    pub(crate) fn notify_all(&self) {
        // Pairs with the one in `listen`: who is not seen here sees the change.
        fence(Ordering::SeqCst);
        if self.0.total_listeners() > 0 {
            self.0.notify(usize::MAX);
        }
    }
}
