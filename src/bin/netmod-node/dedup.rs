//! Deduplicates events, so that the log has one line for each change.

use netmod_inet::{Event, Target};
use std::fmt::{Display, Write as _};
use std::time::{Duration, Instant};

/// Distinct failures that are reported for a peer while it is down.
const MAX_FAILURES: usize = 8;

/// A peer removed within this time after its link went down is part of the same change.
const SAME_CHANGE: Duration = Duration::from_secs(1);

/// A repeated event of an unknown sender is reported again after this time.
const REPEAT_INTERVAL: Duration = Duration::from_secs(600);

/// Events of unknown senders that are remembered. The oldest is evicted.
const MAX_REPEATS: usize = 64;

/// What the log has reported so far.
#[derive(Default)]
pub(crate) struct Dedup {
    // Invariant: sorted by target.
    outages: Vec<Outage>,
    repeats: Vec<Repeat>,
}

/// A peer that is down.
struct Outage {
    target: Target,
    /// When its link went down; `None` if it never had one.
    since: Option<Instant>,
    /// Hashes of the failures that were reported.
    reported: Vec<u64>,
    failed_dials: usize,
}

impl Outage {
    /// Counts a failed dial. Returns whether its failure is to be reported.
    fn record_failure(&mut self, failure: u64) -> bool {
        self.failed_dials += 1;
        let is_new = self.reported.len() < MAX_FAILURES && !self.reported.contains(&failure);
        if is_new {
            self.reported.push(failure);
        }
        is_new
    }
}

/// An event that may be repeated by a remote that is not a peer.
struct Repeat {
    hash: u64,
    reported: Instant,
    suppressed: usize,
}

/// Details that an event does not have, for its line.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Annotation {
    /// How long the peer was down, for one that is up again.
    pub(crate) outage: Option<Duration>,
    /// Dials that failed during the outage, or repeats of the event that were suppressed.
    pub(crate) count: usize,
}

impl Dedup {
    /// Returns the annotation of an event that is to be reported, or `None` if it is a repeat.
    pub(crate) fn observe(&mut self, event: &Event, now: Instant) -> Option<Annotation> {
        match event {
            Event::Up { target, .. } => {
                let Some(outage) = self.end_outage(*target) else {
                    return Some(Annotation::default());
                };
                let time = outage.since.map(|since| now.saturating_duration_since(since));
                Some(Annotation { outage: time, count: outage.failed_dials })
            }
            Event::Down { target, .. } => {
                self.outage_mut(*target).since = Some(now);
                Some(Annotation::default())
            }
            Event::Attempt { target, addr, reason, .. } => {
                let is_new = self.outage_mut(*target).record_failure(hash(&[addr, reason]));
                is_new.then(Annotation::default)
            }
            Event::Removed { target } => {
                let since = self.end_outage(*target).and_then(|outage| outage.since);
                let is_reported = since.is_some_and(|since| now < since + SAME_CHANGE);
                (!is_reported).then(Annotation::default)
            }
            Event::Merged { retired, .. } => {
                self.end_outage(*retired);
                Some(Annotation::default())
            }
            Event::Dropped { addr, reason, .. } => {
                let ip = addr.map(|addr| addr.ip().to_string()).unwrap_or_default();
                self.observe_repeatable(hash(&[&ip, reason]), now)
            }
            Event::AcceptFailed { reason, .. } => self.observe_repeatable(hash(&[reason]), now),
            // Implied by the end of the output.
            Event::Stopped => None,
            _ => Some(Annotation::default()),
        }
    }

    fn find(&self, target: Target) -> Result<usize, usize> {
        self.outages.binary_search_by(|outage| outage.target.cmp(&target))
    }

    /// The outage of a peer, which begins here if there is none.
    fn outage_mut(&mut self, target: Target) -> &mut Outage {
        let at = self.find(target).unwrap_or_else(|at| {
            let outage = Outage { target, since: None, reported: Vec::new(), failed_dials: 0 };
            self.outages.insert(at, outage);
            at
        });
        &mut self.outages[at]
    }

    fn end_outage(&mut self, target: Target) -> Option<Outage> {
        let at = self.find(target).ok()?;
        Some(self.outages.remove(at))
    }

