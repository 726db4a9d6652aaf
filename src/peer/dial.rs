//! Dialing a peer: its addresses, the attempts, and when the back-off between them is reset or
//! lowered.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_lite::future;

use crate::config::Limits;
use crate::error::AttemptError;
use crate::peer::Peer;
use crate::peer::info::{AttemptInfo, PeerState};
use crate::peer::link_status::BRIEF_LINK;
use crate::primitives::clock::{self, within};
use crate::proto::{Backoff, PeerAddr, PublicKey};

/// A link that carried at least this many bytes of frames resets the back-off. A listener that only
/// wants to provoke redials would have to send or accept that much each time.
const GOOD_LINK: u64 = 64 << 10;

/// To what a link of some use lowers the bound of the back-off, unless it stood for longer. A
/// listener that lets links end as soon as they are of that use is dialed once a second.
const LOWERED: Duration = Duration::from_secs(2);

impl Peer {
    /// The addresses to dial: its own, and those of peers that were merged into it.
    pub(crate) fn dial_addrs(&self) -> Vec<PeerAddr> {
        let aliases = &self.status().dial.aliases;
        self.dial
            .as_deref()
            .into_iter()
            .chain(aliases.iter().map(|alias| &alias.addr))
            .cloned()
            .collect()
    }

    /// The smallest value that `find` returns for the addresses to dial.
    pub(crate) fn min_dial_addr<T: Ord>(&self, find: impl Fn(&PeerAddr) -> Option<T>) -> Option<T> {
        let aliases = &self.status().dial.aliases;
        self.dial
            .as_deref()
            .into_iter()
            .chain(aliases.iter().map(|alias| &alias.addr))
            .filter_map(find)
            .min()
    }

    /// Whether an address to dial is configured for the peer.
    pub(crate) fn is_dialed(&self) -> bool {
        self.dial.is_some() || !self.status().dial.aliases.is_empty()
    }

    /// Whether this IP address is one that the local node was configured to dial.
    pub(crate) fn is_configured_at(&self, ip: IpAddr) -> bool {
        let is = |addr: &SocketAddr| addr.ip().to_canonical() == ip;
        let is_literal = self.min_dial_addr(|dial| dial.literal().filter(is)).is_some();
        is_literal || self.status().dial.resolved.iter().any(is)
    }

    /// The key that proved the peer at this address to be the same node, if the links were
    /// encrypted.
    pub(crate) fn proved_key_at(&self, addr: &PeerAddr) -> Option<PublicKey> {
        self.status().dial.aliases.iter().find(|alias| alias.addr == *addr)?.proved
    }

    /// Whether one of the addresses to dial pins this key.
    #[cfg(feature = "noise")]
    pub(crate) fn is_pinned(&self, key: &PublicKey) -> bool {
        self.min_dial_addr(|addr| addr.keys().contains(key).then_some(())).is_some()
    }

    /// Sets whether an outbound handshake with the peer is running.
    pub(crate) fn set_dialing(&self, is_dialing: bool) {
        self.status().is_dialing = is_dialing;
    }

    /// Whether an outbound handshake with the peer is running.
    pub(crate) fn is_dialing(&self) -> bool {
        self.status().is_dialing
    }

    /// Sets whether a handshake has succeeded and the link is about to come up.
    pub(crate) fn set_coming_up(&self, is_coming_up: bool) {
        self.status().is_coming_up = is_coming_up;
    }

    /// Whether a handshake with the peer is running, or its link is about to come up.
    pub(crate) fn is_coming_up(&self) -> bool {
        let status = self.status();
        status.is_dialing || status.is_coming_up
    }

    /// Records that a dial starts.
    pub(crate) fn connecting(&self) {
        let mut status = self.status();
        status.set_state(PeerState::Connecting);
        status.dial.set(|dial| &mut dial.next_retry, None);
    }

    /// Records the outcome of dialing one address.
    pub(crate) fn record_attempt(
        &self,
        addr: String,
        took: Duration,
        error: Option<&AttemptError>,
    ) {
        let error = error.map(AttemptError::to_string);
        self.status().record_attempt(AttemptInfo { addr, error, took });
    }

    /// Records that a dial failed, and the delay until the next one.
    pub(crate) fn attempt_failed(&self, reason: &AttemptError, retry: Option<Duration>) {
        let mut status = self.status();
        status.is_coming_up = false;
        status.on_down(reason.to_string(), retry);
    }

    /// Draws the delay before the next dial. It grows with each link that came to nothing, inbound
    /// or outbound.
    pub(crate) fn back_off(&self, limits: &Limits) -> Duration {
        let new = || Backoff::new(limits.redial_first, limits.redial_cap);
        let mut history = self.status();
        history.dial.get_or_allocate().backoff.get_or_insert_with(new).next(fastrand::u32(..))
    }

