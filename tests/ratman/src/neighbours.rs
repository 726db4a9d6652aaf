//! Which neighbour the router means by an id: names, claims on them, and what waits for each.
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

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libratman::endpoint::NeighbourMetrics;
use libratman::types::Ident32;
use netmod_inet::{
    DownReason, Event, Frame, Id, InetEndpoint, Origin, PeerInfo, PeerState, PublicKey, Received,
    SendErrorKind, Target,
};

use crate::meter::{Mark, Meter};
use crate::report::{Report, TARGET};
use crate::returned::{GivenUp, MAX_AGE, Returned};

/// Time in which the holder of a name has to show that it lives, or that it is the same node as the
/// newcomer. The endpoint looks at it as soon as the newcomer is up.
const VERDICT: Duration = Duration::from_secs(2);

/// What undecided links may have sent together until one of them is decided at once.
const MAX_HELD_BYTES: usize = 1 << 20;

/// What may wait for all neighbours together after it came back.
const MAX_RETURNED_BYTES: usize = 8 << 20;

/// Names that are kept though no peer has them: of neighbours that may come back.
const MAX_AWAY: usize = 1024;

const NO_LONGER_WANTED: &str = "the neighbour was away for 10 minutes";
const NO_ROOM_TO_WAIT: &str = "too much waits for neighbours that are away";
const NOT_TAKEN: &str = "the neighbour that came back does not take it";

/// The peers that were reached and those that may come back, by the names that the router has for
/// them.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// Peers that were reached and still are peers.
    links: HashMap<Target, Link>,
    names: HashMap<Ident32, Name>,
    /// The names of peers that ended, the latest last: frames of theirs may still wait.
    gone: VecDeque<(Target, Ident32)>,
    /// How many of those are kept: as many as there can be peers.
    max_gone: usize,
    /// Frames of links that were undecided when they arrived, with their names by now.
    ready: VecDeque<(Ident32, Received)>,
    held_bytes: usize,
    returned_bytes: usize,
    /// Names with a live link for which something is left that came back: there was no room.
    sendable: HashSet<Ident32>,
    report: Report,
    /// When something is due next, other than after an event; `None` if that has to be found out.
    due: Option<Option<Instant>>,
}

/// A peer that was reached.
#[derive(Debug)]
struct Link {
    /// The router id that it claimed in its last handshake.
    claim: Ident32,
    key: Option<PublicKey>,
    /// The address that its link comes from, or leads to.
    ip: Option<IpAddr>,
    is_dialed: bool,
    is_up: bool,
    standing: Standing,
    meter: Option<Meter>,
}

#[derive(Debug)]
enum Standing {
    Named(Ident32),
    /// Another peer has the name, and is being looked at.
    Undecided {
        until: Instant,
        /// What it sent meanwhile.
        held: Vec<Received>,
    },
}

/// A name, and what belongs to it.
#[derive(Debug, Default)]
struct Name {
    /// The peers that have it: several if they are known to be one router.
    holders: Vec<Target>,
    /// The key that the first of them showed. Only a peer that shows it can have the name.
    key: Option<PublicKey>,
    returned: Returned,
    /// Since when no peer has it.
    away_since: Option<Instant>,
    /// Whether this node dials one of those that had it.
    was_dialed: bool,
}

