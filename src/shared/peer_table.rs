//! The table of peers.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLockReadGuard};

use crate::peer::{Origin, Peer};
use crate::primitives::lock::RwLock;
use crate::proto::{AddrBlock, Target};

/// How many inbound aliases a peer has at most; beyond that, its oldest is retired. Links between
/// two honest nodes merge once or twice, but a node can merge links with itself as often as it
/// likes.
const ALIASES_PER_PEER: u8 = 8;

/// How many inbound aliases there are at most, of all peers together: a part of the 65 535 targets.
const MAX_ALIASES: usize = 4096;

/// Peers by target. A merged peer leaves its target behind as an alias: an entry for the peer that
/// survived.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    by_target: BTreeMap<Target, Arc<Peer>>,
    /// The inbound peers, each once, with the address block from which it came when it was added.
    // Invariant: sorted by block.
    inbound: Vec<(AddrBlock, Arc<Peer>)>,
    /// The aliases that inbound peers left behind, oldest first, and whether an event named each.
    /// Those of dialed peers are not among them: the caller holds such a target from `add_peers`
    /// on.
    // Invariant: each is an alias in `by_target`, and counted in `Peer::aliases` of its peer.
    inbound_aliases: Vec<(Target, bool)>,
}

impl Deref for Peers {
    type Target = BTreeMap<Target, Arc<Peer>>;

    fn deref(&self) -> &BTreeMap<Target, Arc<Peer>> {
        &self.by_target
    }
}

impl Peers {
    /// Calls `f` for each peer, ordered by target. Aliases are skipped.
    pub(super) fn for_each(&self, f: impl FnMut(&Arc<Peer>)) {
        // An alias is an entry under another target than the peer's own.
        let is_own = |(target, peer): &(&Target, &Arc<Peer>)| **target == peer.target();
        self.by_target.iter().filter(is_own).map(|(_, peer)| peer).for_each(f);
    }

    /// The inbound peers, each once however many aliases it has, with the address block from which
    /// it came. Sorted by block.
    pub(super) fn inbound(&self) -> &[(AddrBlock, Arc<Peer>)] {
        &self.inbound
    }

    /// The number of targets that were given to dialed peers, aliases included.
    pub(super) fn dialed_count(&self) -> usize {
        self.by_target.len() - self.inbound.len() - self.inbound_aliases.len()
    }

    fn add(&mut self, peer: Arc<Peer>) {
        if peer.origin() == Origin::Accepted {
            let block = AddrBlock::from(peer.addr());
            let at = self.inbound.partition_point(|(other, _)| *other <= block);
            self.inbound.insert(at, (block, peer.clone()));
        }
        self.by_target.insert(peer.target(), peer);
    }

    fn remove_inbound(&mut self, peer: &Peer) {
        let at = self.inbound.iter().position(|(_, other)| std::ptr::eq(&**other, peer));
        at.map(|at| self.inbound.remove(at));
    }

    /// Makes the targets of one peer aliases of another.
    fn alias(&mut self, goes: &Peer, stays: &Arc<Peer>) {
        for peer in self.by_target.values_mut().filter(|peer| peer.target() == goes.target()) {
            *peer = stays.clone();
        }
        let mut more = goes.aliases.load(Ordering::Relaxed);
        if goes.origin() == Origin::Accepted {
            self.remove_inbound(goes);
            self.inbound_aliases.push((goes.target(), goes.is_reported()));
            more += 1;
        }
        stays.aliases.fetch_add(more, Ordering::Relaxed);
    }

    /// Removes an alias if there are too many: the oldest of `peer`, or with the table full, the
    /// oldest of a peer of the lowest class that has most.
    fn evict_alias(&mut self, peer: &Arc<Peer>) -> Option<(Target, bool)> {
        let aliases = |peer: &Peer| peer.aliases.load(Ordering::Relaxed);
        let from = match () {
            () if aliases(peer) > ALIASES_PER_PEER => peer.clone(),
            () if self.inbound_aliases.len() > MAX_ALIASES => {
                let peers = self.inbound_aliases.iter().filter_map(|(alias, _)| self.get(alias));
                peers.max_by_key(|peer| (Reverse(peer.class()), aliases(peer)))?.clone()
            }
            () => return None,
        };
        let is_of = |(alias, _): &(Target, bool)| {
            self.get(alias).is_some_and(|peer| Arc::ptr_eq(peer, &from))
        };
        let alias = self.inbound_aliases.remove(self.inbound_aliases.iter().position(is_of)?);
        self.by_target.remove(&alias.0);
        from.aliases.fetch_sub(1, Ordering::Relaxed);
        Some(alias)
    }
}

/// Every peer, from the moment its target is reserved, and the aliases of merged peers.
#[derive(Debug, Default)]
pub(super) struct PeerTable(RwLock<Peers>);

impl PeerTable {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Peers> {
        self.0.read()
    }

    /// Adds the peers that `make` returns. It is called with the current table under the write
    /// lock, so no other peer is added in between.
    pub(super) fn add<E>(
        &self,
        make: impl FnOnce(&Peers) -> Result<Vec<Arc<Peer>>, E>,
    ) -> Result<Vec<Arc<Peer>>, E> {
        let mut peers = self.0.write();
        let new = make(&peers)?;
        new.iter().for_each(|peer| peers.add(peer.clone()));
        Ok(new)
    }

