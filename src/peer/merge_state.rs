//! State of a merge: two peers that turned out to be the same node become one.
//!
//! A peer takes part in one merge at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::peer::Peer;
use crate::peer::status::AliasAddr;
use crate::primitives::clock;
use crate::proto::{Proof, SessionName};

/// A message about another link to the same node, received from the remote.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MergeMessage {
    /// The session `name` connects the same two nodes, as `proof` shows.
    Duplicate { name: SessionName, proof: Proof },
    /// The session `name` is to be merged into another. The remote has received `received` of its
    /// frames; `proof` authenticates the request.
    Request { name: SessionName, received: u64, proof: Proof },
    /// The reply to [`Request`](MergeMessage::Request), with the count of received frames.
    Ack { name: SessionName, received: u64 },
}

/// Callback for merge messages, which concern more than one peer.
pub(crate) type OnMergeMessage<'a> = &'a (dyn Fn(MergeMessage) + Sync);

/// Reserves two peers for a merge. Dropping it ends the merge, whatever its outcome.
#[derive(Debug)]
pub(crate) struct MergeGuard {
    _flags: [MergeFlag; 2],
}

impl MergeGuard {
    /// Begins a merge. `None` if one of the peers is part of another merge, or is closing.
    pub(crate) fn begin(one: &Arc<Peer>, other: &Arc<Peer>) -> Option<MergeGuard> {
        if one.is_closing() || other.is_closing() {
            return None;
        }
        // In order of the targets. Otherwise two tasks could each flag one of the peers, and both
        // fail.
        let (first, second) = match one.target < other.target {
            true => (one, other),
            false => (other, one),
        };
        Some(MergeGuard { _flags: [MergeFlag::set(first)?, MergeFlag::set(second)?] })
    }
}

impl Peer {
    /// Takes over the dial addresses of a peer that turned out to be the same node.
    pub(crate) fn adopt_addrs(&self, other: &Peer) {
        let proved = other.session().and_then(|session| session.key());
        let own = other.dial.iter().map(|addr| AliasAddr { addr: (**addr).clone(), proved });
        let aliases: Vec<_> = own.chain(other.status().dial.aliases.iter().cloned()).collect();
        if !aliases.is_empty() {
            self.status().dial.get_or_allocate().aliases.extend(aliases);
            self.apply_class();
        }
    }

    /// Records that the session `name`, on another link, is with the same node.
    pub(crate) fn set_duplicate(&self, name: &SessionName) {
        self.status().merge.get_or_allocate().duplicate_of = Some(*name);
    }

    /// Whether the session `name` was shown to be with the same node.
    pub(crate) fn is_duplicate(&self, name: &SessionName) -> bool {
        self.status().merge.duplicate_of == Some(*name)
    }

    /// Records the remote's reply about the session that is merged away: the frames it received.
    pub(crate) fn set_merge_ack(&self, name: SessionName, received: u64) {
        self.status().merge.get_or_allocate().merge_ack = Some((name, received));
        self.signal.notify_all();
    }

    /// The remote's reply about the session that is merged away.
    pub(crate) fn merge_ack(&self, name: &SessionName) -> Option<u64> {
        self.status().merge.merge_ack.filter(|(of, _)| of == name).map(|(_, received)| received)
    }

    /// Records the local reply about the session that was merged away, so that it can be repeated.
    pub(crate) fn set_merge_reply(&self, name: SessionName, received: u64) {
        self.status().merge.get_or_allocate().merge_reply = Some((name, received));
    }

    /// The local reply about the session that was merged away.
    pub(crate) fn merge_reply(&self, name: &SessionName) -> Option<u64> {
        self.status().merge.merge_reply.filter(|(of, _)| of == name).map(|(_, received)| received)
    }

    /// Counts an acknowledgement received from the remote.
    pub(crate) fn count_ack(&self) {
        self.acks.fetch_add(1, Ordering::Relaxed);
        self.signal.notify_all();
    }

    /// Number of acknowledgements received from the remote.
    pub(crate) fn ack_count(&self) -> u32 {
        self.acks.load(Ordering::Relaxed)
    }