/// Where a frame for a name goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    To(Target),
    /// Behind what came back and goes first: to this peer, if it has a link, and the first of that has
    /// so many bytes.
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
        let mut neighbours = Neighbours {
            links: HashMap::new(),
            names: HashMap::new(),
            gone: VecDeque::new(),
            max_gone: endpoint.limits().peers,
            ready: VecDeque::new(),
            held_bytes: 0,
            returned_bytes: 0,
            sendable: HashSet::new(),
            report: Report::new(),
            due: None,
        };
        neighbours.catch_up(endpoint, Instant::now());
        neighbours
    }

    /// Takes note of something that happened.
    pub(crate) fn apply(&mut self, endpoint: &InetEndpoint, event: Event, now: Instant) {
        self.due = None;
        match event {
            Event::Up { target, id, addr, origin, key, .. } => {
                let ip = addr.map(|addr| addr.ip().to_canonical());
                self.up(endpoint, target, Claim { id, key, ip, origin }, now);
            }
            Event::Down { target, reason, .. } => {
                self.down(endpoint, target, &reason, now);
            }
            Event::Unconfirmed { target, .. } => {
                let frames = endpoint.take_unconfirmed(target);
                let name = self.last_name(target);
                self.keep_returned(endpoint, name, frames, now);
            }
            Event::Merged { target, retired } => self.merged(endpoint, target, retired, now),
            Event::Removed { target } => self.removed(endpoint, target, now),
            Event::Missed { .. } => self.catch_up(endpoint, now),
            _ => {}
        }
    }

    /// Does what is due by now.
    pub(crate) fn tick(&mut self, endpoint: &InetEndpoint, now: Instant) {
        // Nearly always there is nothing to do, and this is called for each frame.
        for name in self.sendable.iter().copied().collect::<Vec<_>>() {
            self.send_returned(endpoint, name);
        }
        self.report.write_if_due(now);
        if self.due.is_some_and(|due| due.is_none_or(|due| now < due)) {
            return;
        }
        let overdue = |link: &Link| match &link.standing {
            Standing::Undecided { until, .. } => *until <= now,
            Standing::Named(_) => false,
        };
        let overdue: Vec<_> =
            self.links.iter().filter(|(_, link)| overdue(link)).map(|(at, _)| *at).collect();
        overdue.into_iter().for_each(|target| self.give_verdict(endpoint, target, now));
        let waiting = self.names.iter().filter(|(_, name)| !name.returned.is_empty());
        let waiting: Vec<_> = waiting.map(|(id, _)| *id).collect();
        waiting.into_iter().for_each(|name| self.expire(name, now));
        let is_over = |name: &Name| {
            let is_long = |since: Instant| now.saturating_duration_since(since) > MAX_AGE;
            name.returned.is_empty() && name.away_since.is_some_and(is_long)
        };
        self.names.retain(|_, name| !is_over(name));
        self.due = Some(self.find_due());
    }

    /// When something is due next, other than after an event.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        let due = self.due.unwrap_or_else(|| self.find_due());
        self.due = Some(due);
        due.into_iter().chain(self.report.due()).min()
    }

    fn find_due(&self) -> Option<Instant> {
        let verdicts = self.links.values().filter_map(|link| match &link.standing {
            Standing::Undecided { until, .. } => Some(*until),
            Standing::Named(_) => None,
        });
        let expiries = self.names.values().filter_map(|name| name.returned.expires());
        let over = self.names.values().filter_map(|name| Some(name.away_since? + MAX_AGE));
        // Only when it has passed is such a name forgotten.
        let over = over.map(|over| over + Duration::from_millis(1));
        verdicts.chain(expiries).chain(over).min()
    }

    /// Counts an envelope that was given back or thrown away.
    pub(crate) fn refused(&mut self, neighbour: Option<Ident32>, reason: &'static str) {
        self.report.refused(neighbour, reason);
    }

    /// The peers whose queues have no room for what came back for them, and the size of its first
    /// frame.
    pub(crate) fn blocked(&self) -> Vec<(Target, usize)> {
        let blocked = self.sendable.iter().filter_map(|id| {
            let name = self.names.get(id)?;
            Some((self.preferred(name)?, name.returned.front()?.len()))
        });
        blocked.collect()
    }

    /// Where a frame for this name goes.
    pub(crate) fn route(&self, name: &Ident32) -> Route {
        let Some(entry) = self.names.get(name) else { return Route::Unknown };
        match (self.preferred(entry), entry.returned.front(), entry.away_since) {
            (Some(target), None, _) => Route::To(target),
            (Some(target), Some(first), _) => {
                Route::Behind(self.is_up(&target).then_some((target, first.len())))
            }
            (None, _, Some(since)) => Route::Away(since),
            (None, _, None) => Route::Unknown,
        }
    }

    /// The peer by which this neighbour is reached.
    pub(crate) fn target(&self, name: &Ident32) -> Option<Target> {
        self.names.get(name).and_then(|entry| self.preferred(entry))
    }

    /// The peers that a flood is not for: those whose router is left out, or reached by another link.
    pub(crate) fn left_out(&self, except: &[Ident32]) -> Vec<Target> {
        let mut left_out: HashSet<Target> = HashSet::new();
        for entry in self.names.values().filter(|entry| entry.holders.len() > 1) {
            let preferred = self.preferred(entry);
            left_out.extend(entry.holders.iter().filter(|target| Some(**target) != preferred));
        }
        for (target, link) in &self.links {
            let is_undecided = matches!(link.standing, Standing::Undecided { .. });
            if is_undecided || except.iter().any(|id| self.may_be(link, id)) {
                left_out.insert(*target);
            }
        }
        left_out.into_iter().collect()
    }

    /// Whether a link may lead to the router that has this name: it has the name, or claims it; or
    /// the one with the name claims the same as this link, from the same place or where this node
    /// dials.
    fn may_be(&self, link: &Link, name: &Ident32) -> bool {
        let has_name = matches!(link.standing, Standing::Named(own) if own == *name);
        let is_alike = || {
            let holders = self.names.get(name).into_iter().flat_map(|entry| &entry.holders);
            holders.filter_map(|target| self.links.get(target)).any(|holder| {
                let is_near = holder.ip.is_some() && holder.ip == link.ip;
                holder.claim == link.claim && (is_near || holder.is_dialed || link.is_dialed)
            })
        };
        has_name || link.claim == *name || is_alike()
    }

    /// The name of a peer.
    pub(crate) fn name(&self, target: Target) -> Option<Ident32> {
        match self.links.get(&target)?.standing {
            Standing::Named(name) => Some(name),
            Standing::Undecided { .. } => None,
        }
    }

    /// Who sent a frame; it may be gone by now.
    pub(crate) fn sender(&self, target: Target) -> Sender {
        match self.links.get(&target).map(|link| &link.standing) {
            Some(Standing::Undecided { .. }) => Sender::Undecided,
            _ => Sender::Named(self.last_name(target)),
        }
    }

    /// Holds what an undecided link sent, until it is decided. If too much is held, that is now.
    pub(crate) fn hold(&mut self, received: Received) {
        self.due = None;
        let target = received.target();
        let len = received.frame().len();
        let link = self.links.get_mut(&target);
        if let Some(Link { standing: Standing::Undecided { held, .. }, .. }) = link {
            held.push(received);
            self.held_bytes += len;
            if self.held_bytes > MAX_HELD_BYTES {
                self.give_random_name(target);
            }
        }
    }

    /// Has a frame wait behind those of links that were undecided.
    pub(crate) fn push_ready(&mut self, name: Ident32, received: Received) {
        self.held_bytes += received.frame().len();
        self.ready.push_back((name, received));
    }

    /// Takes the next frame that waits to be handed out.
    pub(crate) fn pop_ready(&mut self) -> Option<(Ident32, Received)> {
        let ready = self.ready.pop_front()?;
        self.held_bytes = self.held_bytes.saturating_sub(ready.1.frame().len());
        Some(ready)
    }

    /// Whether a frame of a link that was undecided waits to be handed out.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Decides all links: the endpoint ended, and no verdict will come.
    pub(crate) fn decide_all(&mut self) {
        let undecided: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| matches!(link.standing, Standing::Undecided { .. }))
            .map(|(target, _)| *target)
            .collect();
        undecided.into_iter().for_each(|target| self.give_random_name(target));
    }

    /// Keeps a frame for a neighbour that is away, or behind what came back for it.
    pub(crate) fn keep(&mut self, endpoint: &InetEndpoint, name: Ident32, frame: Frame) {
        let now = Instant::now();
        self.add_returned(name, now, |returned| returned.push(frame, now));
        self.send_returned(endpoint, name);
    }

    /// What the present link of a peer carries.
    pub(crate) fn metrics(&mut self, peer: &PeerInfo) -> Option<NeighbourMetrics> {
        if peer.state != PeerState::Up {
            return None;
        }
        let link = self.links.get_mut(&peer.target)?;
        let now = Mark::now(peer);
        let meter = link.meter.take().filter(|meter| meter.is_of(&now));
        link.meter.insert(meter.unwrap_or_else(|| Meter::new(now, peer.since))).look(now)
    }

    /// Gives up what still waits, because the endpoint ended.
    pub(crate) fn give_up_all(&mut self) {
        let names: Vec<_> = self.names.keys().copied().collect();
        for id in names {
            let Some(name) = self.names.get_mut(&id) else { continue };
            let given_up = name.returned.evict(usize::MAX);
            self.report.given_up(id, given_up, "this node was shut down");
        }
        self.returned_bytes = 0;
        self.report.write();
    }

    /// A peer's link is up, and it claims an id.
    fn up(&mut self, endpoint: &InetEndpoint, target: Target, claim: Claim, now: Instant) {
        let Claim { id, key, ip, origin } = claim;
        let claim = Ident32::from(id.as_bytes());
        if let Some(link) = self.links.get_mut(&target) {
            let is_known = link.claim == claim && link.key == key;
            let has_claim = matches!(link.standing, Standing::Named(name) if name == claim);
            let is_undecided = matches!(link.standing, Standing::Undecided { .. });
            if is_known && (has_claim || is_undecided || link.is_up) {
                (link.is_up, link.ip) = (true, ip);
                return self.send_returned(endpoint, claim);
            }
            self.leave(target, now);
        }
        let is_dialed = origin == Origin::Dialed;
        let until = now + VERDICT;
        let standing = Standing::Undecided { until, held: Vec::new() };
        let link = Link { claim, key, ip, is_dialed, is_up: true, standing, meter: None };
        self.links.insert(target, link);
        self.decide(endpoint, target, now);
    }

    /// Decides about a link that has waited for long enough.
    fn give_verdict(&mut self, endpoint: &InetEndpoint, target: Target, now: Instant) {
        let is_undecided = |links: &HashMap<Target, Link>| {
            let standing = links.get(&target).map(|link| &link.standing);
            matches!(standing, Some(Standing::Undecided { .. }))
        };
        let Some(link) = self.links.get(&target).filter(|link| link.is_up) else {
            return self.give_random_name(target);
        };
        if !self.holders(&link.claim).any(|holder| self.is_up(&holder)) {
            self.decide(endpoint, target, now);
        }
        if is_undecided(&self.links) {
            self.give_random_name(target);
        }
    }

    /// Gives a link that is up the name that it claims, if it may have it now.
    fn decide(&mut self, endpoint: &InetEndpoint, target: Target, now: Instant) {
        let Some(link) = self.links.get(&target) else { return };
        let claim = link.claim;
        let entry = self.names.entry(claim).or_default();
        if entry.key.is_some() && entry.key != link.key {
            self.report.claim(
                now,
                format_args!("peer {target} claims the id {claim}, which belongs to another key"),
            );
            return self.give_random_name(target);
        }
        let holders = entry.holders.clone();
        if holders.iter().any(|holder| self.is_same_router(endpoint, *holder, target)) {
            return self.join(endpoint, target, now);
        }
        if holders.iter().any(|holder| self.is_up(holder)) {
            return;
        }
        if !holders.is_empty() {
            let list: Vec<_> = holders.iter().map(|holder| holder.to_string()).collect();
            self.report.claim(
                now,
                format_args!(
                    "peer {target} takes over the id {claim} from peer {}, which has no link",
                    list.join(", ")
                ),
            );
        }
        for holder in holders {
            self.take_queued(endpoint, holder, now);
            self.leave(holder, now);
        }
        self.join(endpoint, target, now);
    }

    /// Whether two peers are known to be one router: by the key that both have shown; or both are
    /// plain, and this node dials both, or one where the other comes from.
    fn is_same_router(&self, endpoint: &InetEndpoint, one: Target, other: Target) -> bool {
        let (Some(a), Some(b)) = (self.links.get(&one), self.links.get(&other)) else {
            return false;
        };
        if a.key.is_some() || b.key.is_some() {
            return a.key == b.key;
        }
        // One that this node dials is configured, and trusted as much as its address is.
        let comes_from = |dialed: Target, ip: Option<IpAddr>| {
            let peer = endpoint.peer(dialed);
            let resolved = peer.iter().flat_map(|peer| &peer.resolved);
            ip.is_some_and(|ip| resolved.into_iter().any(|addr| addr.ip().to_canonical() == ip))
        };
        let is_one_place =
            a.is_dialed && comes_from(one, b.ip) || b.is_dialed && comes_from(other, a.ip);
        is_one_place && self.is_plain(endpoint, one) && self.is_plain(endpoint, other)
    }

    /// Whether a peer is a plain Ratman node that dialed this one.
    pub(crate) fn is_plain_dialer(&self, endpoint: &InetEndpoint, target: Target) -> bool {
        let was_dialed = self.links.get(&target).is_some_and(|link| link.is_dialed);
        !was_dialed && self.is_plain(endpoint, target)
    }

    /// Whether a peer is a plain Ratman node: of any other the endpoint finds out itself whether it
    /// is the same node, and merges the two.
    fn is_plain(&self, endpoint: &InetEndpoint, target: Target) -> bool {
        endpoint.peer(target).is_some_and(|peer| peer.is_plain)
    }

    /// A link gets the name that it claims.
    fn join(&mut self, endpoint: &InetEndpoint, target: Target, now: Instant) {
        let Some(link) = self.links.get_mut(&target) else { return };
        let claim = link.claim;
        let entry = self.names.entry(claim).or_default();
        entry.holders.push(target);
        entry.key = entry.key.or(link.key);
        entry.was_dialed |= link.is_dialed;
        entry.away_since = None;
        self.name_link(target, claim);
        let idle: Vec<_> = self.holders(&claim).filter(|holder| !self.is_up(holder)).collect();
        for holder in idle {
            self.take_queued(endpoint, holder, now);
        }
        self.send_returned(endpoint, claim);
    }

    fn give_random_name(&mut self, target: Target) {
        let name = Ident32::random();
        if let Some(link) = self.links.get(&target) {
            self.report.claim(
                Instant::now(),
                format_args!(
                    "peer {target} claims the id {} of another neighbour, and is {name} here",
                    link.claim
                ),
            );
        }
        self.names.entry(name).or_default().holders.push(target);
        self.name_link(target, name);
    }

    /// What a link sent while it was undecided goes on under its name.
    fn name_link(&mut self, target: Target, name: Ident32) {
        let Some(link) = self.links.get_mut(&target) else { return };
        let before = std::mem::replace(&mut link.standing, Standing::Named(name));
        if let Standing::Undecided { held, .. } = before {
            self.ready.extend(held.into_iter().map(|received| (name, received)));
        }
    }

    /// A peer's link ended.
    fn down(&mut self, endpoint: &InetEndpoint, target: Target, reason: &DownReason, now: Instant) {
        let Some(link) = self.links.get_mut(&target) else { return };
        link.is_up = false;
        let claim = link.claim;
        match link.standing {
            // It may be about to merge, which the next event says; otherwise the verdict is due soon.
            Standing::Undecided { .. } => {}
            Standing::Named(name) if name == claim => {
                log::info!(target: TARGET, "neighbour {name} lost its link (peer {target}): {reason}");
                // Another link takes its place, by a resume or a merge: an event says which.
                let is_replaced = matches!(reason, DownReason::Replaced);
                let has_other = self.holders(&name).any(|other| self.is_up(&other));
                match has_other {
                    true => {
                        self.take_queued(endpoint, target, now);
                        self.send_returned(endpoint, name);
                    }
                    false if is_replaced => {}
                    false => self.pass_on(endpoint, claim, now),
                }
            }
            Standing::Named(_) => {}
        }
    }

    /// Gives a name whose holders have no live link to somebody who claims it, the longest known
    /// first.
    fn pass_on(&mut self, endpoint: &InetEndpoint, name: Ident32, now: Instant) {
        let is_due = |(_, link): &(&Target, &Link)| {
            let has_it = matches!(link.standing, Standing::Named(own) if own == name);
            link.is_up && link.claim == name && !has_it
        };
        let Some(target) = self.links.iter().filter(is_due).map(|(target, _)| *target).min() else {
            return;
        };
        if let Some(Standing::Named(_)) = self.links.get(&target).map(|link| &link.standing) {
            // It had a random name.
            self.rename(target, now);
        }
        self.decide(endpoint, target, now);
    }

    /// Takes a random name from a link that may get the one that it claims.
    fn rename(&mut self, target: Target, now: Instant) {
        let Some(mut link) = self.leave(target, now) else { return };
        let until = now + VERDICT;
        link.standing = Standing::Undecided { until, held: Vec::new() };
        self.links.insert(target, link);
    }

    /// Two peers turned out to be one node.
    fn merged(&mut self, endpoint: &InetEndpoint, stays: Target, retired: Target, now: Instant) {
        let Some(link) = self.links.get_mut(&retired) else { return };
        let claim = link.claim;
        let had_claim = matches!(link.standing, Standing::Named(name) if name == claim);
        let held = match &mut link.standing {
            Standing::Undecided { held, .. } => std::mem::take(held),
            Standing::Named(_) => Vec::new(),
        };
        // What the one sent while it was undecided is from the node that the other one leads to.
        match self.links.get_mut(&stays).map(|link| &mut link.standing) {
            Some(Standing::Undecided { held: before, .. }) => before.extend(held),
            Some(Standing::Named(name)) => {
                let name = *name;
                self.ready.extend(held.into_iter().map(|received| (name, received)));
            }
            None => {
                let name = Ident32::random();
                self.ready.extend(held.into_iter().map(|received| (name, received)));
            }
        }
        self.leave(retired, now);
        let lacks_claim = |link: &Link| {
            let has_claim = matches!(link.standing, Standing::Named(name) if name == link.claim);
            link.claim == claim && !has_claim
        };
        if had_claim && self.links.get(&stays).is_some_and(lacks_claim) {
            if self.name(stays).is_some() {
                self.rename(stays, now);
            }
            self.join(endpoint, stays, now);
        }
        // What is still to come under the target that is an alias now has that name too.
        if let Some(name) = self.name(stays) {
            self.push_gone(retired, name);
        }
    }

    /// A peer ended.
    fn removed(&mut self, endpoint: &InetEndpoint, target: Target, now: Instant) {
        if let Some(Standing::Undecided { .. }) = self.links.get(&target).map(|link| &link.standing)
        {
            self.give_random_name(target);
        }
        let Some(link) = self.leave(target, now) else { return };
        if !self.holders(&link.claim).any(|holder| self.is_up(&holder)) {
            self.pass_on(endpoint, link.claim, now);
        }
    }

    /// A peer has its name no more: it ended, another has taken it, or it is somebody else now.
    fn leave(&mut self, target: Target, now: Instant) -> Option<Link> {
        let link = self.links.remove(&target)?;
        if let Standing::Named(name) = link.standing {
            if let Some(entry) = self.names.get_mut(&name) {
                entry.holders.retain(|holder| *holder != target);
                if entry.holders.is_empty() {
                    entry.away_since = Some(now);
                    // Nobody comes back under a random name.
                    if name != link.claim && entry.returned.is_empty() {
                        self.names.remove(&name);
                    }
                }
            }
            self.push_gone(target, name);
            self.bound_away();
        }
        Some(link)
    }

    fn push_gone(&mut self, target: Target, name: Ident32) {
        if self.gone.len() >= self.max_gone {
            self.gone.pop_front();
        }
        self.gone.push_back((target, name));
    }

    /// Forgets a name if too many are away: first of strangers without a key, the longest away first.
    fn bound_away(&mut self) {
        let away = self.names.values().filter(|name| name.holders.is_empty()).count();
        if away <= MAX_AWAY {
            return;
        }
        let is_away = |(_, name): &(&Ident32, &Name)| name.holders.is_empty();
        let rank =
            |(_, name): &(&Ident32, &Name)| (name.was_dialed, name.key.is_some(), name.away_since);
        let first = self.names.iter().filter(is_away).min_by_key(rank);
        if let Some(id) = first.map(|(id, _)| *id) {
            self.evict(id, usize::MAX);
            self.names.remove(&id);
        }
    }

    /// Keeps what waits for a peer without a link, for another link of its name.
    fn take_queued(&mut self, endpoint: &InetEndpoint, target: Target, now: Instant) {
        let Some(name) = self.name(target) else { return };
        if let Some(frames) = endpoint.take_queued(target) {
            self.push_returned(name, frames, now);
        }
    }

    /// Keeps frames that came back, and sends them if their neighbour is there.
    fn keep_returned(
        &mut self,
        endpoint: &InetEndpoint,
        name: Ident32,
        frames: Vec<Frame>,
        now: Instant,
    ) {
        self.push_returned(name, frames, now);
        self.send_returned(endpoint, name);
    }

    fn push_returned(&mut self, name: Ident32, frames: Vec<Frame>, now: Instant) {
        if !frames.is_empty() {
            self.add_returned(name, now, |returned| returned.return_all(frames, now));
        }
    }

    fn add_returned(&mut self, name: Ident32, now: Instant, add: impl FnOnce(&mut Returned)) {
        let entry = self.names.entry(name).or_default();
        if entry.holders.is_empty() {
            entry.away_since.get_or_insert(now);
        }
        let before = entry.returned.bytes();
        add(&mut entry.returned);
        self.returned_bytes += entry.returned.bytes() - before;
        self.due = None;
        self.bound_returned();
    }

    /// Gives frames up while too much waits: first what is for strangers that are away, the longest
    /// away first; then of whoever has the most.
    fn bound_returned(&mut self) {
        while self.returned_bytes > MAX_RETURNED_BYTES {
            let has_frames = |(_, name): &(&Ident32, &Name)| !name.returned.is_empty();
            let rank = |(_, name): &(&Ident32, &Name)| {
                let is_stranger = !name.was_dialed && name.holders.is_empty();
                let away_since = name.away_since.filter(|_| is_stranger);
                (!is_stranger, away_since, Reverse(name.returned.bytes()))
            };
            let first = self.names.iter().filter(has_frames).min_by_key(rank);
            let Some(id) = first.map(|(id, _)| *id) else { break };
            self.evict(id, self.returned_bytes - MAX_RETURNED_BYTES);
        }
    }

    fn evict(&mut self, id: Ident32, bytes: usize) {
        let Some(name) = self.names.get_mut(&id) else { return };
        let before = name.returned.bytes();
        let given_up = name.returned.evict(bytes);
        self.returned_bytes -= before - name.returned.bytes();
        self.report.given_up(id, given_up, NO_ROOM_TO_WAIT);
    }

    fn expire(&mut self, id: Ident32, now: Instant) {
        let Some(name) = self.names.get_mut(&id) else { return };
        let before = name.returned.bytes();
        let given_up = name.returned.expire(now);
        self.returned_bytes -= before - name.returned.bytes();
        self.report.given_up(id, given_up, NO_LONGER_WANTED);
    }

    /// Sends what came back, as far as there is room, if the neighbour has a live link. Never to one
    /// that is down: where the budget is short, what waits for such a one is what comes back.
    fn send_returned(&mut self, endpoint: &InetEndpoint, id: Ident32) {
        self.sendable.remove(&id);
        let Some(name) = self.names.get(&id).filter(|name| !name.returned.is_empty()) else {
            return;
        };
        let target = self.preferred(name).filter(|target| self.is_up(target));
        let Some(target) = target else { return };
        let Some(name) = self.names.get_mut(&id) else { return };
        let before = name.returned.bytes();
        let mut given_up = GivenUp::default();
        while let Some(frame) = name.returned.front() {
            match endpoint.try_send(target, frame.clone()).map_err(|error| error.reason()) {
                Err(
                    SendErrorKind::Full
                    | SendErrorKind::EndpointFull
                    | SendErrorKind::UnknownTarget,
                ) => break,
                // The event that says so is still to come.
                Err(SendErrorKind::Closed) => break,
                Err(_) => {
                    given_up.frames += 1;
                    given_up.bytes += frame.len();
                }
                Ok(()) => {}
            }
            name.returned.pop();
        }
        self.returned_bytes -= before - name.returned.bytes();
        if !name.returned.is_empty() {
            self.sendable.insert(id);
        }
        self.report.given_up(id, given_up, NOT_TAKEN);
    }

    fn holders(&self, name: &Ident32) -> impl Iterator<Item = Target> + '_ {
        self.names.get(name).into_iter().flat_map(|entry| entry.holders.iter().copied())
    }

    fn is_up(&self, target: &Target) -> bool {
        self.links.get(target).is_some_and(|link| link.is_up)
    }

    /// The best of the peers with a name: one that is up, that has shown a key, that is dialed.
    fn preferred(&self, name: &Name) -> Option<Target> {
        name.holders.iter().copied().min_by_key(|target| {
            let rank = |link: &Link| (!link.is_up, link.key.is_none(), !link.is_dialed);
            (self.links.get(target).map_or((true, true, true), rank), *target)
        })
    }

    /// The name of a peer, or the last one that it had.
    fn last_name(&self, target: Target) -> Ident32 {
        let gone = || self.gone.iter().rev().find(|(other, _)| *other == target);
        self.name(target)
            .or_else(|| gone().map(|(_, name)| *name))
            // Only if more peers came and went than there can be at once while the router did not
            // look. The frame still goes to it, under an id that names nobody.
            .unwrap_or_else(Ident32::random)
    }

    /// Makes up for events that were missed, in the order of targets.
    fn catch_up(&mut self, endpoint: &InetEndpoint, now: Instant) {
        let peers = endpoint.peers();
        // One of the events may have been about any of them. Before their names change.
        let all = self.links.keys().chain(self.gone.iter().map(|(target, _)| target));
        let all: HashSet<_> = all.copied().collect();
        for target in all {
            let frames = endpoint.take_unconfirmed(target);
            let name = self.last_name(target);
            self.keep_returned(endpoint, name, frames, now);
        }
        let is_peer = |target| peers.binary_search_by_key(target, |peer| peer.target).is_ok();
        let ended: Vec<_> = self.links.keys().filter(|target| !is_peer(target)).copied().collect();
        ended.into_iter().for_each(|target| self.removed(endpoint, target, now));
        // Those that are down first, for others may have taken their names.
        for peer in peers.iter().filter(|peer| peer.state != PeerState::Up) {
            if self.is_up(&peer.target) {
                self.down(endpoint, peer.target, &DownReason::Closed, now);
            }
        }
        for peer in &peers {
            let Some(id) = peer.id.filter(|_| peer.state == PeerState::Up) else { continue };
            let ip = peer.addr.map(|addr| addr.ip().to_canonical());
            let claim = Claim { id, key: peer.key, ip, origin: peer.origin };
            self.up(endpoint, peer.target, claim, now);
        }
    }
}

