//! Frames that peers returned.

use std::collections::VecDeque;

use crate::peer::{PeerClass, cost};
use crate::primitives::lock::Mutex;
use crate::proto::{Frame, Target};

/// Frames that peers returned and the router has not taken yet, in the order of the first return of
/// each peer.
#[derive(Debug)]
pub(super) struct ReturnedFrames {
    /// Maximum total cost of the frames, in bytes.
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    peers: VecDeque<PeerFrames>,
    /// Invariant: the sum of [`cost`] over all frames.
    bytes: usize,
}

/// The frames that one peer returned.
#[derive(Debug)]
struct PeerFrames {
    target: Target,
    /// The class of the peer: frames of the lowest one are evicted first.
    class: PeerClass,
    frames: VecDeque<Frame>,
}

impl ReturnedFrames {
    /// Frames with a total cost of at most `limit` bytes are kept.
    pub(super) fn new(limit: usize) -> ReturnedFrames {
        ReturnedFrames { limit, state: Mutex::default() }
    }

    /// Adds the frames of a peer, and evicts others while the total cost exceeds the limit. Frames
    /// of strangers are evicted first.
    pub(super) fn push(&self, target: Target, class: PeerClass, frames: Vec<Frame>) {
        let evicted = self.state.lock().push(target, class, frames, self.limit);
        // Dropped without the lock: bytes that the caller lent may run its code.
        drop(evicted);
    }

    /// Removes and returns the frames of one peer.
    pub(super) fn take(&self, target: Target) -> Vec<Frame> {
        self.state.lock().take(target)
    }
}

impl State {
    /// Adds frames, and evicts others while the total cost exceeds `limit`. Returns the evicted
    /// frames.
    fn push(
        &mut self,
        target: Target,
        class: PeerClass,
        frames: Vec<Frame>,
        limit: usize,
    ) -> Vec<Frame> {
        self.bytes += frames.iter().map(cost).sum::<usize>();
        match self.peers.iter_mut().find(|other| other.target == target) {
            Some(peer) => {
                peer.frames.extend(frames);
                peer.class = class;
            }
            None => self.peers.push_back(PeerFrames { target, class, frames: frames.into() }),
        }
        let mut evicted = Vec::new();
        while self.bytes > limit {
            let lowest = self.peers.iter().enumerate().min_by_key(|(_, peer)| peer.class);
            let Some(at) = lowest.map(|(at, _)| at) else { break };
            self.evict_from(at, limit, &mut evicted);
        }
        evicted
    }

    /// Evicts the oldest frames of one peer while the total cost exceeds `limit`.
    fn evict_from(&mut self, at: usize, limit: usize, evicted: &mut Vec<Frame>) {
        let frames = &mut self.peers[at].frames;
        while self.bytes > limit {
            let Some(frame) = frames.pop_front() else { break };
            self.bytes -= cost(&frame);
            evicted.push(frame);
        }
        if frames.is_empty() {
            self.peers.remove(at);
        }
    }

    /// Removes and returns the frames of one peer.
    fn take(&mut self, target: Target) -> Vec<Frame> {
        let at = self.peers.iter().position(|peer| peer.target == target);
        let Some(peer) = at.and_then(|at| self.peers.remove(at)) else { return Vec::new() };
        self.bytes -= peer.frames.iter().map(cost).sum::<usize>();
        peer.frames.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Id;

    fn frames(count: usize) -> Vec<Frame> {
        vec![Frame::builder(8, Id::from_bytes([1; 32])).build().unwrap(); count]
    }

    #[test]
    fn returned_frames_are_bounded_and_the_oldest_are_evicted_first() {
        let mut returned = State::default();
        let limit = 3 * cost(&frames(1)[0]);
        returned.push(1.into(), PeerClass::Dialed, frames(1), limit);
        returned.push(2.into(), PeerClass::Dialed, frames(1), limit);
        returned.push(1.into(), PeerClass::Dialed, frames(1), limit);
        returned.push(3.into(), PeerClass::Dialed, frames(1), limit);
        assert_eq!([1, 2, 3].map(|target| returned.take(target.into()).len()), [1, 1, 1]);
        assert_eq!(returned.bytes, 0);
        returned.push(1.into(), PeerClass::Dialed, frames(4), limit);
        assert_eq!((returned.take(1.into()).len(), returned.bytes), (3, 0));
    }

    #[test]
    fn frames_of_a_lower_class_are_evicted_first() {
        let mut returned = State::default();
        let limit = 3 * cost(&frames(1)[0]);
        returned.push(1.into(), PeerClass::Dialed, frames(1), limit);
        returned.push(4.into(), PeerClass::Trusted, frames(1), limit);
        returned.push(2.into(), PeerClass::Stranger, frames(1), limit);
        returned.push(3.into(), PeerClass::Stranger, frames(2), limit);
        let take =
            |returned: &mut State| [1, 2, 3, 4].map(|target| returned.take(target.into()).len());
        assert_eq!(take(&mut returned), [1, 0, 1, 1]);
        returned.push(4.into(), PeerClass::Trusted, frames(2), limit);
        returned.push(1.into(), PeerClass::Dialed, frames(2), limit);
        assert_eq!(take(&mut returned), [2, 0, 0, 1]);
        assert_eq!(returned.bytes, 0);
    }
}
