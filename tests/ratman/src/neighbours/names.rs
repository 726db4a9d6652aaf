//! Names, who has them, and the frames that wait for each.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libratman::types::Ident32;
use netmod_inet::{Frame, InetEndpoint, PublicKey, SendErrorKind, Target};

use super::links::{Claim, Links};
use crate::report::Report;
use crate::returned::{GivenUp, MAX_AGE, Returned};

/// Bytes that may wait for all neighbours together after they came back.
const MAX_RETURNED_BYTES: usize = 8 << 20;

/// Names that are kept though no peer has them: of neighbours that may come back.
const MAX_AWAY: usize = 1024;

const EXPIRED: &str = "the neighbour was away for 10 minutes";
const EVICTED: &str = "too much waits for neighbours that are away";
const REJECTED: &str = "the neighbour that came back does not take it";
const SHUT_DOWN: &str = "this node was shut down";

/// A name, and what belongs to it.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// The peers that have it: several if they are known to be one router.
    pub(super) holders: Vec<Target>,
    /// The key that the first of them showed. Only a peer that shows it can have the name.
    pub(super) key: Option<PublicKey>,
    pub(super) returned: Returned,
    /// Since when no peer has it.
    pub(super) away_since: Option<Instant>,
    /// Whether this node dials one of those that had it.
    was_dialed: bool,
}

/// All names that are in use or may come back.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_id: HashMap<Ident32, Name>,
    // Invariant: the sum of `returned.bytes()` of all names.
    returned_bytes: usize,
    /// Names with a live link whose queue had no room for all that came back.
    sendable: HashSet<Ident32>,
}

impl Names {
    pub(super) fn get(&self, id: &Ident32) -> Option<&Name> {
        self.by_id.get(id)
    }

    /// The entry of a name, which is made if there is none.
    pub(super) fn entry(&mut self, id: Ident32) -> &mut Name {
        self.by_id.entry(id).or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.by_id.values()
    }

