//! Which neighbour the router means by an id: names, claims on them, and frames that wait for each.
//!
//! `netmod-inet` knows peers by targets, Ratman knows neighbours by router ids, which anybody can
//! claim. A *name* is the id by which the router knows a neighbour: the one that it claims, or a
//! random one.
//!
//! ```text
//!             id is free, or its holder has no live link,
//!             or is proved to be the same node
//!   link up ─────────────────────────────────────────────────► named by the id that it claims
//!      │                                                              ▲
//!      │ the holder is up                                             │ merged with the holder,
//!      └──────────────────► undecided, 2 s at most ───────────────────┤ or the holder went down
//!                                     │                               │
//!                                     └──────► random name ───────────┘
//! ```
//!
//! | module | what it has |
//! |---|---|
//! | [`links`] | the peers that were reached, and what each claims |
//! | [`names`] | the names, who has them, and frames that came back for them |
//! | [`last_names`] | the names of peers that ended |
//! | [`held`] | frames that arrived before their sender had a name |
//! | [`registry`] | the rules above: who gets which name |

mod held;
mod last_names;
mod links;
mod names;
mod registry;

use std::collections::HashSet;
use std::time::Instant;

use libratman::endpoint::NeighbourMetrics;
use libratman::types::Ident32;
use netmod_inet::{DownReason, Event, Frame, InetEndpoint, PeerInfo, PeerState, Received, Target};

use links::{Claim, Link};
use registry::Registry;

/// The peers that were reached and those that may come back, by the names that the router has for
/// them.
#[derive(Debug)]
pub(crate) struct Neighbours {
    registry: Registry,
    /// When something is due next, other than after an event; the outer `None` means that it has to
    /// be computed again.
    due: Option<Option<Instant>>,
}

/// Where a frame for a name goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    To(Target),
    /// Behind frames that came back and go first. The peer that they go to, if it has a link, and
    /// the length of the first of them in bytes.
    Behind(Option<(Target, usize)>),
    /// Nobody has the name now, since then.
    Away(Instant),
    /// Nobody is known by this name.
    Unknown,
}

/// Who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Named(Ident32),
    Undecided,
}

impl Neighbours {
    /// The neighbours that an endpoint has.
    pub(crate) fn new(endpoint: &InetEndpoint) -> Neighbours {
        let registry = Registry::new(endpoint.limits().peers);
        let mut neighbours = Neighbours { registry, due: None };
        neighbours.catch_up(endpoint, Instant::now());
        neighbours
    }

    /// Applies an event of the endpoint.
    pub(crate) fn apply(&mut self, endpoint: &InetEndpoint, event: Event, now: Instant) {
        self.due = None;
        let registry = &mut self.registry;
        match event {
            Event::Up { target, id, addr, origin, key, .. } => {
                registry.on_up(endpoint, target, Claim::new(id, key, addr, origin), now);
            }
            Event::Down { target, reason, .. } => registry.on_down(endpoint, target, &reason, now),
            Event::Unconfirmed { target, .. } => registry.keep_unconfirmed(endpoint, target, now),
            Event::Merged { target, retired } => {
                registry.on_merged(endpoint, target, retired, now);
            }
            Event::Removed { target } => registry.on_removed(endpoint, target, now),
            Event::Missed { .. } => self.catch_up(endpoint, now),
            _ => {}
        }
    }

    /// Makes up for events that were missed, in the order of targets.
    fn catch_up(&mut self, endpoint: &InetEndpoint, now: Instant) {
        let peers = endpoint.peers();
        // One of the events may have been about any of them. Before their names change.
        let known: HashSet<_> = self.registry.known_targets().collect();
        for target in known {
            self.registry.keep_unconfirmed(endpoint, target, now);
        }
        let is_peer = |target| peers.binary_search_by_key(&target, |peer| peer.target).is_ok();
        let links = self.registry.links.iter().map(|(target, _)| target);
        let ended: Vec<_> = links.filter(|target| !is_peer(*target)).collect();
        ended.into_iter().for_each(|target| self.registry.on_removed(endpoint, target, now));
        // Those that are down first, for others may have taken their names.
        for peer in peers.iter().filter(|peer| peer.state != PeerState::Up) {
            if self.registry.links.is_up(peer.target) {
                self.registry.on_down(endpoint, peer.target, &DownReason::Closed, now);
            }
        }
        for peer in &peers {
            let Some(id) = peer.id.filter(|_| peer.state == PeerState::Up) else { continue };
            let claim = Claim::new(id, peer.key, peer.addr, peer.origin);
            self.registry.on_up(endpoint, peer.target, claim, now);
        }
    }

