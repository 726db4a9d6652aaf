//! Starting, finding and ending sessions that may be resumed.

use std::sync::Arc;

use crate::config::Limits;
use crate::error::DownReason;
use crate::peer::{Closing, InitialCredit, OnNewSession, Peer, PeerClass, Session, WindowSize};
use crate::proto::{AddrBlock, Id, InstanceId, SessionName};
use crate::shared::Shared;
use crate::shared::fair_share::find_victim;

impl Shared {
    /// The receive window of a new session, with this peer or with a stranger, and the credit that
    /// the remote node gets. The window is taken before the handshake, which promises the credit:
    /// other handshakes at the same time must not promise the same memory.
    pub(crate) fn initial_window(&self, peer: Option<&Peer>) -> (WindowSize, u64) {
        let class = peer.map_or(PeerClass::Stranger, Peer::class);
        let held = peer.and_then(Peer::inbox).map_or(0, |inbox| inbox.held());
        let window = WindowSize::initial(self.inbound.pool(), class);
        let credit = window.bytes().saturating_sub(held) as u64;
        (window, credit)
    }

    /// Starts a new session with a remote node that claims to be `id`; `None` if that node is
    /// plain. Frames that may not have been received in the previous session are stored, or sent
    /// again.
    pub(crate) fn start_session(
        &self,
        peer: &Arc<Peer>,
        id: Id,
        session: Option<(Session, WindowSize, InitialCredit)>,
    ) {
        self.forget_session(peer);
        let (session, window, credit) = match session {
            Some((session, window, credit)) => (Some(session), window, credit),
            None => {
                let window = WindowSize::initial(self.inbound.pool(), peer.class());
                (None, window, InitialCredit::default())
            }
        };
        let key = session.as_ref().map(Session::index_key);
        let frames = match peer.id() {
            Some(before) if self.sessions.frames_follow_id && before != id => {
                OnNewSession::ReturnAll
            }
            _ if self.sessions.frames_follow_id => OnNewSession::SendAgain,
            _ => OnNewSession::ReturnUnacknowledged,
        };
        self.store_unconfirmed(peer, peer.start_session(session, frames, window, credit));
        if let Some(key) = key {
            self.sessions.index.lock().insert(key, peer.clone());
        }
    }

    /// Removes the session of a peer from the index, so that it cannot be resumed.
    pub(super) fn forget_session(&self, peer: &Peer) {
        if let Some(session) = peer.session() {
            self.sessions.index.lock().remove(&session.index_key());
        }
    }

    /// Returns the peer whose session has this public name, with the same remote instance.
    pub(crate) fn resumable_peer(
        &self,
        name: SessionName,
        instance: InstanceId,
    ) -> Option<Arc<Peer>> {
        self.sessions.index.lock().get(&(instance, name)).cloned()
    }

    /// Returns the other peers of the same remote instance whose links carry frames in the same
    /// direction. Peers that this node dials come first: anyone can claim an instance id on an
    /// inbound link.
    pub(crate) fn same_instance_peers(&self, peer: &Arc<Peer>) -> Vec<Arc<Peer>> {
        let Some(own) = peer.session() else { return Vec::new() };
        let is_other = |other: &&Arc<Peer>| {
            let is_open = !Arc::ptr_eq(other, peer) && !other.is_closing();
            let is_same_instance =
                other.session().is_some_and(|other| other.is_same_instance(&own));
            is_open && is_same_instance && other.peer_type().same_direction(peer.peer_type())
        };
        let index = self.sessions.index.lock();
        let others: Vec<_> = index.by_instance(own.instance_id).filter(is_other).cloned().collect();
        drop(index);
        let (mut dialed, accepted): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|peer| peer.is_dialed());
        dialed.extend(accepted);
        dialed
    }

    /// Registers a disconnected peer that may resume its session.
    pub(crate) fn track_disconnected(&self, peer: &Arc<Peer>) {
        let block = AddrBlock::from(peer.addr());
        let mut disconnected = self.sessions.disconnected.lock();
        disconnected.retain(|(_, other)| !Arc::ptr_eq(other, peer));
        let at = disconnected.partition_point(|(other, _)| *other < block);
        disconnected.insert(at, (block, peer.clone()));
        drop(disconnected);
        self.evict_disconnected();
    }

    /// Stops disconnected peers while there are more than `resume_peers` of them, or more than
    /// `resume_bytes` bytes queued for them.
    pub(super) fn evict_disconnected(&self) {
        let mut disconnected = self.sessions.disconnected.lock();
        // A peer that was merged with a dialed one must not be evicted by other peers.
        disconnected.retain(|(_, peer)| peer.is_disconnected() && !peer.is_dialed());
        let bytes_of = |peer: &Peer| peer.queue.size().1;
        let mut bytes: usize = disconnected.iter().map(|(_, peer)| bytes_of(peer)).sum();
        let Limits { resume_peers, resume_bytes, .. } = self.limits;
        loop {
            let evicted = match () {
                () if disconnected.len() > resume_peers => find_evicted(&disconnected, &|_| 1),
                () if bytes > resume_bytes => find_evicted(&disconnected, &bytes_of),
                () => return,
            };
            let Some(at) = evicted else { return };
            let (_, peer) = disconnected.remove(at);
            bytes -= bytes_of(&peer).min(bytes);
            peer.stop(Closing::Now, DownReason::Removed);
        }
    }
}

