//! Which neighbour the router means by an id.

use std::collections::{HashMap, VecDeque};

use libratman::endpoint::NeighbourMetrics;
use libratman::types::Ident32;
use netmod_inet::{Event, Events, Id, InetEndpoint, PeerInfo, PeerState, Target};

use crate::meter::{Mark, Meter};

/// The names of all neighbours that were ever reached and still are peers.
///
/// It learns of them from the endpoint's events, whenever somebody looks.
#[derive(Debug)]
pub(crate) struct Names {
    events: Events,
    live: HashMap<Target, Neighbour>,
    /// Whom each name in `live` stands for.
    targets: HashMap<Ident32, Target>,
    /// The names of peers that ended, the latest last: frames of theirs may still wait.
    gone: VecDeque<(Target, Ident32)>,
    /// How many of those are kept: as many as there can be peers.
    keep: usize,
    /// Peers that may have left something unconfirmed.
    lost: HashMap<Target, Ident32>,
}

#[derive(Debug)]
struct Neighbour {
    /// The router id that it claimed in its last handshake.
    claim: Id,
    name: Ident32,
    meter: Option<Meter>,
}

impl Names {
    /// The names of the peers that an endpoint has, and of those that it gets.
    pub(crate) fn new(endpoint: &InetEndpoint) -> Names {
        let mut names = Names {
            // Before the peers are looked at, so that none is missed in between.
            events: endpoint.events(),
            live: HashMap::new(),
            targets: HashMap::new(),
            gone: VecDeque::new(),
            keep: endpoint.limits().peers,
            lost: HashMap::new(),
        };
        names.catch_up(&endpoint.peers());
        names
    }

    /// Takes note of what happened since the last time.
    pub(crate) fn refresh(&mut self, endpoint: &InetEndpoint) {
        let mut missed = false;
        while let Ok(Some(event)) = self.events.try_next() {
            match event {
                Event::Up { target, id, .. } => self.enter(target, id),
                Event::Unconfirmed { target, .. } => self.lose(target),
                Event::Removed { target } => self.leave(target),
                Event::Missed { .. } => missed = true,
                _ => {}
            }
        }
        if missed {
            self.catch_up(&endpoint.peers());
            // One of the events may have been about any of them.
            let all = self.live.keys().chain(self.gone.iter().map(|(target, _)| target));
            let all: Vec<_> = all.copied().collect();
            all.into_iter().for_each(|target| self.lose(target));
        }
    }

    /// Who has this name.
    pub(crate) fn target(&self, name: &Ident32) -> Option<Target> {
        self.targets.get(name).copied()
    }

    /// The name of a peer.
    pub(crate) fn name(&self, target: Target) -> Option<Ident32> {
        self.live.get(&target).map(|neighbour| neighbour.name)
    }

    /// The name of whoever sent a frame, who may be gone by now.
    pub(crate) fn name_of_sender(&self, target: Target) -> Ident32 {
        let gone = || self.gone.iter().rev().find(|(other, _)| *other == target);
        self.name(target)
            .or_else(|| gone().map(|(_, name)| *name))
            // Only if more peers came and went than there can be at once while the router did not
            // look. The frame still goes to it, under an id that names nobody.
            .unwrap_or_else(Ident32::random)
    }

    /// What the present link of a peer carries.
    pub(crate) fn metrics(&mut self, peer: &PeerInfo) -> Option<NeighbourMetrics> {
        if peer.state != PeerState::Up {
            return None;
        }
        let neighbour = self.live.get_mut(&peer.target)?;
        let now = Mark::now(peer);
        let meter = neighbour.meter.take().filter(|meter| meter.is_of(&now));
        neighbour.meter.insert(meter.unwrap_or_else(|| Meter::new(now, peer.since))).look(now)
    }

    /// Takes the peers that may have left something unconfirmed, and their names.
    pub(crate) fn take_lost(&mut self) -> Vec<(Target, Ident32)> {
        self.lost.drain().collect()
    }

    fn lose(&mut self, target: Target) {
        let name = self.name_of_sender(target);
        self.lost.insert(target, name);
    }

    /// A peer's link is up, and it claims this id.
    fn enter(&mut self, target: Target, claim: Id) {
        if self.live.get(&target).is_some_and(|neighbour| neighbour.claim == claim) {
            return;
        }
        self.leave(target);
        let claimed = Ident32::from(claim.as_bytes());
        let name = match self.targets.contains_key(&claimed) {
            true => Ident32::random(),
            false => claimed,
        };
        self.targets.insert(name, target);
        self.live.insert(target, Neighbour { claim, name, meter: None });
    }

    /// A peer ended, or is somebody else now.
    fn leave(&mut self, target: Target) {
        let Some(neighbour) = self.live.remove(&target) else { return };
        self.targets.remove(&neighbour.name);
        if self.gone.len() >= self.keep {
            self.gone.pop_front();
        }
        self.gone.push_back((target, neighbour.name));
    }

    /// Makes up for events that were missed, in the order of targets.
    fn catch_up(&mut self, peers: &[PeerInfo]) {
        let is_peer = |target| peers.binary_search_by_key(target, |peer| peer.target).is_ok();
        let ended: Vec<_> = self.live.keys().filter(|target| !is_peer(target)).copied().collect();
        ended.into_iter().for_each(|target| self.leave(target));
        for peer in peers {
            if let Some(id) = peer.id {
                self.enter(peer.target, id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(keep: usize) -> Names {
        let endpoint = smol::block_on(InetEndpoint::builder().start()).expect("no socket to open");
        Names { keep, ..Names::new(&endpoint) }
    }

    fn sizes(names: &Names) -> [usize; 3] {
        [names.live.len(), names.targets.len(), names.gone.len()]
    }

    #[test]
    fn as_many_names_as_peers_however_many_come_and_go() {
        let mut names = names(4);
        for target in 0..10_000 {
            // One in three claims what another has.
            let claim = Id::from_bytes([u8::try_from(target % 3).expect("small"); 32]);
            names.enter(target, claim);
            assert!(names.name(target).is_some());
            if target >= 4 {
                names.leave(target - 4);
            }
        }
        assert_eq!(sizes(&names), [4, 4, 4]);
    }

    #[test]
    fn a_peer_that_claims_another_id_gets_another_name() {
        let mut names = names(4);
        let [a, b] = [1, 2].map(|byte| Id::from_bytes([byte; 32]));
        let [name_a, name_b] = [1, 2].map(|byte| Ident32::from([byte; 32]));
        names.enter(0, a);
        names.enter(1, a);
        let own = names.name(1).expect("a name");
        assert_ne!(own, name_a);
        names.enter(1, a);
        assert_eq!(names.name(1), Some(own), "a new link, the same name");
        names.enter(1, b);
        assert_eq!((names.name(1), names.target(&own)), (Some(name_b), None));
        names.enter(0, b);
        assert_eq!(names.target(&name_a), None);
        assert_eq!(names.target(&name_b), Some(1));
        assert_eq!(names.name(0).and_then(|name| names.target(&name)), Some(0));
    }

    #[test]
    fn a_sender_that_ended_is_known_by_its_last_name() {
        let mut names = names(2);
        for (target, byte) in [(0, 1), (1, 2), (0, 3)] {
            names.enter(target, Id::from_bytes([byte; 32]));
            names.leave(target);
        }
        assert_eq!(names.name_of_sender(0), Ident32::from([3; 32]));
        assert_eq!(names.name_of_sender(1), Ident32::from([2; 32]));
        names.leave(0);
        assert_ne!(names.name_of_sender(7), names.name_of_sender(8), "nobody's name");
    }
}