    pub(super) fn holders(&self, id: &Ident32) -> impl Iterator<Item = Target> + '_ {
        self.get(id).into_iter().flat_map(|name| name.holders.iter().copied())
    }

    /// Whether a peer that has this name is up.
    pub(super) fn has_live_holder(&self, links: &Links, id: &Ident32) -> bool {
        self.holders(id).any(|holder| links.is_up(holder))
    }

    /// Gives a peer the name that it claims.
    pub(super) fn grant(&mut self, target: Target, claim: &Claim) {
        let name = self.entry(claim.id);
        name.holders.push(target);
        name.key = name.key.or(claim.key);
        name.was_dialed |= claim.is_dialed;
        name.away_since = None;
    }

    /// Takes a name from a peer. A random one without frames is forgotten with its last holder,
    /// for nobody comes back under it.
    pub(super) fn release(&mut self, target: Target, id: Ident32, is_random: bool, now: Instant) {
        let Some(name) = self.by_id.get_mut(&id) else { return };
        name.holders.retain(|holder| *holder != target);
        if name.holders.is_empty() {
            name.away_since = Some(now);
            if is_random && name.returned.is_empty() {
                self.by_id.remove(&id);
            }
        }
    }

    /// Forgets a name if too many are away: first of unknown peers without a key, the longest away
    /// first.
    pub(super) fn evict_away(&mut self, report: &mut Report) {
        let away = self.iter().filter(|name| name.holders.is_empty()).count();
        if away <= MAX_AWAY {
            return;
        }
        let is_away = |(_, name): &(&Ident32, &Name)| name.holders.is_empty();
        let rank =
            |(_, name): &(&Ident32, &Name)| (name.was_dialed, name.key.is_some(), name.away_since);
        let first = self.by_id.iter().filter(is_away).min_by_key(rank);
        if let Some(id) = first.map(|(id, _)| *id) {
            self.evict(id, usize::MAX, report);
            self.by_id.remove(&id);
        }
    }

    /// When the next frame expires or the next name is forgotten.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let frames = self.iter().filter_map(|name| name.returned.expires());
        let names = self.iter().filter_map(|name| Some(name.away_since? + MAX_AGE));
        // A name is forgotten only when this time has passed.
        frames.chain(names.map(|at| at + Duration::from_millis(1))).min()
    }

    /// Gives up frames, then forgets names, that have been away for too long.
    pub(super) fn expire(&mut self, now: Instant, report: &mut Report) {
        for (id, name) in &mut self.by_id {
            let before = name.returned.bytes();
            let given_up = name.returned.expire(now);
            self.returned_bytes -= before - name.returned.bytes();
            report.given_up(*id, given_up, EXPIRED);
        }
        let is_over = |name: &Name| {
            let is_long = |since: Instant| now.saturating_duration_since(since) > MAX_AGE;
            name.returned.is_empty() && name.away_since.is_some_and(is_long)
        };
        self.by_id.retain(|_, name| !is_over(name));
    }

    /// Keeps a frame behind all that waits for this name.
    pub(super) fn defer(&mut self, id: Ident32, frame: Frame, now: Instant, report: &mut Report) {
        self.add_returned(id, now, report, |returned| returned.push(frame, now));
    }

    /// Keeps frames that came back from a queue of a peer with this name.
    pub(super) fn push_returned(
        &mut self,
        id: Ident32,
        frames: Vec<Frame>,
        now: Instant,
        report: &mut Report,
    ) {
        if !frames.is_empty() {
            self.add_returned(id, now, report, |returned| returned.return_all(frames, now));
        }
    }

    fn add_returned(
        &mut self,
        id: Ident32,
        now: Instant,
        report: &mut Report,
        add: impl FnOnce(&mut Returned),
    ) {
        let name = self.by_id.entry(id).or_default();
        if name.holders.is_empty() {
            name.away_since.get_or_insert(now);
        }
        let before = name.returned.bytes();
        add(&mut name.returned);
        self.returned_bytes += name.returned.bytes() - before;
        self.evict_returned(report);
    }

    /// Gives frames up while too much waits: first those for unknown peers that are away, the
    /// longest away first; then those of the name with the most.
    fn evict_returned(&mut self, report: &mut Report) {
        while self.returned_bytes > MAX_RETURNED_BYTES {
            let has_frames = |(_, name): &(&Ident32, &Name)| !name.returned.is_empty();
            let rank = |(_, name): &(&Ident32, &Name)| {
                let is_unknown = !name.was_dialed && name.holders.is_empty();
                let away_since = name.away_since.filter(|_| is_unknown);
                (!is_unknown, away_since, Reverse(name.returned.bytes()))
            };
            let first = self.by_id.iter().filter(has_frames).min_by_key(rank);
            let Some(id) = first.map(|(id, _)| *id) else { break };
            self.evict(id, self.returned_bytes - MAX_RETURNED_BYTES, report);
        }
    }

    fn evict(&mut self, id: Ident32, bytes: usize, report: &mut Report) {
        let Some(name) = self.by_id.get_mut(&id) else { return };
        let before = name.returned.bytes();
        let given_up = name.returned.evict(bytes);
        self.returned_bytes -= before - name.returned.bytes();
        report.given_up(id, given_up, EVICTED);
    }

    /// Gives up all frames, because the endpoint ended.
    pub(super) fn give_up_all(&mut self, report: &mut Report) {
        for (id, name) in &mut self.by_id {
            let given_up = name.returned.evict(usize::MAX);
            report.given_up(*id, given_up, SHUT_DOWN);
        }
        self.returned_bytes = 0;
    }

    /// Names with a live link for which frames are left over that came back.
    pub(super) fn sendable(&self) -> Vec<Ident32> {
        self.sendable.iter().copied().collect()
    }

    /// The peers whose queues have no room for what came back for them, and the size of its first
    /// frame.
    pub(super) fn blocked(&self, links: &Links) -> Vec<(Target, usize)> {
        let blocked = self.sendable.iter().filter_map(|id| {
            let name = self.get(id)?;
            Some((links.preferred(&name.holders)?, name.returned.front()?.len()))
        });
        blocked.collect()
    }

    /// Sends what came back, as far as there is room, if the neighbour has a live link. Never to
    /// one that is down: if the memory of the endpoint is short, frames that wait for such a peer
    /// are what comes back.
    pub(super) fn resend(
        &mut self,
        endpoint: &InetEndpoint,
        links: &Links,
        id: Ident32,
        report: &mut Report,
    ) {
        self.sendable.remove(&id);
        let name = self.by_id.get_mut(&id).filter(|name| !name.returned.is_empty());
        let Some(name) = name else { return };
        let target = links.preferred(&name.holders).filter(|target| links.is_up(*target));
        let Some(target) = target else { return };
        let before = name.returned.bytes();
        let mut given_up = GivenUp::default();
        while let Some(frame) = name.returned.front() {
            match endpoint.try_send(target, frame.clone()).map_err(|error| error.reason()) {
                Err(
                    SendErrorKind::Full
                    | SendErrorKind::EndpointFull
                    | SendErrorKind::UnknownTarget,
                ) => break,
                // The event that reports it is still to come.
                Err(SendErrorKind::Closed) => break,
                Err(_) => given_up.add(frame),
                Ok(()) => {}
            }
            name.returned.pop();
        }
        self.returned_bytes -= before - name.returned.bytes();
        if !name.returned.is_empty() {
            self.sendable.insert(id);
        }
        report.given_up(id, given_up, REJECTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmod_inet::{Id, Origin};

    fn id(byte: u8) -> Ident32 {
        Ident32::from([byte; 32])
    }

    fn frame(number: u8) -> Frame {
        let builder = Frame::builder(8, Id::from_bytes([number; 32]));
        builder.payload(vec![number; 59]).build().expect("a frame")
    }

    /// The cost of this number of frames.
    fn cost(frames: usize) -> usize {
        frames * (frame(0).len() + 128)
    }

    /// A peer that claims `id`, had it, and ended.
    fn had_name(names: &mut Names, target: Target, id: u8, origin: Origin, now: Instant) {
        let claim = Claim::new(Id::from_bytes([id; 32]), None, None, origin);
        names.grant(target, &claim);
        names.release(target, claim.id, false, now);
    }

    #[test]
    fn frames_for_unknown_peers_do_not_displace_those_for_a_dialed_one() {
        let (mut names, mut report, now) = (Names::default(), Report::new(), Instant::now());
        had_name(&mut names, 0.into(), 1, Origin::Dialed, now);
        names.push_returned(id(1), vec![frame(1); 20], now, &mut report);
        let fit = MAX_RETURNED_BYTES / cost(1);
        for number in 0..=MAX_AWAY {
            let mut bytes = [9; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let frames = vec![frame(2); fit / MAX_AWAY + 1];
            names.push_returned(Ident32::from(bytes), frames, now, &mut report);
            names.evict_away(&mut report);
        }
        assert!(names.returned_bytes <= MAX_RETURNED_BYTES);
        assert!(names.by_id.len() <= MAX_AWAY);
        assert_eq!(names.by_id[&id(1)].returned.bytes(), cost(20));
    }

    #[test]
    fn frames_that_came_back_are_bounded_and_expire() {
        let (mut names, mut report, now) = (Names::default(), Report::new(), Instant::now());
        had_name(&mut names, 0.into(), 1, Origin::Accepted, now);
        had_name(&mut names, 1.into(), 2, Origin::Accepted, now);
        let fit = MAX_RETURNED_BYTES / cost(1);
        names.push_returned(id(2), vec![frame(2); 9], now, &mut report);
        for _ in 0..2 {
            names.push_returned(id(1), vec![frame(1); fit], now, &mut report);
        }
        assert!(names.returned_bytes <= MAX_RETURNED_BYTES);
        assert_eq!(names.by_id[&id(2)].returned.bytes(), cost(9));
        assert_eq!(names.by_id[&id(1)].away_since, Some(now));
        names.expire(now + MAX_AGE, &mut report);
        assert_eq!(names.returned_bytes, 0);
        assert_eq!(names.by_id.len(), 2, "a name goes after its frames");
        let expiry = names.next_expiry().expect("two names are away");
        names.expire(expiry, &mut report);
        assert_eq!(names.by_id.len(), 0);
    }
}