/// What a link that is up says of the node at its other end.
#[derive(Debug, Clone, Copy)]
struct Claim {
    id: Id,
    key: Option<PublicKey>,
    ip: Option<IpAddr>,
    origin: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmod_inet::{DownReason, PeerType};
    use std::net::SocketAddr;

    /// Neighbours of an endpoint without peers, told by hand of what happens.
    struct Told {
        endpoint: InetEndpoint,
        neighbours: Neighbours,
        now: Instant,
    }

    impl Told {
        fn new() -> Told {
            let endpoint = smol::block_on(InetEndpoint::builder().start()).expect("no socket");
            let neighbours = Neighbours::new(&endpoint);
            Told { endpoint, neighbours, now: Instant::now() }
        }

        fn up(&mut self, target: Target, id: u8, key: Option<u8>, origin: Origin) {
            let event = Event::Up {
                target,
                id: Id::from_bytes([id; 32]),
                addr: Some(SocketAddr::from(([192, 0, 2, 1], target))),
                origin,
                peer_type: PeerType::Standard,
                key: key.map(|key| PublicKey::from_bytes([key; 32])),
            };
            self.neighbours.apply(&self.endpoint, event, self.now);
        }

        fn accepted(&mut self, target: Target, id: u8) {
            self.up(target, id, None, Origin::Accepted);
        }