    /// Does what is due by now.
    pub(crate) fn tick(&mut self, endpoint: &InetEndpoint, now: Instant) {
        // Nearly always there is nothing to do, and this is called for each frame.
        for name in self.registry.names.sendable() {
            self.registry.resend(endpoint, name);
        }
        self.registry.report.write_if_due(now);
        if self.due.is_some_and(|due| due.is_none_or(|due| now < due)) {
            return;
        }
        for target in self.registry.links.overdue(now) {
            self.registry.on_claim_timeout(endpoint, target, now);
        }
        self.registry.names.expire(now, &mut self.registry.report);
        self.due = Some(self.next_deadline());
    }

    /// When something is due next, other than after an event.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        let due = self.due.unwrap_or_else(|| self.next_deadline());
        self.due = Some(due);
        due.into_iter().chain(self.registry.report.due()).min()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let claims = self.registry.links.iter().filter_map(|(_, link)| link.deadline());
        claims.chain(self.registry.names.next_expiry()).min()
    }

    /// Counts an envelope that was given back or thrown away.
    pub(crate) fn refused(&mut self, neighbour: Option<Ident32>, reason: &'static str) {
        self.registry.report.refused(neighbour, reason);
    }

    /// Counts a frame that arrived twice and was not handed out again.
    pub(crate) fn dropped_duplicate(&mut self) {
        self.registry.report.dropped_duplicate();
    }

    /// The peers whose queues have no room for what came back for them, and the size of its first
    /// frame.
    pub(crate) fn blocked(&self) -> Vec<(Target, usize)> {
        self.registry.names.blocked(&self.registry.links)
    }

    /// Where a frame for this name goes.
    pub(crate) fn route(&self, id: &Ident32) -> Route {
        let Registry { links, names, .. } = &self.registry;
        let Some(name) = names.get(id) else { return Route::Unknown };
        match (links.preferred(&name.holders), name.returned.front(), name.away_since) {
            (Some(target), None, _) => Route::To(target),
            (Some(target), Some(first), _) => {
                Route::Behind(links.is_up(target).then_some((target, first.len())))
            }
            (None, _, Some(since)) => Route::Away(since),
            (None, _, None) => Route::Unknown,
        }
    }

    /// The peer by which this neighbour is reached.
    pub(crate) fn target(&self, id: &Ident32) -> Option<Target> {
        let Registry { links, names, .. } = &self.registry;
        names.get(id).and_then(|name| links.preferred(&name.holders))
    }

    /// The peers that a flood is not for: those whose router is left out, or reached by another
    /// link.
    pub(crate) fn left_out(&self, except: &[Ident32]) -> Vec<Target> {
        let Registry { links, names, .. } = &self.registry;
        let mut left_out: HashSet<Target> = HashSet::new();
        for name in names.iter().filter(|name| name.holders.len() > 1) {
            let preferred = links.preferred(&name.holders);
            left_out.extend(name.holders.iter().filter(|target| Some(**target) != preferred));
        }
        for (target, link) in links.iter() {
            if link.is_undecided() || except.iter().any(|id| self.may_be(link, id)) {
                left_out.insert(target);
            }
        }
        left_out.into_iter().collect()
    }

    /// Whether a link may lead to the router that has this name: it has the name, or claims it; or
    /// a holder of the name claims the same id as this link, and both come from one address or this
    /// node dials one of them.
    fn may_be(&self, link: &Link, id: &Ident32) -> bool {
        let Registry { links, names, .. } = &self.registry;
        let is_alike = || {
            names.holders(id).filter_map(|target| links.get(target)).any(|holder| {
                let has_same_ip = holder.claim.ip.is_some() && holder.claim.ip == link.claim.ip;
                let is_dialed = holder.claim.is_dialed || link.claim.is_dialed;
                holder.claim.id == link.claim.id && (has_same_ip || is_dialed)
            })
        };
        link.is_named(*id) || link.claim.id == *id || is_alike()
    }

    /// The name of a peer.
    pub(crate) fn name(&self, target: Target) -> Option<Ident32> {
        self.registry.links.name(target)
    }

    /// Who sent a frame; the peer may have ended by now.
    pub(crate) fn sender(&self, target: Target) -> Sender {
        match self.registry.links.is_undecided(target) {
            true => Sender::Undecided,
            false => Sender::Named(self.registry.last_name(target)),
        }
    }

    /// Whether a peer is a plain Ratman node that dialed this one.
    pub(crate) fn is_plain_dialer(&self, endpoint: &InetEndpoint, target: Target) -> bool {
        self.registry.links.is_plain_dialer(endpoint, target)
    }

    /// Holds a frame of an undecided link until its claim is decided.
    pub(crate) fn hold(&mut self, received: Received) {
        self.due = None;
        self.registry.hold(received);
    }

    /// Has a frame wait behind those of links that were undecided.
    pub(crate) fn push_ready(&mut self, name: Ident32, received: Received) {
        self.registry.held.push(name, received);
    }

    /// Takes the next frame that waits to be handed out.
    pub(crate) fn pop_ready(&mut self) -> Option<(Ident32, Received)> {
        self.registry.held.pop()
    }

    /// Whether a frame of a link that was undecided waits to be handed out.
    pub(crate) fn has_ready(&self) -> bool {
        !self.registry.held.is_empty()
    }

    /// Decides all claims: the endpoint ended, and no event will do so.
    pub(crate) fn decide_all(&mut self) {
        for target in self.registry.links.undecided() {
            self.registry.assign_random_name(target);
        }
    }

    /// Keeps a frame for a neighbour that is away, or behind what came back for it.
    pub(crate) fn defer(&mut self, endpoint: &InetEndpoint, name: Ident32, frame: Frame) {
        self.due = None;
        self.registry.defer(endpoint, name, frame, Instant::now());
    }

    /// What the present link of a peer carries.
    pub(crate) fn metrics(&mut self, peer: &PeerInfo) -> Option<NeighbourMetrics> {
        self.registry.links.metrics(peer)
    }

    /// Gives up all frames that wait, because the endpoint ended.
    pub(crate) fn give_up_all(&mut self) {
        let Registry { names, report, .. } = &mut self.registry;
        names.give_up_all(report);
        report.write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmod_inet::{Id, Origin, PublicKey};
    use std::net::SocketAddr;

    use registry::CLAIM_TIMEOUT;

    fn id(byte: u8) -> Ident32 {
        Ident32::from([byte; 32])
    }

    #[test]
    fn a_flood_leaves_out_all_links_that_may_lead_to_an_excluded_router() {
        let endpoint = smol::block_on(InetEndpoint::builder().start()).expect("no socket");
        let mut neighbours = Neighbours::new(&endpoint);
        let now = Instant::now();
        let mut up = |target: u16, id: u8, key: Option<u8>, origin: Origin| {
            let key = key.map(|key| PublicKey::from_bytes([key; 32]));
            let addr = SocketAddr::from(([192, 0, 2, 1], target));
            let claim = Claim::new(Id::from_bytes([id; 32]), key, Some(addr), origin);
            neighbours.registry.on_up(&endpoint, target.into(), claim, now);
        };
        up(0, 1, Some(7), Origin::Accepted);
        up(1, 1, Some(7), Origin::Dialed);
        up(2, 2, None, Origin::Accepted);
        up(3, 2, None, Origin::Accepted);
        let left_out = |neighbours: &Neighbours, except: &[Ident32]| {
            let left_out = neighbours.left_out(except);
            let mut left_out: Vec<_> = left_out.into_iter().map(u16::from).collect();
            left_out.sort_unstable();
            left_out
        };
        assert_eq!(left_out(&neighbours, &[]), [0, 3], "one link to each, and no undecided one");
        assert_eq!(left_out(&neighbours, &[id(1)]), [0, 1, 3]);
        neighbours.tick(&endpoint, now + CLAIM_TIMEOUT);
        assert_eq!(left_out(&neighbours, &[]), [0]);
        let other = neighbours.name(3.into()).expect("it is decided");
        assert_eq!(left_out(&neighbours, &[id(2)]), [0, 2, 3]);
        assert_eq!(left_out(&neighbours, &[other]), [0, 2, 3], "they come from one address");
    }
}
