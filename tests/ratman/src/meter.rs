//! What a link has been seen to carry.

use std::time::{Duration, Instant};

use libratman::endpoint::NeighbourMetrics;
use netmod_inet::PeerInfo;

/// Shortest time that bytes count as having come in: a single frame is no flow.
const MIN_SPAN: Duration = Duration::from_secs(1);

/// Time after which what was seen counts as old. It is forgotten after as long once more.
const WINDOW: Duration = Duration::from_secs(300);

/// The highest rates of one link, each way.
///
/// The router scores routes by what they can carry. That shows while something is carried, so the
/// highest rate counts; and it changes, so only for a while. Rates are taken from one question to
/// the next: the router asks whenever an announcement comes in.
#[derive(Debug)]
pub(crate) struct Meter {
    link: u64,
    /// The counters at some time during the link.
    from: Sample,
    /// The highest rates since `since`, and those of the window before.
    best: NeighbourMetrics,
    before: NeighbourMetrics,
    since: Instant,
}

/// The counters of a peer, which run on over all its links.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    link: u64,
    at: Instant,
    sent: u64,
    received: u64,
}

impl Meter {
    /// A meter for the present link of a peer, which has been up for so long.
    ///
    /// What the counters showed when a later link came up is not known, so such a one is measured
    /// from now on.
    pub(crate) fn new(now: Sample, up: Duration) -> Meter {
        let start = now.at.checked_sub(up).unwrap_or(now.at);
        let from = match now.link {
            1 => Sample { at: start, sent: 0, received: 0, ..now },
            _ => now,
        };
        let (best, before) = (NeighbourMetrics::default(), NeighbourMetrics::default());
        Meter { link: now.link, from, best, before, since: now.at }
    }

    /// Whether this is the meter of the link that there is now.
    pub(crate) fn is_of(&self, now: &Sample) -> bool {
        self.link == now.link
    }

    /// Bytes per second, or `None` as long as nothing was carried.
    pub(crate) fn look(&mut self, now: Sample) -> Option<NeighbourMetrics> {
        let rates = self.from.rates(&now);
        self.rotate(now.at);
        if now.at.saturating_duration_since(self.from.at) >= MIN_SPAN {
            self.from = now;
            self.best = highest(self.best, rates);
        }
        let seen = highest(highest(self.best, self.before), rates);
        Some(seen).filter(|seen| *seen != NeighbourMetrics::default())
    }

    /// Begins a new window when it is time.
    fn rotate(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            let best = std::mem::take(&mut self.best);
            self.before = if passed < 2 * WINDOW { best } else { NeighbourMetrics::default() };
            self.since = now;
        }
    }
}

impl Sample {
    pub(crate) fn now(peer: &PeerInfo) -> Sample {
        let (sent, received) = (peer.bytes_sent, peer.bytes_received);
        Sample { link: peer.links, at: Instant::now(), sent, received }
    }

    fn rates(&self, to: &Sample) -> NeighbourMetrics {
        let time = to.at.saturating_duration_since(self.at).max(MIN_SPAN);
        let rate = |from: u64, to: u64| {
            let bytes = u128::from(to.saturating_sub(from));
            u64::try_from(bytes * 1_000_000_000 / time.as_nanos()).unwrap_or(u64::MAX)
        };
        NeighbourMetrics {
            write_bandwidth: rate(self.sent, to.sent),
            read_bandwidth: rate(self.received, to.received),
        }
    }
}

fn highest(one: NeighbourMetrics, other: NeighbourMetrics) -> NeighbourMetrics {
    NeighbourMetrics {
        write_bandwidth: one.write_bandwidth.max(other.write_bandwidth),
        read_bandwidth: one.read_bandwidth.max(other.read_bandwidth),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The counters of a link `seconds` seconds after `start`.
    fn mark(start: Instant, seconds: u32, link: u64, sent: u64, received: u64) -> Sample {
        Sample { link, at: start + seconds * SECOND, sent, received }
    }

    fn rates(metrics: Option<NeighbourMetrics>) -> Option<(u64, u64)> {
        metrics.map(|metrics| (metrics.write_bandwidth, metrics.read_bandwidth))
    }

    #[test]
    fn the_first_link_is_measured_from_its_start() {
        let start = Instant::now();
        let now = mark(start, 10, 1, 5_000, 100);
        assert_eq!(rates(Meter::new(now, 10 * SECOND).look(now)), Some((500, 10)));
        let now = mark(start, 0, 1, 5_000, 0);
        assert_eq!(rates(Meter::new(now, SECOND / 100).look(now)), Some((5_000, 0)), "no flow yet");
    }

    #[test]
    fn a_later_link_is_measured_from_the_first_question() {
        let start = Instant::now();
        let mut meter = Meter::new(mark(start, 10, 2, 5_000, 5_000), 10 * SECOND);
        assert_eq!(rates(meter.look(mark(start, 10, 2, 5_000, 5_000))), None);
        let later = mark(start, 14, 2, 5_400, 5_000);
        assert_eq!(rates(meter.look(later)), Some((100, 0)));
        assert!(meter.is_of(&later) && !meter.is_of(&mark(start, 14, 3, 0, 0)));
    }

    #[test]
    fn a_quiet_link_stays_as_fast_as_it_was_for_a_while() {
        let start = Instant::now();
        let mut meter = Meter::new(mark(start, 0, 1, 0, 0), Duration::ZERO);
        assert_eq!(rates(meter.look(mark(start, 10, 1, 10_000, 0))), Some((1_000, 0)));
        assert_eq!(rates(meter.look(mark(start, 20, 1, 10_100, 50))), Some((1_000, 5)));
        assert_eq!(rates(meter.look(mark(start, 400, 1, 10_100, 50))), Some((1_000, 5)));
        assert_eq!(rates(meter.look(mark(start, 500, 1, 30_100, 50))), Some((1_000, 5)));
        assert_eq!(rates(meter.look(mark(start, 501, 1, 33_100, 50))), Some((3_000, 5)));
        assert_eq!(rates(meter.look(mark(start, 750, 1, 33_349, 50))), Some((3_000, 0)));
        assert_eq!(rates(meter.look(mark(start, 2_000, 1, 34_599, 50))), Some((1, 0)), "forgotten");
    }
}
