//! Limits on the number of peers.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::DownReason;
use crate::peer::{Closing, Origin, Peer, PeerClass};
use crate::proto::{AddrBlock, PeerType};
use crate::shared::Shared;
use crate::shared::fair_share::find_victim;
use crate::shared::peer_table::Peers;

/// The divisor of the limit on inbound peers: this fraction of it is reserved for peers whose key
/// is listed or pinned.
const RESERVE_DIVISOR: usize = 8;

/// How many more strangers the address block that holds most must have than that of a newcomer
/// would, so that it gives up a place. With less, two neighbours behind different addresses could
/// displace each other in turn.
const HYSTERESIS: usize = 2;

/// A place for one more inbound peer.
enum Place {
    Free,
    /// The place of this stranger, which has to go.
    Of(Arc<Peer>),
}

impl Shared {
    /// Adds a peer that lasts as long as its link. `None` if the limit for its origin and class is
    /// reached, if the endpoint stops or if no target is free.
    pub(crate) fn add_linked(
        &self,
        peer_type: PeerType,
        origin: Origin,
        addr: Option<SocketAddr>,
        is_trusted: bool,
    ) -> Option<Arc<Peer>> {
        let mut displaced = None;
        let add = |peers: &Peers| {
            let place = match origin {
                Origin::Dialed => (self.outbound_capacity(peers) > 0).then_some(Place::Free),
                Origin::Accepted => self.find_place(peers, addr, is_trusted),
            };
            let place = place.filter(|_| !self.is_stopping()).ok_or(())?;
            let target = self.routes.next_target().ok_or(())?;
            if let Place::Of(peer) = place {
                displaced = Some(peer);
            }
            let peer = Peer::linked(target, peer_type, origin, self.new_queue());
            peer.set_addr(addr);
            peer.set_trusted(is_trusted);
            Ok(vec![Arc::new(peer)])
        };
        let added = self.add_peers(add).unwrap_or_else(|()| Vec::new()).pop();
        if let Some(peer) = displaced {
            peer.stop(Closing::Now, DownReason::Evicted);
        }
        added
    }

    /// Whether there is a place for one more inbound peer from this address.
    pub(crate) fn can_accept(&self, addr: SocketAddr, is_trusted: bool) -> bool {
        let peers = self.peers.read();
        self.find_place(&peers, Some(addr), is_trusted).is_some()
    }

    /// How many more peers this node may dial. Inbound peers do not count.
    pub(crate) fn outbound_capacity(&self, peers: &Peers) -> usize {
        self.limits.peers.saturating_sub(peers.dialed_count())
    }

    /// Finds a place for one more inbound peer. The limit is doubled for addresses that this node
    /// was configured to dial, since only the remote node may be able to connect.
    fn find_place(
        &self,
        peers: &Peers,
        addr: Option<SocketAddr>,
        is_trusted: bool,
    ) -> Option<Place> {
        let max = self.file_shares.peers;
        let reserve = max / RESERVE_DIVISOR;
        if peers.len() < max - reserve {
            // Fast path: even if all of them were strangers, there is a place.
            return Some(Place::Free);
        }
        let census = Census::new(peers.inbound(), addr.into());
        if census.live < max && (is_trusted || census.strangers < max - reserve) {
            return Some(Place::Free);
        }
        let ip = addr.map(|addr| addr.ip().to_canonical());
        if ip.is_some_and(|ip| peers.values().any(|peer| peer.is_configured_at(ip))) {
            let is_free = census.live < self.file_shares.with_configured;
            return is_free.then_some(Place::Free);
        }
        // Peers that were displaced and have not ended yet take resources too.
        if peers.inbound().len() - census.live > reserve {
            return None;
        }
        census.displaced(peers.inbound(), is_trusted).map(Place::Of)
    }
}

/// Inbound peers, each with its address block, sorted by block.
type Inbound<'a> = &'a [(AddrBlock, Arc<Peer>)];

/// A count of inbound peers that are not about to end.
struct Census {
    /// The block of the newcomer for whom they are counted.
    block: AddrBlock,
    live: usize,
    strangers: usize,
    /// Strangers in the network of the newcomer, and at its host.
    in_network: usize,
    in_host: usize,
}