    /// Draws the delay before the dial that follows a link. A good link resets the back-off. One
    /// that was not brief, or carried frames both ways, lowers its bound, so that a node that was
    /// restarted a few times is back soon.
    pub(crate) fn back_off_after_link(&self, limits: &Limits) -> Duration {
        if self.should_reset_backoff(limits.redial_reset) {
            self.reset_backoff();
        }
        let is_acknowledged = self.queue.acknowledged_bytes() > 0;
        let mut status = self.status();
        let stood = clock::since(status.since);
        let carried_both_ways = is_acknowledged && status.received.bytes > status.received_before;
        if let Some(backoff) = status.dial.get_mut().and_then(|dial| dial.backoff.as_mut()) {
            if stood >= BRIEF_LINK || carried_both_ways {
                backoff.lower(stood.max(LOWERED));
            }
        }
        drop(status);
        self.back_off(limits)
    }

    /// Whether the last link was good enough to reset the back-off.
    ///
    /// Only bytes that *arrived* count, at either end: a listener that accepts and closes
    /// immediately would accept written bytes as well. Those of both directions count together,
    /// since many links carry frames one way only. A frame or two are not enough: a listener that
    /// sends one and closes would be dialed without pause.
    pub(crate) fn should_reset_backoff(&self, stood: Duration) -> bool {
        let acknowledged = self.queue.acknowledged_bytes() as u64;
        let status = self.status();
        let received = status.received.bytes - status.received_before;
        acknowledged + received >= GOOD_LINK || clock::since(status.since) >= stood
    }

    /// Resets the back-off.
    pub(crate) fn reset_backoff(&self) {
        if let Some(dial) = self.status().dial.get_mut() {
            dial.backoff = None;
        }
    }

    /// Cuts the redial delay short.
    pub(crate) fn kick(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
        self.signal.notify_all();
    }

    /// Number of kicks so far, for [`kicked`](Peer::kicked) and
    /// [`wait_or_kick`](Peer::wait_or_kick).
    pub(crate) fn kicks(&self) -> u32 {
        self.kicks.load(Ordering::Relaxed)
    }

    /// Waits until the number of kicks differs from `kicks`.
    pub(crate) async fn kicked(&self, kicks: u32) {
        loop {
            let signal = self.signal.listen();
            if self.kicks() != kicks {
                return;
            }
            signal.await;
        }
    }

    /// Waits for `delay`, until the number of kicks differs from `kicks`, or until the peer is
    /// stopped.
    pub(crate) async fn wait_or_kick(&self, delay: Duration, kicks: u32) {
        within(delay, future::or(self.kicked(kicks), self.stopped())).await;
    }

    /// Records the addresses to which the host name of the peer resolved.
    pub(crate) fn set_resolved(&self, addrs: &[SocketAddr]) {
        self.status().dial.set(|dial| &mut dial.resolved, addrs.to_vec());
    }

    /// The addresses to which the host name of the peer last resolved.
    pub(crate) fn last_resolved(&self) -> Vec<SocketAddr> {
        self.status().dial.resolved.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DownReason;
    use crate::peer::send::test_support::{ID, plain_link};
    use crate::peer::{MemoryBudget, Origin, SendQueue};
    use crate::proto::PeerType;
    use crate::testing::kit::manual_clock::Clock;

    fn dialed() -> Peer {
        let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
        Peer::linked(7.into(), PeerType::Standard, Origin::Dialed, queue)
    }

    /// Regression: clearing the time of the next dial allocated the dial state.
    #[test]
    fn a_first_dial_allocates_no_dial_state() {
        let peer = dialed();
        peer.connecting();
        peer.reset_backoff();
        peer.set_resolved(&[]);
        assert!(peer.status().dial.is_empty());
    }

    #[test]
    fn the_back_off_after_a_link_is_at_most_as_long_as_it_stood() {
        let clock = Clock::install();
        let limits = Limits { redial_reset: Duration::from_secs(10), ..Limits::default() };
        let peer = dialed();
        let delay_after = |stood| {
            peer.connecting();
            peer.link_up(ID, &plain_link());
            clock.advance(Duration::from_millis(stood));
            let delay = peer.back_off_after_link(&limits);
            peer.link_down(&DownReason::Closed, Some(delay));
            delay.as_millis()
        };
        let brief: Vec<_> = (0..60).map(|_| delay_after(999)).collect();
        assert!(brief.iter().any(|delay| *delay > 20_000), "{brief:?}");
        let short: Vec<_> = (0..60).map(|_| delay_after(1_000)).collect();
        assert!(short.iter().all(|delay| *delay <= 2_000), "{short:?}");
        let longer: Vec<_> = (0..60).map(|_| delay_after(3_000)).collect();
        assert!(longer.iter().all(|delay| *delay <= 3_000), "{longer:?}");
        let failed: Vec<_> = (0..60).map(|_| peer.back_off(&limits).as_millis()).collect();
        assert!(failed.iter().any(|delay| *delay > 20_000), "{failed:?}");
        assert!(delay_after(3_000) <= 3_000, "failed dials grow it, and a link lowers it");
        assert!(delay_after(10_000) <= 100, "it is reset");
    }
}
