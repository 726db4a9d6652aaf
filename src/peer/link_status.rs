//! The link of a peer: it comes up, carries frames, is probed, and ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::DownReason;
use crate::peer::Peer;
use crate::peer::info::{Origin, PeerState};
use crate::peer::recv::receive_window::CreditExceeded;
use crate::primitives::clock;
use crate::proto::Id;
use crate::transport::{Link, Stream};

/// A link that ends within this time does not show that the remote is a neighbour: it is how long
/// a throw-away identity may stay without cost.
pub(crate) const BRIEF_LINK: Duration = Duration::from_secs(1);

impl Peer {
    /// Records that a link to the node `id` is up.
    pub(crate) fn link_up(&self, id: Id, link: &Arc<Link>) {
        let mut status = self.status();
        status.set_state(PeerState::Up);
        status.is_coming_up = false;
        status.links += 1;
        status.close.set(|close| &mut close.goodbye, None);
        status.received_before = status.received.bytes;
        status.id = Some(id);
        status.key = link.key().map(Box::new);
        status.addr = link.addr;
        status.link = Some(link.clone());
        // A ping sent over the previous link may have been lost with it.
        status.merge.set(|merge| &mut merge.pinged, None);
        drop(status);
        self.apply_class();
        self.queue.link_up(link.is_extended());
    }

    /// Records that the link ended, and the delay until the next dial. `None`: it is not redialed.
    pub(crate) fn link_down(&self, reason: &DownReason, retry: Option<Duration>) {
        self.queue.link_down();
        let is_acked = self.queue.acknowledged_bytes() > 0;
        let mut status = self.status();
        let carried = is_acked || status.received.frames > status.received_before;
        status.was_used |= carried && clock::since(status.since) >= BRIEF_LINK;
        status.link = None;
        status.on_down(reason.to_string(), retry);
        drop(status);
        self.signal.notify_all();
    }

    /// Records whether the key of the present link is listed or pinned.
    pub(crate) fn set_trusted(&self, is_trusted: bool) {
        self.is_trusted.store(is_trusted, Ordering::Relaxed);
    }

    /// The present link.
    pub(crate) fn present_link(&self) -> Option<Arc<Link>> {
        self.status().link.clone()
    }

    /// Aborts the present link. The peer itself goes on.
    #[cfg(feature = "noise")]
    pub(crate) fn abort_link(&self) {
        if let Some(link) = self.present_link() {
            link.stream.abort();
        }
    }

    /// Starts to check whether the present link is still alive.
    ///
    /// On an extended link it sends a ping, whose timeout follows the measured round trip. A plain
    /// link is probed by TCP keepalive instead; its stream is returned, unless it is being probed
    /// already. Keepalive with its fixed timeout would declare a remote dead that is 2 s away.
    pub(crate) fn probe(&self) -> Option<Arc<dyn Stream>> {
        let link = self.present_link()?;
        match self.queue.probe_now() {
            true => None,
            false => link.stream.start_keepalive_probe().then(|| link.stream.clone()),
        }
    }

    /// Sets the remote address of a peer whose link is about to come up.
    pub(crate) fn set_addr(&self, addr: Option<SocketAddr>) {
        self.status().addr = addr;
    }

    /// The remote address of the present or last link.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.status().addr
    }

    /// Whether a link of the peer stood for a while and carried frames.
    pub(crate) fn was_used(&self) -> bool {
        self.status().was_used
    }

    /// When the peer got its present link, or lost its last one.
    pub(crate) fn since(&self) -> Instant {
        self.status().since
    }

    /// Whether the peer has no link at present.
    pub(crate) fn is_disconnected(&self) -> bool {
        !self.has_ended() && !self.queue.is_up()
    }

    /// Whether the peer was announced to the user: an inbound peer is once its link is up.
    pub(crate) fn was_announced(&self) -> bool {
        self.origin == Origin::Dialed || self.status().links > 0
    }

    /// Records whether an event reports that the link is up.
    pub(crate) fn set_reported(&self, is_reported: bool) {
        let mut status = self.status();
        status.is_up_reported = is_reported;
        status.is_reported |= is_reported;
    }

    /// Records that an event names the peer.
    pub(crate) fn set_known(&self) {
        self.status().is_reported = true;
    }

    /// Whether an event reported that the present link is up. It has ended.
    pub(crate) fn take_up_reported(&self) -> bool {
        std::mem::take(&mut self.status().is_up_reported)
    }

    /// Whether an event ever named the peer.
    pub(crate) fn is_reported(&self) -> bool {
        self.status().is_reported
    }

    pub(crate) fn count_sent(&self, frames: usize, bytes: usize) {
        self.status().sent.add(frames, bytes);
    }

    /// Counts frames that were delivered to the inbox. Returns how little may be held of it for the
    /// credit to be raised. Fails if the remote exceeded its credit.
    pub(crate) fn count_received(&self, frames: usize, bytes: usize) -> Result<usize, DownReason> {
        let raise_below = self.queue.received(frames, bytes);
        self.status().received.add(frames, bytes);
        raise_below.map_err(|CreditExceeded| DownReason::CreditExceeded)
    }

    pub(crate) fn count_ignored(&self, frames: usize) {
        self.status().ignored += frames as u64;
    }
}