        fn down(&mut self, target: Target) {
            let event = Event::Down { target, reason: DownReason::Closed, retry: None };
            self.neighbours.apply(&self.endpoint, event, self.now);
        }

        fn removed(&mut self, target: Target) {
            self.neighbours.apply(&self.endpoint, Event::Removed { target }, self.now);
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.neighbours.tick(&self.endpoint, self.now);
        }

        fn name(&self, target: Target) -> Option<Ident32> {
            self.neighbours.name(target)
        }
    }

    fn id(byte: u8) -> Ident32 {
        Ident32::from([byte; 32])
    }

    fn frame(number: u8) -> Frame {
        let builder = Frame::builder(8, Id::from_bytes([number; 32]));
        builder.payload(vec![number; 59]).build().expect("a frame")
    }

    #[test]
    fn a_holder_without_a_link_loses_its_name_at_once() {
        let mut told = Told::new();
        told.accepted(0, 1);
        told.down(0);
        told.accepted(1, 1);
        assert_eq!((told.name(0), told.name(1)), (None, Some(id(1))));
        told.accepted(0, 1);
        assert_eq!(
            (told.name(0), told.name(1)),
            (None, Some(id(1))),
            "the newcomer has a live link"
        );
        told.pass(VERDICT);
        assert!(told.name(0).is_some_and(|name| name != id(1)));
    }

