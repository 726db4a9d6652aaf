//! Two peers that become one: each with one other at a time. What shows that they are the same, and
//! what is left of the one that went.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Peer;
use super::info::Parked;
use crate::timer;

/// Two peers that are being merged. Dropping it is the end of that, however it went.
#[derive(Debug)]
pub(crate) struct Merging {
    _marks: [Mark; 2],
}

impl Merging {
    /// Begins to merge two peers. `None` if one of them is being merged already, or about to end.
    pub(crate) fn begin(one: &Arc<Peer>, other: &Arc<Peer>) -> Option<Merging> {
        if one.is_off() || other.is_off() {
            return None;
        }
        // In one order everywhere: otherwise two tasks could both get half, and both give up.
        let (first, second) = match one.target < other.target {
            true => (one, other),
            false => (other, one),
        };
        Some(Merging { _marks: [Mark::set(first)?, Mark::set(second)?] })
    }
}

impl Peer {
    /// Takes over the addresses of a peer that turned out to be the same.
    pub(crate) fn park(&self, other: &Peer) {
        let proved = other.pair().and_then(|pair| pair.key());
        let own = other.dial.iter().map(|addr| Parked { addr: (**addr).clone(), proved });
        let parked: Vec<_> = own.chain(other.history().dials.parked.iter().cloned()).collect();
        if !parked.is_empty() {
            self.history().dials.parked.extend(parked);
        }
    }

    /// Notes that another link to the same node has this name.
    pub(crate) fn note_same(&self, name: &[u8; 8]) {
        self.history().sameness.same_as = Some(*name);
    }

    /// Whether the pair called `name` was shown to be of the same node.
    pub(crate) fn is_same(&self, name: &[u8; 8]) -> bool {
        self.history().sameness.same_as == Some(*name)
    }

    /// Notes what the other side answered about the pair that goes.
    pub(crate) fn note_answer(&self, name: [u8; 8], received: u64) {
        self.history().sameness.answer = Some((name, received));
        self.signal.tell();
    }

    /// What the other side answered about the pair that goes.
    pub(crate) fn answer(&self, name: &[u8; 8]) -> Option<u64> {
        self.history().sameness.answer.filter(|(of, _)| of == name).map(|(_, received)| received)
    }

    /// Notes what the other side was told about the pair that went.
    pub(crate) fn note_told(&self, name: [u8; 8], received: u64) {
        self.history().sameness.told = Some((name, received));
    }

    /// What the other side was told about the pair that went.
    pub(crate) fn told(&self, name: &[u8; 8]) -> Option<u64> {
        self.history().sameness.told.filter(|(of, _)| of == name).map(|(_, received)| received)
    }

    /// Notes that the other side told a count.
    pub(crate) fn note_life(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.signal.tell();
    }

    /// How often the other side told a count.
    pub(crate) fn answers(&self) -> u32 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Asks the other side to tell a count, unless it was asked within the last `recent`. Returns
    /// how often it had told one when it was asked.
    pub(crate) fn challenge(&self, recent: Duration) -> u32 {
        let asked = self.history().sameness.challenge.filter(|(at, _)| timer::since(*at) < recent);
        let (_, answers) = asked.unwrap_or_else(|| {
            self.queue.say_probe();
            let asked = (timer::now(), self.answers());
            self.history().sameness.challenge = Some(asked);
            asked
        });
        answers
    }

    /// Whether the peer is being merged with another.
    pub(crate) fn is_merging(&self) -> bool {
        self.history().is_merging
    }

    /// Notes that this is the one of two merging peers that goes.
    pub(crate) fn set_going(&self) {
        self.history().is_going = true;
    }

    /// Whether the peer is about to be merged into another.
    pub(crate) fn is_going(&self) -> bool {
        self.history().is_going
    }
}

/// One of the two.
#[derive(Debug)]
struct Mark(Arc<Peer>);

impl Mark {
    fn set(peer: &Arc<Peer>) -> Option<Mark> {
        let was_merging = std::mem::replace(&mut peer.history().is_merging, true);
        (!was_merging).then(|| Mark(peer.clone()))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut history = self.0.history();
        (history.is_merging, history.is_going) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DownReason;
    use crate::fuzz::Line;
    use crate::link::Link;
    use crate::peer::{Budget, Origin, Queue};
    use crate::proto::{Id, PeerType};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn peer(target: u16) -> Arc<Peer> {
        let queue = Queue::new(Budget::new(1), 1, 1);
        Arc::new(Peer::linked(target, PeerType::Standard, Origin::Accepted, queue))
    }

    #[test]
    fn a_peer_is_merged_with_one_other_at_a_time() {
        let [a, b, c] = [0, 1, 2].map(peer);
        let merging = Merging::begin(&b, &a).unwrap();
        assert!(a.is_merging() && b.is_merging());
        assert!(Merging::begin(&a, &c).is_none() && Merging::begin(&c, &b).is_none());
        assert!(!c.is_merging(), "half of it was left");
        drop(merging);
        assert!(Merging::begin(&c, &b).is_some());
        assert!(![a, b, c].iter().any(|peer| peer.is_merging()));
    }

    /// It took a live link for dead: the answer to what was asked over the one before never came.
    #[test]
    fn what_was_asked_over_a_link_that_ended_is_asked_again_over_the_next() {
        let peer = peer(0);
        let id = Id::from_bytes([1; 32]);
        let recent = Duration::from_secs(3600);
        let has_asked =
            || peer.queue.lock().control.take().is_some_and(|records| records.probe.is_some());
        for _ in 0..2 {
            let link = Link::new(Line::pair().0, None, Vec::new(), Some(id));
            peer.link_up(id, &link);
            peer.challenge(recent);
            assert!(has_asked(), "it was not asked");
            peer.challenge(recent);
            assert!(!has_asked(), "it was asked a moment ago");
            peer.link_down(&DownReason::Closed, None);
        }
    }

    #[test]
    fn of_many_who_begin_at_once_one_does() {
        let (a, b) = (peer(0), peer(1));
        for _ in 0..200 {
            let (began, start, end) = (&AtomicUsize::new(0), &Barrier::new(4), &Barrier::new(4));
            std::thread::scope(|scope| {
                for pair in [[&a, &b], [&b, &a], [&a, &b], [&b, &a]] {
                    scope.spawn(move || {
                        start.wait();
                        let merging = Merging::begin(pair[0], pair[1]);
                        began.fetch_add(merging.is_some().into(), Ordering::Relaxed);
                        end.wait();
                    });
                }
            });
            assert_eq!(began.load(Ordering::Relaxed), 1);
        }
    }
}
