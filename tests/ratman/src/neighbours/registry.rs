//! Claims on names: which peer gets which name, and what a change of names does to frames.

use std::time::{Duration, Instant};

use libratman::types::Ident32;
use netmod_inet::{DownReason, Frame, InetEndpoint, Received, Target};

use super::held::HeldFrames;
use super::last_names::LastNames;
use super::links::{Claim, Link, Links, NameState};
use super::names::Names;
use crate::report::{Report, TARGET};

/// How long a claim on the name of a live peer stays undecided: time in which that peer has to
/// answer a probe, or the two turn out to be one node. The endpoint probes it as soon as the
/// claimant is up.
pub(super) const CLAIM_TIMEOUT: Duration = Duration::from_secs(2);

/// The peers, the names, and who has which.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) links: Links,
    pub(super) names: Names,
    last_names: LastNames,
    pub(super) held: HeldFrames,
    pub(super) report: Report,
}

impl Registry {
    /// An empty registry that remembers the names of at most `last_names` peers that ended.
    pub(super) fn new(last_names: usize) -> Registry {
        Registry {
            links: Links::default(),
            names: Names::default(),
            last_names: LastNames::new(last_names),
            held: HeldFrames::default(),
            report: Report::new(),
        }
    }

    /// The name of a peer, or the last one that it had.
    pub(super) fn last_name(&self, target: Target) -> Ident32 {
        self.links
            .name(target)
            .or_else(|| self.last_names.get(target))
            // Only if more peers came and went than there can be at once while the router did not
            // look. The frame still goes to it, under an id that names nobody.
            .unwrap_or_else(Ident32::random)
    }

    /// Every target that has a link or a last name, some more than once.
    pub(super) fn known_targets(&self) -> impl Iterator<Item = Target> {
        self.links.iter().map(|(target, _)| target).chain(self.last_names.targets())
    }

    /// A peer's link is up, and it claims an id.
    pub(super) fn on_up(
        &mut self,
        endpoint: &InetEndpoint,
        target: Target,
        claim: Claim,
        now: Instant,
    ) {
        if let Some(link) = self.links.get_mut(target) {
            let is_known = link.claim.id == claim.id && link.claim.key == claim.key;
            if is_known && (link.has_claimed_name() || link.is_undecided() || link.is_up) {
                link.is_up = true;
                link.claim.ip = claim.ip;
                return self.resend(endpoint, claim.id);
            }
            self.remove_link(target, now);
        }
        self.links.insert(target, Link::new(claim, now + CLAIM_TIMEOUT));
        self.decide(endpoint, target, now);
    }

    /// A peer's link ended.
    pub(super) fn on_down(
        &mut self,
        endpoint: &InetEndpoint,
        target: Target,
        reason: &DownReason,
        now: Instant,
    ) {
        let Some(link) = self.links.get_mut(target) else { return };
        link.is_up = false;
        // An undecided one may be about to merge, which the next event reports; otherwise the claim
        // times out soon.
        if !link.has_claimed_name() {
            return;
        }
        let name = link.claim.id;
        log::info!(target: TARGET, "neighbour {name} lost its link (peer {target}): {reason}");
        if self.names.has_live_holder(&self.links, &name) {
            self.reclaim_queued(endpoint, target, now);
            self.resend(endpoint, name);
        } else if !matches!(reason, DownReason::Replaced) {
            self.reassign(endpoint, name, now);
        }
        // Otherwise another link replaces it, by a resume or a merge: an event reports which.
    }

    /// Two peers turned out to be one node.
    pub(super) fn on_merged(
        &mut self,
        endpoint: &InetEndpoint,
        kept: Target,
        retired: Target,
        now: Instant,
    ) {
        let Some(link) = self.links.get_mut(retired) else { return };
        let claim = link.claim.id;
        let had_claim = link.has_claimed_name();
        let held = match &mut link.state {
            NameState::Undecided { held, .. } => std::mem::take(held),
            NameState::Named(_) => Vec::new(),
        };
        // Frames that the retired peer sent while it was undecided are from the node of the kept
        // one.
        match self.links.get_mut(kept).map(|link| &mut link.state) {
            Some(NameState::Undecided { held: before, .. }) => before.extend(held),
            Some(NameState::Named(name)) => self.held.release(*name, held),
            None => self.held.release(Ident32::random(), held),
        }
        self.remove_link(retired, now);
        let lacks_claim = |link: &Link| link.claim.id == claim && !link.has_claimed_name();
        if had_claim && self.links.get(kept).is_some_and(lacks_claim) {
            if self.links.name(kept).is_some() {
                self.revoke_random_name(kept, now);
            }
            self.grant(endpoint, kept, now);
        }
        // Frames still to come under the retired target, which is an alias now, have that name too.
        if let Some(name) = self.links.name(kept) {
            self.last_names.push(retired, name);
        }
    }

    /// A peer ended.
    pub(super) fn on_removed(&mut self, endpoint: &InetEndpoint, target: Target, now: Instant) {
        if self.links.is_undecided(target) {
            self.assign_random_name(target);
        }
        let Some(link) = self.remove_link(target, now) else { return };
        if !self.names.has_live_holder(&self.links, &link.claim.id) {
            self.reassign(endpoint, link.claim.id, now);
        }
    }

    /// Decides a claim that has been undecided for long enough.
    pub(super) fn on_claim_timeout(
        &mut self,
        endpoint: &InetEndpoint,
        target: Target,
        now: Instant,
    ) {
        let claim = self.links.get(target).filter(|link| link.is_up).map(|link| link.claim.id);
        if claim.is_some_and(|claim| !self.names.has_live_holder(&self.links, &claim)) {
            self.decide(endpoint, target, now);
        }
        if claim.is_none() || self.links.is_undecided(target) {
            self.assign_random_name(target);
        }
    }