    /// Reports an event unless it was reported within `REPEAT_INTERVAL`.
    fn observe_repeatable(&mut self, hash: u64, now: Instant) -> Option<Annotation> {
        let known = self.repeats.iter().position(|repeat| repeat.hash == hash);
        let mut suppressed = 0;
        if let Some(at) = known {
            let repeat = &mut self.repeats[at];
            if now < repeat.reported + REPEAT_INTERVAL {
                repeat.suppressed += 1;
                return None;
            }
            suppressed = repeat.suppressed;
            self.repeats.remove(at);
        } else if self.repeats.len() == MAX_REPEATS {
            self.repeats.remove(0);
        }
        self.repeats.push(Repeat { hash, reported: now, suppressed: 0 });
        Some(Annotation { outage: None, count: suppressed })
    }
}

/// FNV-1a of some words. Stored instead of the words.
fn hash(words: &[&dyn Display]) -> u64 {
    struct Hash(u64);
    impl std::fmt::Write for Hash {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for byte in text.bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
            Ok(())
        }
    }
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    for word in words {
        let _ = write!(hash, "{word}\0");
    }
    hash.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmod_inet::{AttemptError, DownReason, DropReason};

    const SECOND: Duration = Duration::from_secs(1);

    fn attempt(port: u16) -> Event {
        let (addr, reason) = (format!("10.0.0.1:{port}"), AttemptError::NoAddress);
        Event::Attempt { target: 3.into(), addr, reason, retry: None }
    }

    #[test]
    fn the_same_failure_is_reported_once_until_the_peer_is_up() {
        let (mut dedup, now) = (Dedup::default(), Instant::now());
        let down =
            Event::Down { target: 3.into(), reason: DownReason::Closed, retry: Some(SECOND) };
        assert!(dedup.observe(&down, now).is_some());
        let reported = |dedup: &mut Dedup, port| dedup.observe(&attempt(port), now).is_some();
        assert_eq!(
            [1, 2, 1, 2, 1].map(|port| reported(&mut dedup, port)),
            [true, true, false, false, false]
        );
        let id = "ab".repeat(32).parse().unwrap();
        let (origin, peer_type) = (netmod_inet::Origin::Dialed, netmod_inet::PeerType::Standard);
        let up = Event::Up { target: 3.into(), id, addr: None, origin, peer_type, key: None };
        let annotation = dedup.observe(&up, now + SECOND);
        assert_eq!(annotation, Some(Annotation { outage: Some(SECOND), count: 5 }));
        assert!(reported(&mut dedup, 1), "a new outage");
        let many = (0..1_000).filter(|port| reported(&mut dedup, *port)).count();
        assert_eq!(many, MAX_FAILURES - 1, "one was reported above");
    }

    #[test]
    fn a_peer_that_ends_with_its_link_is_one_change() {
        let (mut dedup, now) = (Dedup::default(), Instant::now());
        let down = Event::Down { target: 3.into(), reason: DownReason::Closed, retry: None };
        let removed = Event::Removed { target: 3.into() };
        assert!(dedup.observe(&down, now).is_some());
        assert!(dedup.observe(&removed, now).is_none());
        assert!(dedup.observe(&down, now).is_some());
        assert!(
            dedup.observe(&removed, now + 2 * SECOND).is_some(),
            "the peer was kept for a while"
        );
        assert!(dedup.observe(&removed, now).is_some(), "the peer never was up");
        assert!(dedup.outages.is_empty());
    }

    #[test]
    fn a_repeated_drop_is_reported_once_per_interval() {
        let (mut dedup, now) = (Dedup::default(), Instant::now());
        let dropped = |port| Event::Dropped {
            addr: Some(([10, 0, 0, 9], port).into()),
            reason: DropReason::NotAllowed,
            suppressed: 0,
        };
        assert!(dedup.observe(&dropped(1), now).is_some());
        assert!((2..9).all(|port| dedup.observe(&dropped(port), now).is_none()));
        let annotation = dedup.observe(&dropped(9), now + REPEAT_INTERVAL);
        assert_eq!(annotation, Some(Annotation { outage: None, count: 7 }));
    }
}
