//! How many peers there may be.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use crate::peer::{Origin, Peer};
use crate::proto::PeerType;
use crate::proto::Target;
use crate::shared::{Peers, Shared};

impl Shared {
    /// Adds a neighbour that lasts as long as its link. `None` if there are too many of its origin.
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

    /// Whether one more peer may come in from there.
    pub(crate) fn can_accept(&self, addr: SocketAddr) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        self.has_inbound_capacity(&peers, Some(addr))
    }

    /// How many peers more this node may dial. Strangers take nothing of it.
    pub(crate) fn outbound_capacity(&self, peers: &Peers) -> usize {
        self.limits.peers.saturating_sub(peers.len() - inbound_count(peers))
    }

    /// Whether one more peer may come in. From where this node was told to dial there is more room,
    /// for the other side may be the one that gets through.
    fn has_inbound_capacity(&self, peers: &Peers, addr: Option<SocketAddr>) -> bool {
        let most = self.limits.peers;
        if peers.len() < most {
            // Nobody needs to be counted.
            return true;
        }
        let ip = addr.map(|addr| addr.ip().to_canonical());
        let is_configured =
            ip.is_some_and(|ip| peers.values().any(|peer| peer.is_configured_at(ip)));
        inbound_count(peers) < if is_configured { 2 * most } else { most }
    }
}

/// Targets that count against the room for strangers: theirs, and every alias, since who has two
/// links merged into one could go on doing so.
fn inbound_count(peers: &Peers) -> usize {
    let is_stranger = |(target, peer): &(&Target, &Arc<Peer>)| {
        peer.origin() == Origin::Accepted || peer.target() != **target
    };
    peers.iter().filter(is_stranger).count()
}
