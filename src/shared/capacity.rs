//! Limits on the number of peers.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use crate::peer::{Origin, Peer};
use crate::proto::PeerType;
use crate::proto::Target;
use crate::shared::{Peers, Shared};

impl Shared {
    /// Adds a peer that lasts as long as its link. `None` if the limit for its origin is reached,
    /// if the endpoint stops or if no target is free.
    pub(crate) fn add_linked(
        &self,
        peer_type: PeerType,
        origin: Origin,
        addr: Option<SocketAddr>,
    ) -> Option<Arc<Peer>> {
        let add = |peers: &Peers| {
            let has_room = match origin {
                Origin::Dialed => self.outbound_capacity(peers) > 0,
                Origin::Accepted => self.has_inbound_capacity(peers, addr),
            };
            let has_room = has_room && !self.is_stopping();
            let target = has_room.then(|| self.routes.next_target()).flatten().ok_or(())?;
            Ok(vec![Arc::new(Peer::linked(target, peer_type, origin, self.new_queue()))])
        };
        self.add_peers(add).unwrap_or_else(|()| Vec::new()).pop()
    }

    /// Whether one more inbound peer from this address is within the limit.
    pub(crate) fn can_accept(&self, addr: SocketAddr) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        self.has_inbound_capacity(&peers, Some(addr))
    }

    /// How many more peers this node may dial. Inbound peers do not count.
    pub(crate) fn outbound_capacity(&self, peers: &Peers) -> usize {
        self.limits.peers.saturating_sub(peers.len() - inbound_count(peers))
    }

    /// Whether one more inbound peer is within the limit. The limit is doubled for addresses that
    /// this node was configured to dial, since only the remote node may be able to connect.
    fn has_inbound_capacity(&self, peers: &Peers, addr: Option<SocketAddr>) -> bool {
        let most = self.limits.peers;
        if peers.len() < most {
            // Fast path: even if all of them were inbound, there is capacity.
            return true;
        }
        let ip = addr.map(|addr| addr.ip().to_canonical());
        let is_configured =
            ip.is_some_and(|ip| peers.values().any(|peer| peer.is_configured_at(ip)));
        inbound_count(peers) < if is_configured { 2 * most } else { most }
    }
}

/// The number of targets that count as inbound: accepted peers, and all aliases. Aliases count
/// because a remote node could otherwise use up memory by merging ever more links.
fn inbound_count(peers: &Peers) -> usize {
    let is_stranger = |(target, peer): &(&Target, &Arc<Peer>)| {
        peer.origin() == Origin::Accepted || peer.target() != **target
    };
    peers.iter().filter(is_stranger).count()
}