    #[test]
    fn a_name_that_belongs_to_a_key_goes_to_no_other() {
        let mut told = Told::new();
        told.up(0, 1, Some(7), Origin::Accepted);
        told.up(1, 1, Some(7), Origin::Accepted);
        assert_eq!((told.name(0), told.name(1)), (Some(id(1)), Some(id(1))), "the key proves it");
        told.removed(0);
        told.removed(1);
        told.accepted(2, 1);
        told.up(3, 1, Some(8), Origin::Dialed);
        assert!([2, 3].iter().all(|target| told.name(*target).is_some_and(|name| name != id(1))));
        told.up(4, 1, Some(7), Origin::Accepted);
        assert_eq!(told.name(4), Some(id(1)));
    }

    #[test]
    fn peers_that_merged_have_the_name_of_the_one_that_had_it() {
        for stays in [0, 1] {
            let mut told = Told::new();
            told.accepted(0, 1);
            told.accepted(1, 1);
            assert_eq!(told.name(1), None);
            // As the endpoint tells it: the link that goes has gone before.
            let down = Event::Down { target: 1 - stays, reason: DownReason::Replaced, retry: None };
            told.neighbours.apply(&told.endpoint, down, told.now);
            let merged = Event::Merged { target: stays, retired: 1 - stays };
            told.neighbours.apply(&told.endpoint, merged, told.now);
            assert_eq!(told.name(stays), Some(id(1)));
            assert_eq!(told.neighbours.sender(1 - stays), Sender::Named(id(1)));
            assert_eq!(told.neighbours.route(&id(1)), Route::To(stays));
        }
    }