    /// Removes a peer and all its aliases. Calls `retire` for the target of each alias.
    pub(super) fn remove(&self, peer: &Peer, mut retire: impl FnMut(Target)) {
        let mut peers = self.0.write();
        peers.remove_inbound(peer);
        let Peers { by_target, inbound_aliases, .. } = &mut *peers;
        by_target.retain(|target, other| {
            let is_it = std::ptr::eq(&**other, peer);
            if is_it && *target != peer.target() {
                retire(*target);
            }
            !is_it
        });
        inbound_aliases.retain(|(alias, _)| by_target.contains_key(alias));
    }

    /// Makes the targets of one peer aliases of another, if `transfer` succeeds. It is called under
    /// the write lock. Calls `retire` for each alias that this was one too many for, with whether an
    /// event named it.
    pub(super) fn alias(
        &self,
        goes: &Peer,
        stays: &Arc<Peer>,
        transfer: impl FnOnce() -> bool,
        mut retire: impl FnMut(Target, bool),
    ) -> bool {
        let mut peers = self.0.write();
        if !transfer() {
            return false;
        }
        peers.alias(goes, stays);
        while let Some((alias, is_reported)) = peers.evict_alias(stays) {
            retire(alias, is_reported);
        }
        true
    }

    /// Whether no thread holds the lock.
    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.0.is_free()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{MemoryBudget, SendQueue};
    use crate::proto::PeerType;

    /// Adds a peer under the next target.
    fn add(table: &PeerTable, number: usize, origin: Origin) -> Arc<Peer> {
        let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
        let target = u16::try_from(number).unwrap().into();
        let peer = Arc::new(Peer::linked(target, PeerType::Standard, origin, queue));
        table.add(|_| Ok::<_, ()>(vec![peer])).unwrap().remove(0)
    }

    /// Merges a new peer into another. Returns the targets that this retired.
    fn merge(table: &PeerTable, number: usize, origin: Origin, stays: &Arc<Peer>) -> Vec<Target> {
        let goes = add(table, number, origin);
        let mut retired = Vec::new();
        assert!(table.alias(&goes, stays, || true, |target, _| retired.push(target)));
        retired
    }

    /// Regression: each alias counted as an inbound peer, so a node that merged with itself again
    /// and again locked others out.
    #[test]
    fn a_peer_counts_once_and_its_oldest_aliases_are_retired() {
        let table = PeerTable::default();
        let peer = add(&table, 0, Origin::Accepted);
        for number in 1..100 {
            let retired = merge(&table, number, Origin::Accepted, &peer);
            let oldest = number.checked_sub(ALIASES_PER_PEER.into()).filter(|oldest| *oldest > 0);
            let oldest = oldest.map(|oldest| Target::from(oldest as u16));
            assert_eq!(retired, Vec::from_iter(oldest));
        }
        let peers = table.read();
        assert_eq!((peers.inbound().len(), peers.dialed_count()), (1, 0));
        assert_eq!(peers.len(), 1 + usize::from(ALIASES_PER_PEER));
        drop(peers);
        let mut retired = 0;
        table.remove(&peer, |_| retired += 1);
        assert_eq!(retired, ALIASES_PER_PEER);
        assert!(table.read().is_empty() && table.read().inbound_aliases.is_empty());
    }

    /// The caller was given those targets, and the limit on dialed peers bounds them.
    #[test]
    fn the_targets_of_dialed_peers_stay() {
        let table = PeerTable::default();
        let peer = add(&table, 0, Origin::Accepted);
        for number in 1..100 {
            assert_eq!(merge(&table, number, Origin::Dialed, &peer), []);
        }
        assert_eq!(merge(&table, 100, Origin::Accepted, &peer), []);
        let peers = table.read();
        assert_eq!((peers.len(), peers.inbound().len(), peers.dialed_count()), (101, 1, 99));
    }

    /// Aliases of a merged peer go along with it.
    #[test]
    fn a_merge_of_two_peers_with_aliases_keeps_the_latest() {
        let table = PeerTable::default();
        let [one, other] = [0, 1].map(|number| add(&table, number, Origin::Accepted));
        for number in 2..14 {
            merge(&table, number, Origin::Accepted, [&one, &other][number % 2]);
        }
        let mut retired = Vec::new();
        assert!(table.alias(&one, &other, || true, |target, _| retired.push(target)));
        assert_eq!(retired, [2, 3, 4, 5, 6].map(Target::from));
        assert_eq!(other.aliases.load(Ordering::Relaxed), ALIASES_PER_PEER);
    }

    #[test]
    fn of_too_many_aliases_those_of_the_stranger_with_most_are_retired() {
        let table = PeerTable::default();
        let (dialed, modest) = (add(&table, 0, Origin::Dialed), add(&table, 1, Origin::Accepted));
        let mut number = 2;
        let mut next = || {
            number += 1;
            number - 1
        };
        for _ in 0..ALIASES_PER_PEER {
            assert_eq!(merge(&table, next(), Origin::Accepted, &dialed), []);
        }
        assert_eq!(merge(&table, next(), Origin::Accepted, &modest), []);
        let mut retired = 0;
        while table.read().inbound_aliases.len() < MAX_ALIASES {
            let greedy = add(&table, next(), Origin::Accepted);
            for _ in 0..ALIASES_PER_PEER {
                retired += merge(&table, next(), Origin::Accepted, &greedy).len();
            }
        }
        let newcomer = add(&table, next(), Origin::Accepted);
        retired += merge(&table, next(), Origin::Accepted, &newcomer).len();
        assert!(retired > 0);
        assert_eq!(table.read().inbound_aliases.len(), MAX_ALIASES);
        let aliases =
            [&dialed, &modest, &newcomer].map(|peer| peer.aliases.load(Ordering::Relaxed));
        assert_eq!(aliases, [ALIASES_PER_PEER, 1, 1]);
    }
}
