//! Flow control of one peer: how much it may send, and how much of that it has used.

use crate::peer::PeerClass;
use crate::peer::recv::batch::MAX_FRAME_COST;
use crate::peer::recv::inbox::Held;
use crate::peer::recv::receive_pool::WindowSize;

/// What has to be free of the window for the credit to be raised that a peer has used up: a part of
/// the window, and at most this many bytes. Less than the part of the credit that a router's own frames
/// leave to those that it forwards.
const STEP_FRACTION: usize = 8;
const MAX_STEP: usize = 16 << 10;

/// The receive window of one peer.
///
/// Offsets count what frames cost, from the start of the session on and over all its links. A
/// remote that supports the extension is sent the offset below which a frame may begin: its
/// *credit*. On a link to a plain node the reader pauses instead.
#[derive(Debug, Default)]
pub(crate) struct ReceiveWindow {
    size: WindowSize,
    /// The offset behind the last frame.
    received: u64,
    /// The credit. Invariant: never decreases during a session.
    granted: u64,
}

/// The remote began a frame beyond its credit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CreditExceeded;

impl ReceiveWindow {
    /// Starts a session in which the remote was sent `credit`, which may be less than the window:
    /// frames of the previous session may still await the router.
    pub(crate) fn start_session(&mut self, size: WindowSize, credit: u64) {
        *self = ReceiveWindow { size, received: 0, granted: credit };
    }

    /// The size of the window in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size.bytes()
    }

    /// The credit of the remote.
    pub(crate) fn credit(&self) -> u64 {
        self.granted
    }

    /// Counts received frames that cost `cost` bytes. One frame may begin within the credit and end
    /// beyond it.
    pub(crate) fn add(&mut self, cost: usize) -> Result<(), CreditExceeded> {
        self.received += cost as u64;
        match self.received > self.granted + MAX_FRAME_COST as u64 {
            true => Err(CreditExceeded),
            false => Ok(()),
        }
    }

    /// The credit is to be raised once less than this is held of what the peer sent: then half of
    /// the window is neither held nor promised. Zero if it is too early.
    ///
    /// If the peer has used up its credit, a small part of the window is enough: routers in a ring
    /// may each wait for it, and each holds what another waits for.
    pub(crate) fn raise_below(&self) -> usize {
        let size = self.size.bytes();
        match self.granted.saturating_sub(self.received) {
            0 => size + 1 - (size / STEP_FRACTION).min(MAX_STEP),
            promised => usize::try_from(promised)
                .map_or(0, |promised| (size / 2 + 1).saturating_sub(promised)),
        }
    }

    /// Raises the credit while this is held. Returns the new one.
    ///
    /// The window grows if the router keeps up, so that it is the network that limits the peer, or
    /// the one to which its frames are forwarded. A larger one would only make frames wait for a
    /// slow router.
    pub(crate) fn raise(&mut self, held: Held, class: PeerClass) -> u64 {
        if held.queued() <= self.size.bytes() / 4 {
            self.size.grow(class);
        }
        let credit = self.received + self.size.bytes().saturating_sub(held.all) as u64;
        self.granted = self.granted.max(credit);
        self.granted
    }

    /// Grows the window of a peer whose reader paused, and resumes.
    pub(crate) fn grow(&mut self, class: PeerClass) -> usize {
        self.size.grow(class);
        self.size.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::recv::receive_pool::ReceivePool;

    fn window() -> ReceiveWindow {
        let size = WindowSize::initial(&ReceivePool::new(4 << 20), PeerClass::Dialed);
        let credit = size.bytes() as u64;
        let mut window = ReceiveWindow::default();
        window.start_session(size, credit);
        window
    }

    #[test]
    fn one_frame_may_exceed_the_credit() {
        let mut window = window();
        window.add(window.size() - 1).unwrap();
        window.add(MAX_FRAME_COST).unwrap();
        assert_eq!(window.add(FRAME), Err(CreditExceeded));
    }

    const FRAME: usize = 109;

    #[test]
    fn the_credit_is_raised_when_half_of_the_window_is_free() {
        let mut window = window();
        let size = window.size();
        assert_eq!(window.raise_below(), 0, "all of it is promised");
        window.add(size / 2).unwrap();
        assert_eq!(window.raise_below(), 1, "once the router holds nothing");
        window.add(size / 2).unwrap();
        assert_eq!(window.raise_below(), size + 1 - (16 << 10), "it has used up its credit");
        let mut raise = |all, forwarded| window.raise(Held { all, forwarded }, PeerClass::Dialed);
        assert_eq!(raise(size / 2, 0), (size + size / 2) as u64, "the router is slow");
        assert_eq!(raise(size / 2, size / 2), (size + 2 * size - size / 2) as u64, "it keeps up");
        assert_eq!(raise(4 * size, 0), (size + 2 * size - size / 2) as u64, "never less");
    }
}