    #[test]
    fn two_links_that_merge_are_not_taken_for_the_holder_of_what_they_claim() {
        let mut told = Told::new();
        for target in 0..3 {
            told.accepted(target, 1);
        }
        let merged = Event::Merged { target: 1, retired: 2 };
        told.neighbours.apply(&told.endpoint, merged, told.now);
        assert_eq!([0, 1, 2].map(|target| told.name(target)), [Some(id(1)), None, None]);
        told.pass(VERDICT);
        assert!(told.name(1).is_some_and(|name| name != id(1)));
    }

    #[test]
    fn a_key_keeps_its_id_whoever_comes_and_goes() {
        let mut told = Told::new();
        told.up(0, 1, Some(7), Origin::Accepted);
        told.removed(0);
        for number in 0..2_000u16 {
            let claim = Id::from_bytes(std::array::from_fn(|at| number.to_be_bytes()[at % 2]));
            let origin = Origin::Accepted;
            let event = Event::Up {
                target: 9,
                id: claim,
                addr: None,
                origin,
                peer_type: PeerType::Standard,
                key: None,
            };
            told.neighbours.apply(&told.endpoint, event, told.now);
            told.removed(9);
        }
        told.accepted(1, 1);
        assert!(told.name(1).is_some_and(|name| name != id(1)));
    }

