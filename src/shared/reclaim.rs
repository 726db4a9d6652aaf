//! Taking memory of the outbound queues back from those that come last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::DownReason;
use crate::peer::{Closing, Peer, PeerClass};
use crate::primitives::clock;
use crate::proto::AddrBlock;
use crate::shared::Shared;

/// Seconds for which a stranger must have held unacknowledged frames, or need to acknowledge them,
/// before they are taken back for another stranger: more than an honest path usually takes.
const LONG_HELD: usize = 10;

/// Time after an attempt for a stranger that was in vain, in which no other is made. To look through
/// thousands of peers for every frame would take the time of those who come first.
const PAUSE: Duration = Duration::from_millis(100);

/// A peer that holds some of the memory budget.
struct Holder {
    peer: Arc<Peer>,
    class: PeerClass,
    block: AddrBlock,
    is_up: bool,
    /// What decides on who gives back first. The greatest does.
    order: [u64; 5],
}

/// Positions in [`Holder::order`]: lower classes before higher ones, and in each class peers that
/// are down before others.
const RANK: usize = 0;
/// For how long the peer has been down, in nanoseconds. Zero while it is up.
const DOWN: usize = 1;
/// What peers of this class hold in its network, on its host, and it alone.
const NETWORK: usize = 2;
const HOST: usize = 3;
const OWN: usize = 4;

impl Shared {
    /// Frees memory of the budget for `bytes` bytes of a peer of this class, as far as peers that
    /// come after it hold any. `by` is the peer, or `None` if there are several.
    ///
    /// Lower classes go first, and in each class peers that are down, the longest first; then those
    /// of the address block and, within it, the peer that hold most. A peer of a lower class loses
    /// its link, and its session, if frames that may be under way have to be taken back. Others
    /// return unsent frames only, and only while they are down; those of higher classes only what
    /// these hold beyond the reserve.
    ///
    /// Among strangers, those who hold more than twice as much as the block or peer of `by` give
    /// back too while they are up. They lose their link only if they hold their frames for long.
    pub(crate) fn reclaim(&self, class: PeerClass, by: Option<&Peer>, bytes: usize) {
        let is_stranger = class == PeerClass::Stranger;
        let shortfall = || self.budget.shortfall(bytes, is_stranger);
        let is_pointless = || self.futile_reclaim.lock().is_some_and(|at| clock::since(at) < PAUSE);
        if shortfall() == 0 || is_stranger && is_pointless() {
            return;
        }
        let mut holders = Vec::new();
        let mut beyond = 0;
        // One time for all: peers that went down shortly after each other keep their order, however
        // long this thread stands still between two of them.
        let now = clock::now();
        for peer in self.peers() {
            let holder = Holder::new(peer, now);
            if holder.class > class {
                beyond += holder.order[OWN] as usize;
            }
            let may_be_up = holder.class < class || holder.class == PeerClass::Stranger;
            if may_be_up || !holder.is_up {
                holders.push(holder);
            }
        }
        beyond = beyond.saturating_sub(self.budget.reserve());
        add_up_shares(&mut holders);
        while shortfall() > 0 {
            let Some(at) = (0..holders.len()).reduce(|first, at| max(&holders, first, at)) else {
                *self.futile_reclaim.lock() = is_stranger.then(clock::now);
                return;
            };
            let first = &holders[at];
            let is_peer = first.class == class && first.is_up;
            let takes = !is_peer || by.is_none_or(|by| first.exceeds(&holders, by, bytes));
            let victim = holders.swap_remove(at);
            victim.subtract_from(&mut holders);
            if !takes {
                continue;
            }
            let Holder { peer, class: of, order, .. } = victim;
            // Of a lower class some more than necessary, so that the next frames find room.
            let spare = if of < class { self.budget.chunk() } else { 0 };
            let most = if of > class { beyond } else { usize::MAX };
            let used = self.budget.used();
            let mut unsent = peer.queue.shed((shortfall() + spare).min(most));
            if of > class {
                beyond = beyond.saturating_sub(used.saturating_sub(self.budget.used()));
            }
            let may_end = of < class || is_peer && peer.queue.hold_time() >= LONG_HELD;
            let mut frames = Vec::new();
            if may_end && order[OWN] > 0 && shortfall() > 0 {
                peer.stop(Closing::Now, DownReason::Reclaimed);
                frames = peer.queue.end();
            }
            frames.append(&mut unsent);
            self.store_unconfirmed(&peer, frames);
        }
    }
}

impl Holder {
    fn new(peer: Arc<Peer>, now: Instant) -> Holder {
        let (is_up, class) = (peer.queue.is_up(), peer.class());
        let mut order = [0; 5];
        order[OWN] = peer.queue.own_size().1 as u64;
        order[RANK] = 2 * (PeerClass::Dialed as u64 - class as u64);
        if !is_up {
            order[RANK] += 1;
            order[DOWN] = now.saturating_duration_since(peer.since()).as_nanos() as u64;
        }
        Holder { class, block: peer.addr_block(), is_up, order, peer }
    }

    /// Whether both are of the same class and network.
    fn is_beside(&self, other: &Holder) -> bool {
        self.class == other.class && self.block.is_same_network(other.block)
    }

    /// Takes what the peer holds off the shares of others.
    fn subtract_from(&self, holders: &mut [Holder]) {
        for other in holders.iter_mut().filter(|other| other.is_beside(self)) {
            other.order[NETWORK] -= self.order[OWN];
            if other.block == self.block {
                other.order[HOST] -= self.order[OWN];
            }
        }
    }

    /// Whether a stranger, or the group in which it differs from `by`, holds more than twice as much
    /// as that of `by` would hold with `bytes` more.
    fn exceeds(&self, holders: &[Holder], by: &Peer, bytes: usize) -> bool {
        let by = holders.iter().find(|holder| std::ptr::eq(&*holder.peer, by));
        by.is_some_and(|by| {
            let share = match () {
                () if !self.block.is_same_network(by.block) => NETWORK,
                () if self.block != by.block => HOST,
                () => OWN,
            };
            self.order[share] / 2 > by.order[share] + bytes as u64
        })
    }
}

/// The position of the greater of two in order.
fn max(holders: &[Holder], one: usize, other: usize) -> usize {
    if holders[other].order > holders[one].order { other } else { one }
}

/// Adds up what the peers of each class hold, by network and by host.
fn add_up_shares(holders: &mut [Holder]) {
    for at in 0..holders.len() {
        let (before, rest) = holders.split_at(at);
        let Some(one) = rest.first() else { return };
        let (mut network, mut host) = (0, 0);
        match before.iter().find(|other| other.is_beside(one) && other.block == one.block) {
            Some(other) => (network, host) = (other.order[NETWORK], other.order[HOST]),
            None => {
                for other in holders.iter().filter(|other| other.is_beside(one)) {
                    network += other.order[OWN];
                    host += if other.block == one.block { other.order[OWN] } else { 0 };
                }
            }
        }
        (holders[at].order[NETWORK], holders[at].order[HOST]) = (network, host);
    }
}

#[cfg(test)]
mod tests;