    /// Gives a link that is up the name that it claims, if it may have it now. Leaves it undecided
    /// if another peer with a live link has the name.
    fn decide(&mut self, endpoint: &InetEndpoint, target: Target, now: Instant) {
        let Some(claim) = self.links.get(target).map(|link| link.claim) else { return };
        let id = claim.id;
        let name = self.names.entry(id);
        if name.key.is_some() && name.key != claim.key {
            self.report.claim(
                now,
                format_args!("peer {target} claims the id {id}, which belongs to another key"),
            );
            return self.assign_random_name(target);
        }
        let holders = name.holders.clone();
        if holders.iter().any(|holder| self.links.is_same_router(endpoint, *holder, target)) {
            return self.grant(endpoint, target, now);
        }
        if holders.iter().any(|holder| self.links.is_up(*holder)) {
            return;
        }
        if !holders.is_empty() {
            let list: Vec<_> = holders.iter().map(|holder| holder.to_string()).collect();
            self.report.claim(
                now,
                format_args!(
                    "peer {target} takes over the id {id} from peer {}, which has no link",
                    list.join(", ")
                ),
            );
        }
        for holder in holders {
            self.reclaim_queued(endpoint, holder, now);
            self.remove_link(holder, now);
        }
        self.grant(endpoint, target, now);
    }

    /// Gives a link the name that it claims.
    fn grant(&mut self, endpoint: &InetEndpoint, target: Target, now: Instant) {
        let Some(link) = self.links.get(target) else { return };
        let name = link.claim.id;
        self.names.grant(target, &link.claim);
        self.set_name(target, name);
        let idle = self.names.holders(&name).filter(|holder| !self.links.is_up(*holder));
        let idle: Vec<_> = idle.collect();
        for holder in idle {
            self.reclaim_queued(endpoint, holder, now);
        }
        self.resend(endpoint, name);
    }

    pub(super) fn assign_random_name(&mut self, target: Target) {
        let name = Ident32::random();
        if let Some(link) = self.links.get(target) {
            self.report.claim(
                Instant::now(),
                format_args!(
                    "peer {target} claims the id {} of another neighbour, and is {name} here",
                    link.claim.id
                ),
            );
        }
        self.names.entry(name).holders.push(target);
        self.set_name(target, name);
    }

    /// Names a link, and releases the frames that it sent while it was undecided.
    fn set_name(&mut self, target: Target, name: Ident32) {
        let Some(link) = self.links.get_mut(target) else { return };
        let before = std::mem::replace(&mut link.state, NameState::Named(name));
        if let NameState::Undecided { held, .. } = before {
            self.held.release(name, held);
        }
    }

    /// Gives a name whose holders have no live link to a peer that claims it, the longest known
    /// first.
    fn reassign(&mut self, endpoint: &InetEndpoint, name: Ident32, now: Instant) {
        let Some(target) = self.links.first_claimant(name) else { return };
        if self.links.name(target).is_some() {
            self.revoke_random_name(target, now);
        }
        self.decide(endpoint, target, now);
    }

    /// Takes a random name from a link that may get the one that it claims.
    fn revoke_random_name(&mut self, target: Target, now: Instant) {
        let Some(mut link) = self.remove_link(target, now) else { return };
        link.state = NameState::undecided(now + CLAIM_TIMEOUT);
        self.links.insert(target, link);
    }

    /// Removes a link, whose peer loses its name: the peer ended, another has taken the name, or it
    /// claims another one now.
    fn remove_link(&mut self, target: Target, now: Instant) -> Option<Link> {
        let link = self.links.remove(target)?;
        if let NameState::Named(name) = link.state {
            self.names.release(target, name, name != link.claim.id, now);
            self.last_names.push(target, name);
            self.names.evict_away(&mut self.report);
        }
        Some(link)
    }

    /// Holds a frame of an undecided link until its claim is decided. If too much is held, that is
    /// now.
    pub(super) fn hold(&mut self, received: Received) {
        let target = received.target();
        let Some(link) = self.links.get_mut(target) else { return };
        let NameState::Undecided { held, .. } = &mut link.state else { return };
        let has_room = self.held.count(received.frame().len());
        held.push(received);
        if !has_room {
            self.assign_random_name(target);
        }
    }

    /// Moves frames that wait in the queue of a peer without a link to its name, so that another
    /// link of that name sends them.
    fn reclaim_queued(&mut self, endpoint: &InetEndpoint, target: Target, now: Instant) {
        let Some(name) = self.links.name(target) else { return };
        if let Some(frames) = endpoint.take_queued(target) {
            self.names.push_returned(name, frames, now, &mut self.report);
        }
    }

    /// Keeps the frames that a peer gave back, and sends them if the neighbour has a live link.
    pub(super) fn keep_unconfirmed(
        &mut self,
        endpoint: &InetEndpoint,
        target: Target,
        now: Instant,
    ) {
        let frames = endpoint.take_unconfirmed(target);
        let name = self.last_name(target);
        self.names.push_returned(name, frames, now, &mut self.report);
        self.resend(endpoint, name);
    }

    /// Keeps a frame behind what waits for this name, and sends what there is room for.
    pub(super) fn defer(
        &mut self,
        endpoint: &InetEndpoint,
        name: Ident32,
        frame: Frame,
        now: Instant,
    ) {
        self.names.defer(name, frame, now, &mut self.report);
        self.resend(endpoint, name);
    }

    /// Sends what came back for a name, as far as there is room.
    pub(super) fn resend(&mut self, endpoint: &InetEndpoint, name: Ident32) {
        self.names.resend(endpoint, &self.links, name, &mut self.report);
    }
}

#[cfg(test)]
mod tests;