    #[test]
    fn strangers_do_not_cost_a_neighbour_what_waits_for_it() {
        let mut told = Told::new();
        told.up(0, 1, None, Origin::Dialed);
        told.removed(0);
        told.neighbours.push_returned(id(1), vec![frame(1); 20], told.now);
        let fit = MAX_RETURNED_BYTES / (frame(0).len() + 128);
        for number in 0..=MAX_AWAY {
            let mut bytes = [9; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let frames = vec![frame(2); fit / MAX_AWAY + 1];
            told.neighbours.push_returned(Ident32::from(bytes), frames, told.now);
            told.neighbours.bound_away();
        }
        assert!(told.neighbours.returned_bytes <= MAX_RETURNED_BYTES);
        assert!(told.neighbours.names.len() <= MAX_AWAY);
        assert_eq!(told.neighbours.names[&id(1)].returned.bytes(), 20 * (frame(1).len() + 128));
    }

    #[test]
    fn a_sender_that_ended_is_known_by_its_last_name() {
        let mut told = Told::new();
        for (target, byte) in [(0, 1), (1, 2), (0, 3)] {
            told.accepted(target, byte);
            told.removed(target);
        }
        assert_eq!(told.neighbours.sender(0), Sender::Named(id(3)));
        assert_eq!(told.neighbours.sender(1), Sender::Named(id(2)));
        let nobody = [7, 8].map(|target| told.neighbours.sender(target));
        assert_ne!(nobody[0], nobody[1], "nobody's name");
    }

    #[test]
    fn who_comes_and_goes_leaves_no_more_than_so_many_names() {
        let mut told = Told::new();
        told.neighbours.max_gone = 4;
        for number in 0..3_000u16 {
            let target = number % 8;
            let claim = Id::from_bytes(std::array::from_fn(|at| number.to_be_bytes()[at % 2]));
            let event = Event::Up {
                target,
                id: claim,
                addr: None,
                origin: Origin::Accepted,
                peer_type: PeerType::Standard,
                key: None,
            };
            told.neighbours.apply(&told.endpoint, event, told.now);
            assert!(told.name(target).is_some());
            told.removed(target);
        }
        assert_eq!(told.neighbours.links.len(), 0);
        assert_eq!(told.neighbours.gone.len(), 4);
        assert_eq!(told.neighbours.names.len(), MAX_AWAY);
        told.pass(MAX_AGE + Duration::from_secs(1));
        assert_eq!(told.neighbours.names.len(), 0);
    }

    #[test]
    fn what_came_back_is_bounded_and_given_up_in_time() {
        let mut told = Told::new();
        told.accepted(0, 1);
        told.accepted(1, 2);
        told.removed(0);
        told.removed(1);
        let fit = MAX_RETURNED_BYTES / (frame(0).len() + 128);
        told.neighbours.push_returned(id(2), vec![frame(2); 9], told.now);
        for _ in 0..2 {
            told.neighbours.push_returned(id(1), vec![frame(1); fit], told.now);
        }
        assert!(told.neighbours.returned_bytes <= MAX_RETURNED_BYTES);
        assert_eq!(told.neighbours.names[&id(2)].returned.bytes(), 9 * (frame(2).len() + 128));
        assert!(matches!(told.neighbours.route(&id(1)), Route::Away(_)));
        told.pass(MAX_AGE);
        assert_eq!(told.neighbours.returned_bytes, 0);
    }

    #[test]
    fn too_much_of_an_undecided_link_is_a_verdict() {
        let mut told = Told::new();
        told.accepted(0, 1);
        told.accepted(1, 1);
        assert_eq!(told.neighbours.sender(1), Sender::Undecided);
        told.neighbours.held_bytes = MAX_HELD_BYTES;
        told.neighbours.give_random_name(1);
        assert!(told.name(1).is_some_and(|name| name != id(1)));
        assert!(told.neighbours.due().is_none());
    }

    #[test]
    fn a_flood_leaves_out_whoever_may_be_left_out() {
        let mut told = Told::new();
        told.up(0, 1, Some(7), Origin::Accepted);
        told.up(1, 1, Some(7), Origin::Dialed);
        told.accepted(2, 2);
        told.accepted(3, 2);
        let left_out = |told: &Told, except: &[Ident32]| {
            let mut left_out = told.neighbours.left_out(except);
            left_out.sort_unstable();
            left_out
        };
        assert_eq!(left_out(&told, &[]), [0, 3], "one link to each, and none that is undecided");
        assert_eq!(left_out(&told, &[id(1)]), [0, 1, 3]);
        told.pass(VERDICT);
        assert_eq!(left_out(&told, &[]), [0]);
        let other = told.name(3).expect("it is decided");
        assert_eq!(left_out(&told, &[id(2)]), [0, 2, 3]);
        assert_eq!(left_out(&told, &[other]), [0, 2, 3], "they come from one place");
    }
}