impl Census {
    fn new(inbound: Inbound<'_>, block: AddrBlock) -> Census {
        let mut census = Census { block, live: 0, strangers: 0, in_network: 0, in_host: 0 };
        for (other, peer) in inbound {
            census.live += usize::from(!peer.is_closing());
            if is_live_stranger(peer) {
                census.strangers += 1;
                census.in_network += usize::from(other.is_same_network(block));
                census.in_host += usize::from(*other == block);
            }
        }
        census
    }

    /// Finds the stranger that gives its place to the newcomer: of the block that holds most, one
    /// without a link before others, and then the newest. `None` if that block holds no more than
    /// its share. A newcomer with a listed or pinned key always gets a place.
    fn displaced(&self, inbound: Inbound<'_>, is_trusted: bool) -> Option<Arc<Peer>> {
        let is_candidate = |peer: &Peer| is_live_stranger(peer).into();
        let (largest, at) = find_victim(inbound, &is_candidate, true)?;
        let (most, own) = match largest.block.is_same_network(self.block) {
            true => (largest.of_host, self.in_host),
            false => (largest.of_network, self.in_network),
        };
        (is_trusted || most > own + HYSTERESIS).then(|| inbound[at].1.clone())
    }
}

fn is_live_stranger(peer: &Peer) -> bool {
    !peer.is_closing() && peer.class() == PeerClass::Stranger
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{MemoryBudget, SendQueue};
    use crate::testing::kit::manual_clock::Clock;
    use std::net::IpAddr;
    use std::time::Duration;

    fn block(ip: &str) -> AddrBlock {
        ip.parse::<IpAddr>().unwrap().into()
    }

    /// Inbound peers from these addresses, each a second newer than the one before.
    fn inbound(clock: &Clock, ips: &[&str]) -> Vec<(AddrBlock, Arc<Peer>)> {
        let mut inbound = Vec::new();
        for (number, ip) in ips.iter().enumerate() {
            clock.advance(Duration::from_secs(1));
            let target = u16::try_from(number).unwrap().into();
            let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
            let peer = Peer::linked(target, PeerType::Standard, Origin::Accepted, queue);
            peer.queue.link_up(true);
            inbound.push((block(ip), Arc::new(peer)));
        }
        inbound.sort_by_key(|(block, _)| *block);
        inbound
    }

    /// The target of the peer that gives its place to a newcomer.
    fn displaced(inbound: Inbound<'_>, ip: &str, is_trusted: bool) -> Option<u16> {
        let peer = Census::new(inbound, block(ip)).displaced(inbound, is_trusted)?;
        Some(peer.target().into())
    }

    #[test]
    fn the_block_that_holds_most_gives_places_up_to_its_share() {
        let clock = Clock::install();
        let crowd = ["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"];
        let inbound = inbound(&clock, &crowd);
        assert_eq!(displaced(&inbound, "10.0.1.1", false), Some(2), "the newest of its host");
        assert_eq!(displaced(&inbound, "10.0.0.3", false), Some(2), "a host of the same network");
        assert_eq!(displaced(&inbound, "10.0.0.2", false), None, "it would hold one less only");
        assert_eq!(displaced(&inbound, "10.0.0.1", false), None);
        assert_eq!(displaced(&inbound, "10.0.0.1", true), Some(2), "a trusted node");
    }

    #[test]
    fn a_peer_without_a_link_goes_first() {
        let clock = Clock::install();
        let inbound = inbound(&clock, &["10.0.0.1"; 4]);
        inbound[1].1.queue.link_down();
        assert_eq!(displaced(&inbound, "10.0.1.1", false), Some(1));
        inbound[1].1.stop(Closing::Now, DownReason::Evicted);
        assert_eq!(displaced(&inbound, "10.0.1.1", false), Some(3));
    }

    /// Otherwise neighbours of two networks that are full would displace each other in turn.
    #[test]
    fn a_newcomer_displaces_nobody_for_an_equal_share() {
        let clock = Clock::install();
        let ips = ["10.0.0.1", "10.0.0.1", "10.0.1.1", "10.0.1.1"];
        let inbound = inbound(&clock, &ips);
        assert_eq!(displaced(&inbound, "10.0.2.1", false), None);
        assert_eq!(displaced(&inbound, "10.0.2.1", true), Some(1), "of equals, the older block");
    }

    #[test]
    fn trusted_peers_are_not_displaced() {
        let clock = Clock::install();
        let inbound = inbound(&clock, &["10.0.0.1"; 4]);
        inbound.iter().for_each(|(_, peer)| peer.set_trusted(true));
        assert_eq!(displaced(&inbound, "10.0.1.1", true), None);
    }
}