    /// Sends a ping, unless one was sent within the last `recent`. Returns the number of
    /// acknowledgements that had been received when the ping was sent.
    pub(crate) fn ping_if_stale(&self, recent: Duration) -> u32 {
        let ping = self.status().merge.pinged.filter(|(at, _)| clock::since(*at) < recent);
        let (_, acks) = ping.unwrap_or_else(|| {
            self.queue.queue_ping();
            let ping = (clock::now(), self.ack_count());
            self.status().merge.get_or_allocate().pinged = Some(ping);
            ping
        });
        acks
    }

    /// Whether the peer is part of a merge.
    pub(crate) fn is_merging(&self) -> bool {
        self.status().is_merging
    }

    /// Marks this peer as the one of the two that is merged away.
    pub(crate) fn set_merge_loser(&self) {
        self.status().is_merge_loser = true;
    }

    /// Whether the peer is the one that is merged away.
    pub(crate) fn is_merge_loser(&self) -> bool {
        self.status().is_merge_loser
    }
}

/// The flag that marks one peer as part of a merge. Dropping it clears the flag.
#[derive(Debug)]
struct MergeFlag(Arc<Peer>);

impl MergeFlag {
    fn set(peer: &Arc<Peer>) -> Option<MergeFlag> {
        let was_merging = std::mem::replace(&mut peer.status().is_merging, true);
        (!was_merging).then(|| MergeFlag(peer.clone()))
    }
}

impl Drop for MergeFlag {
    fn drop(&mut self) {
        let mut status = self.0.status();
        (status.is_merging, status.is_merge_loser) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DownReason;
    use crate::peer::{MemoryBudget, Origin, SendQueue};
    use crate::proto::{Id, PeerType};
    use crate::testing::kit::pipe::Pipe;
    use crate::transport::Link;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn peer(target: u16) -> Arc<Peer> {
        let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
        Arc::new(Peer::linked(target.into(), PeerType::Standard, Origin::Accepted, queue))
    }

    #[test]
    fn a_peer_is_merged_with_one_other_at_a_time() {
        let [a, b, c] = [0, 1, 2].map(peer);
        let guard = MergeGuard::begin(&b, &a).unwrap();
        assert!(a.is_merging() && b.is_merging());
        assert!(MergeGuard::begin(&a, &c).is_none() && MergeGuard::begin(&c, &b).is_none());
        assert!(!c.is_merging(), "its flag is still set");
        drop(guard);
        assert!(MergeGuard::begin(&c, &b).is_some());
        assert!(![a, b, c].iter().any(|peer| peer.is_merging()));
    }

    /// Regression: a live link was taken for dead, since the reply to a ping on the previous link
    /// never came.
    #[test]
    fn a_ping_of_the_previous_link_is_repeated_on_the_next() {
        let peer = peer(0);
        let id = Id::from_bytes([1; 32]);
        let recent = Duration::from_secs(3600);
        let takes_ping =
            || peer.queue.lock().control.take().is_some_and(|control| control.ping.is_some());
        for _ in 0..2 {
            let link = Link::unencrypted(Pipe::pair().0, None, Vec::new(), Some(id));
            peer.link_up(id, &link);
            peer.ping_if_stale(recent);
            assert!(takes_ping(), "no ping");
            peer.ping_if_stale(recent);
            assert!(!takes_ping(), "a ping was sent a moment ago");
            peer.link_down(&DownReason::Closed, None);
        }
    }

    #[test]
    fn of_concurrent_merges_one_begins() {
        let (a, b) = (peer(0), peer(1));
        for _ in 0..200 {
            let (began, start, end) = (&AtomicUsize::new(0), &Barrier::new(4), &Barrier::new(4));
            std::thread::scope(|scope| {
                for pair in [[&a, &b], [&b, &a], [&a, &b], [&b, &a]] {
                    scope.spawn(move || {
                        start.wait();
                        let guard = MergeGuard::begin(pair[0], pair[1]);
                        began.fetch_add(guard.is_some().into(), Ordering::Relaxed);
                        end.wait();
                    });
                }
            });
            assert_eq!(began.load(Ordering::Relaxed), 1);
        }
    }
}