/// Finds the disconnected peer to evict: one of the lowest class, in it of the address block that
/// holds most, and there one that was hardly used before others, the oldest first. `amount` is what
/// a peer takes; one that takes nothing is not evicted.
fn find_evicted(
    disconnected: &[(AddrBlock, Arc<Peer>)],
    amount: &dyn Fn(&Peer) -> usize,
) -> Option<usize> {
    let holders = disconnected.iter().filter(|(_, peer)| amount(peer) > 0);
    let class = holders.map(|(_, peer)| peer.class()).min()?;
    let amount = |peer: &Peer| if peer.class() == class { amount(peer) } else { 0 };
    find_victim(disconnected, &amount, false).map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{MemoryBudget, Origin, SendQueue};
    use crate::proto::PeerType;
    use crate::testing::kit::manual_clock::Clock;
    use std::time::Duration;

    /// Disconnected peers at these addresses, in the order in which they lost their links.
    fn disconnected(clock: &Clock, ips: &[&str]) -> Vec<(AddrBlock, Arc<Peer>)> {
        let mut entries = Vec::new();
        for (number, ip) in ips.iter().enumerate() {
            clock.advance(Duration::from_secs(1));
            let target = u16::try_from(number).unwrap().into();
            let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
            let peer = Peer::linked(target, PeerType::Standard, Origin::Accepted, queue);
            let block = ip.parse::<std::net::IpAddr>().unwrap().into();
            entries.push((block, Arc::new(peer)));
        }
        entries.sort_by_key(|(block, _)| *block);
        entries
    }

    /// The targets of the peers in the order in which they are evicted.
    fn evicted(mut entries: Vec<(AddrBlock, Arc<Peer>)>) -> Vec<u16> {
        let mut order = Vec::new();
        while let Some(at) = find_evicted(&entries, &|_| 1) {
            order.push(entries.remove(at).1.target().into());
        }
        order
    }

    #[test]
    fn the_oldest_of_the_largest_block_is_evicted() {
        let clock = Clock::install();
        let entries = ["10.0.0.1", "10.0.1.1", "10.0.1.2", "10.0.1.2", "10.0.2.1"];
        assert_eq!(evicted(disconnected(&clock, &entries)), [2, 1, 0, 3, 4]);
    }

    /// Regression: throw-away identities evicted the session of a neighbour that was away for a
    /// moment.
    #[test]
    fn peers_that_carried_nothing_go_first() {
        let clock = Clock::install();
        let entries = disconnected(&clock, &["10.0.0.1"; 4]);
        for (_, peer) in &entries {
            let is_used = [0, 2].contains(&peer.target().into());
            if is_used {
                peer.count_received(1, 100).unwrap();
            }
            clock.advance(Duration::from_secs(2));
            peer.link_down(&DownReason::Closed, None);
            assert_eq!(peer.was_used(), is_used);
        }
        assert_eq!(evicted(entries), [1, 3, 0, 2]);
    }

    #[test]
    fn a_link_that_ends_in_a_moment_is_no_use() {
        let clock = Clock::install();
        for (stood, frames, is_used) in [(999, 1, false), (1000, 0, false), (1000, 1, true)] {
            let peer = disconnected(&clock, &["10.0.0.1"]).remove(0).1;
            peer.count_received(frames, 100).unwrap();
            clock.advance(Duration::from_millis(stood));
            peer.link_down(&DownReason::Closed, None);
            assert_eq!(peer.was_used(), is_used, "{frames} frames in {stood} ms");
        }
    }

    #[test]
    fn without_bytes_nothing_is_evicted_for_bytes() {
        let clock = Clock::install();
        let entries = disconnected(&clock, &["10.0.0.1", "10.0.0.2"]);
        assert_eq!(find_evicted(&entries, &|peer| peer.queue.size().1), None);
    }
}
