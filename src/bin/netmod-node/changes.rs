//! What has been told already, so that a log has one line for each change and no more.

use netmod_inet::{Event, Target};
use std::fmt::{Display, Write as _};
use std::time::{Duration, Instant};

/// Different troubles of a peer that are told while it is down. One that has more addresses than
/// that is not worth more lines.
const TROUBLES: usize = 8;

/// The end of a peer that follows its link within this time is the same change.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The same trouble with strangers is told again after this time.
const AGAIN: Duration = Duration::from_secs(600);

/// Troubles with strangers that are remembered.
const STRANGERS: usize = 64;

/// What the readers of a log know.
#[derive(Default)]
pub(crate) struct Changes {
    /// Peers that are not up, ordered by target.
    down: Vec<Down>,
    strangers: Vec<Trouble>,
}

struct Down {
    target: Target,
    /// When its link ended; `None` for one that has had none.
    since: Option<Instant>,
    told: Vec<u64>,
    failed: usize,
}

struct Trouble {
    what: u64,
    told: Instant,
    untold: usize,
}

/// What is to be told beside an event.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct News {
    /// For how long a peer that is up again had no link.
    pub(crate) down: Option<Duration>,
    /// Dials that failed meanwhile, or events of this kind that were not told.
    pub(crate) count: usize,
}

impl Changes {
    /// Whether an event is news, and what belongs to it.
    pub(crate) fn note(&mut self, event: &Event, now: Instant) -> Option<News> {
        match event {
            Event::Up { target, .. } => {
                let Some(down) = self.take(*target) else { return Some(News::default()) };
                let time = down.since.map(|since| now.saturating_duration_since(since));
                Some(News { down: time, count: down.failed })
            }
            Event::Down { target, .. } => {
                let down = self.down(*target);
                down.since = Some(now);
                Some(News::default())
            }
            Event::Attempt { target, addr, reason, .. } => {
                let what = hash(&[addr, reason]);
                let down = self.down(*target);
                down.failed += 1;
                if down.told.len() < TROUBLES && !down.told.contains(&what) {
                    down.told.push(what);
                    return Some(News::default());
                }
                None
            }
            Event::Removed { target } => {
                let since = self.take(*target).and_then(|down| down.since);
                let is_told = since.is_some_and(|since| now < since + AT_ONCE);
                (!is_told).then(News::default)
            }
            Event::Merged { retired, .. } => {
                self.take(*retired);
                Some(News::default())
            }
            Event::Dropped { addr, reason, .. } => {
                let ip = addr.map(|addr| addr.ip().to_string()).unwrap_or_default();
                self.trouble(hash(&[&ip, reason]), now)
            }
            Event::AcceptFailed { reason, .. } => self.trouble(hash(&[reason]), now),
            // The end of the output says as much.
            Event::Stopped => None,
            _ => Some(News::default()),
        }
    }

    fn find(&self, target: Target) -> Result<usize, usize> {
        self.down.binary_search_by(|down| down.target.cmp(&target))
    }

    fn down(&mut self, target: Target) -> &mut Down {
        let at = self.find(target).unwrap_or_else(|at| {
            self.down.insert(at, Down { target, since: None, told: Vec::new(), failed: 0 });
            at
        });
        &mut self.down[at]
    }

    fn take(&mut self, target: Target) -> Option<Down> {
        let at = self.find(target).ok()?;
        Some(self.down.remove(at))
    }

    /// The same trouble comes again and again from those who try again and again.
    fn trouble(&mut self, what: u64, now: Instant) -> Option<News> {
        let known = self.strangers.iter().position(|trouble| trouble.what == what);
        let mut untold = 0;
        if let Some(at) = known {
            let trouble = &mut self.strangers[at];
            if now < trouble.told + AGAIN {
                trouble.untold += 1;
                return None;
            }
            untold = trouble.untold;
            self.strangers.remove(at);
        } else if self.strangers.len() == STRANGERS {
            self.strangers.remove(0);
        }
        self.strangers.push(Trouble { what, told: now, untold: 0 });
        Some(News { down: None, count: untold })
    }
}

/// A number for some words, so that they need not be kept.
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
        Event::Attempt { target: 3, addr, reason, retry: None }
    }

    #[test]
    fn the_same_trouble_is_told_once_until_the_peer_is_up() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        let down = Event::Down { target: 3, reason: DownReason::Closed, retry: Some(SECOND) };
        assert!(changes.note(&down, now).is_some());
        let told = |changes: &mut Changes, port| changes.note(&attempt(port), now).is_some();
        assert_eq!(
            [1, 2, 1, 2, 1].map(|port| told(&mut changes, port)),
            [true, true, false, false, false]
        );
        let id = "ab".repeat(32).parse().unwrap();
        let (origin, peer_type) = (netmod_inet::Origin::Dialed, netmod_inet::PeerType::Standard);
        let up = Event::Up { target: 3, id, addr: None, origin, peer_type, key: None };
        let news = changes.note(&up, now + SECOND);
        assert_eq!(news, Some(News { down: Some(SECOND), count: 5 }));
        assert!(told(&mut changes, 1), "it is another outage");
        let many = (0..1_000).filter(|port| told(&mut changes, *port)).count();
        assert_eq!(many, TROUBLES - 1, "those of the first are remembered");
    }

    #[test]
    fn a_peer_that_ends_with_its_link_is_one_change() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        let down = Event::Down { target: 3, reason: DownReason::Closed, retry: None };
        let removed = Event::Removed { target: 3 };
        assert!(changes.note(&down, now).is_some());
        assert!(changes.note(&removed, now).is_none());
        assert!(changes.note(&down, now).is_some());
        assert!(changes.note(&removed, now + 2 * SECOND).is_some(), "it was waited for");
        assert!(changes.note(&removed, now).is_some(), "it never was up");
        assert!(changes.down.is_empty());
    }

    #[test]
    fn who_knocks_again_and_again_is_told_now_and_then() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        let knock = |port| Event::Dropped {
            addr: Some(([10, 0, 0, 9], port).into()),
            reason: DropReason::NotAllowed,
            suppressed: 0,
        };
        assert!(changes.note(&knock(1), now).is_some());
        assert!((2..9).all(|port| changes.note(&knock(port), now).is_none()));
        let news = changes.note(&knock(9), now + AGAIN);
        assert_eq!(news, Some(News { down: None, count: 7 }));
    }
}
