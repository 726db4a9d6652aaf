//! The peers that were reached: what each of them claims, and whether it has a name yet.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use libratman::endpoint::NeighbourMetrics;
use libratman::types::Ident32;
use netmod_inet::{Id, InetEndpoint, Origin, PeerInfo, PeerState, PublicKey, Received, Target};

use crate::meter::{Meter, Sample};

/// What a peer showed in the last handshake, and where its link leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// The router id. Anybody can claim any.
    pub(super) id: Ident32,
    pub(super) key: Option<PublicKey>,
    /// The address that the link comes from, or leads to. IPv4-mapped ones are IPv4 here.
    pub(super) ip: Option<IpAddr>,
    pub(super) is_dialed: bool,
}

/// A peer that was reached.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) claim: Claim,
    pub(super) is_up: bool,
    pub(super) state: NameState,
    meter: Option<Meter>,
}

/// Whether a peer has a name.
#[derive(Debug)]
pub(super) enum NameState {
    Named(Ident32),
    /// Another peer has the claimed name, and is being probed.
    Undecided {
        deadline: Instant,
        /// Frames that arrived meanwhile.
        held: Vec<Received>,
    },
}

impl Claim {
    pub(super) fn new(
        id: Id,
        key: Option<PublicKey>,
        addr: Option<SocketAddr>,
        origin: Origin,
    ) -> Claim {
        Claim {
            id: Ident32::from(id.as_bytes()),
            key,
            ip: addr.map(|addr| addr.ip().to_canonical()),
            is_dialed: origin == Origin::Dialed,
        }
    }
}

impl Link {
    /// A link that is up and has no name yet.
    pub(super) fn new(claim: Claim, deadline: Instant) -> Link {
        Link { claim, is_up: true, state: NameState::undecided(deadline), meter: None }
    }

    /// Whether the peer has this name.
    pub(super) fn is_named(&self, name: Ident32) -> bool {
        matches!(self.state, NameState::Named(own) if own == name)
    }

    /// Whether the peer has the name that it claims.
    pub(super) fn has_claimed_name(&self) -> bool {
        self.is_named(self.claim.id)
    }

    pub(super) fn is_undecided(&self) -> bool {
        matches!(self.state, NameState::Undecided { .. })
    }

    /// When the claim has to be decided; `None` if the peer has a name.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            NameState::Undecided { deadline, .. } => Some(deadline),
            NameState::Named(_) => None,
        }
    }
}

impl NameState {
    pub(super) fn undecided(deadline: Instant) -> NameState {
        NameState::Undecided { deadline, held: Vec::new() }
    }
}

/// The peers that were reached and still are peers.
#[derive(Debug, Default)]
pub(super) struct Links(HashMap<Target, Link>);

impl Links {
    pub(super) fn get(&self, target: Target) -> Option<&Link> {
        self.0.get(&target)
    }

    pub(super) fn get_mut(&mut self, target: Target) -> Option<&mut Link> {
        self.0.get_mut(&target)
    }

    pub(super) fn insert(&mut self, target: Target, link: Link) {
        self.0.insert(target, link);
    }

    pub(super) fn remove(&mut self, target: Target) -> Option<Link> {
        self.0.remove(&target)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Target, &Link)> {
        self.0.iter().map(|(target, link)| (*target, link))
    }

    pub(super) fn is_up(&self, target: Target) -> bool {
        self.get(target).is_some_and(|link| link.is_up)
    }

    pub(super) fn is_undecided(&self, target: Target) -> bool {
        self.get(target).is_some_and(Link::is_undecided)
    }

    /// The name of a peer, if it has one.
    pub(super) fn name(&self, target: Target) -> Option<Ident32> {
        match self.get(target)?.state {
            NameState::Named(name) => Some(name),
            NameState::Undecided { .. } => None,
        }
    }

    /// The peers without a name.
    pub(super) fn undecided(&self) -> Vec<Target> {
        self.iter().filter(|(_, link)| link.is_undecided()).map(|(target, _)| target).collect()
    }

    /// The peers whose claim has to be decided by now.
    pub(super) fn overdue(&self, now: Instant) -> Vec<Target> {
        let is_overdue = |link: &Link| link.deadline().is_some_and(|deadline| deadline <= now);
        self.iter().filter(|(_, link)| is_overdue(link)).map(|(target, _)| target).collect()
    }

    /// The peer that is up and has claimed this name for the longest time without having it.
    pub(super) fn first_claimant(&self, name: Ident32) -> Option<Target> {
        let is_claimant = |link: &Link| link.is_up && link.claim.id == name && !link.is_named(name);
        self.iter().filter(|(_, link)| is_claimant(link)).map(|(target, _)| target).min()
    }

    /// The best of these peers: one that is up, that has shown a key, that is dialed.
    pub(super) fn preferred(&self, targets: &[Target]) -> Option<Target> {
        targets.iter().copied().min_by_key(|target| {
            let rank = |link: &Link| (!link.is_up, link.claim.key.is_none(), !link.claim.is_dialed);
            (self.get(*target).map_or((true, true, true), rank), *target)
        })
    }

    /// Whether two peers are known to be one router: both have shown the same key; or both are
    /// plain, and one of them is dialed at the address that the other comes from.
    pub(super) fn is_same_router(
        &self,
        endpoint: &InetEndpoint,
        one: Target,
        other: Target,
    ) -> bool {
        let (Some(a), Some(b)) = (self.get(one), self.get(other)) else { return false };
        let (a, b) = (a.claim, b.claim);
        if a.key.is_some() || b.key.is_some() {
            return a.key == b.key;
        }
        // A peer that this node dials is configured, and trusted as much as its address is.
        let resolves_to = |dialed: Target, ip: Option<IpAddr>| {
            let peer = endpoint.peer(dialed);
            let resolved = peer.iter().flat_map(|peer| &peer.resolved);
            ip.is_some_and(|ip| resolved.into_iter().any(|addr| addr.ip().to_canonical() == ip))
        };
        let has_same_addr =
            a.is_dialed && resolves_to(one, b.ip) || b.is_dialed && resolves_to(other, a.ip);
        has_same_addr && is_plain(endpoint, one) && is_plain(endpoint, other)
    }

    /// Whether a peer is a plain Ratman node that dialed this one.
    pub(super) fn is_plain_dialer(&self, endpoint: &InetEndpoint, target: Target) -> bool {
        let was_dialed = self.get(target).is_some_and(|link| link.claim.is_dialed);
        !was_dialed && is_plain(endpoint, target)
    }

    /// What the present link of a peer carries.
    pub(super) fn metrics(&mut self, peer: &PeerInfo) -> Option<NeighbourMetrics> {
        if peer.state != PeerState::Up {
            return None;
        }
        let link = self.get_mut(peer.target)?;
        let now = Sample::now(peer);
        let meter = link.meter.take().filter(|meter| meter.is_of(&now));
        link.meter.insert(meter.unwrap_or_else(|| Meter::new(now, peer.since))).look(now)
    }
}

/// Whether a peer is a plain Ratman node. Of any other the endpoint finds out itself whether two
/// peers are one node, and merges them.
fn is_plain(endpoint: &InetEndpoint, target: Target) -> bool {
    endpoint.peer(target).is_some_and(|peer| peer.is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(id: u8, key: Option<u8>, origin: Origin) -> Link {
        let key = key.map(|key| PublicKey::from_bytes([key; 32]));
        Link::new(Claim::new(Id::from_bytes([id; 32]), key, None, origin), Instant::now())
    }

    #[test]
    fn the_preferred_peer_is_up_then_keyed_then_dialed() {
        let mut links = Links::default();
        links.insert(0.into(), link(1, None, Origin::Accepted));
        links.insert(1.into(), link(1, None, Origin::Dialed));
        links.insert(2.into(), link(1, Some(7), Origin::Accepted));
        links.insert(3.into(), link(1, Some(7), Origin::Dialed));
        assert_eq!(links.preferred(&[0.into(), 1.into(), 2.into(), 3.into()]), Some(3.into()));
        links.get_mut(3.into()).expect("it is there").is_up = false;
        assert_eq!(links.preferred(&[0.into(), 1.into(), 2.into(), 3.into()]), Some(2.into()));
        assert_eq!(links.preferred(&[0.into(), 1.into(), 3.into()]), Some(1.into()));
        assert_eq!(links.preferred(&[]), None);
    }
}
