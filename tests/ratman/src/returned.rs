//! Frames that came back for a neighbour, until it is there again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use netmod_inet::Frame;

/// Time after which a frame is given up: what a client sent ten minutes ago it has sent again.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(600);

/// What a frame counts beside its bytes: its place here, and its allocation.
const OVERHEAD: usize = 128;

/// Frames in the order in which they were sent first.
#[derive(Debug, Default)]
pub(crate) struct Returned {
    frames: VecDeque<(Instant, Frame)>,
    bytes: usize,
    /// Where the next frames belong that come back: behind those that came back since some were
    /// last sent, and before those that never were, for whatever is in a queue is older than these.
    insert_at: usize,
}

/// Frames that are given up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenUp {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

impl GivenUp {
    pub(crate) fn add(&mut self, frame: &Frame) {
        self.frames += 1;
        self.bytes += frame.len();
    }
}

impl Returned {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// What all of them count.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a frame behind the others.
    pub(crate) fn push(&mut self, frame: Frame, now: Instant) {
        let at = self.frames.len();
        self.insert(at, frame, now);
    }

    /// Adds frames that came back from a queue, in their order.
    pub(crate) fn return_all(&mut self, frames: Vec<Frame>, now: Instant) {
        for frame in frames {
            self.insert(self.insert_at, frame, now);
            self.insert_at += 1;
        }
    }

    fn insert(&mut self, at: usize, frame: Frame, now: Instant) {
        // A slice of a read buffer must not keep all of it in memory while it waits.
        let frame = frame.compact();
        self.bytes += frame.len() + OVERHEAD;
        self.frames.insert(at, (now, frame));
    }

    /// The oldest frame.
    pub(crate) fn front(&self) -> Option<&Frame> {
        self.frames.front().map(|(_, frame)| frame)
    }

    /// Takes the oldest frame out, to send it.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let frame = self.pop_oldest()?;
        self.insert_at = 0;
        Some(frame)
    }

    fn pop_oldest(&mut self) -> Option<Frame> {
        let (_, frame) = self.frames.pop_front()?;
        self.bytes -= frame.len() + OVERHEAD;
        self.insert_at = self.insert_at.saturating_sub(1);
        Some(frame)
    }

    /// When the oldest frame is given up.
    pub(crate) fn expires(&self) -> Option<Instant> {
        self.frames.front().map(|(since, _)| *since + MAX_AGE)
    }

    /// Gives up frames that have been here for too long.
    pub(crate) fn expire(&mut self, now: Instant) -> GivenUp {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= MAX_AGE;
        let mut given_up = GivenUp::default();
        while self.frames.front().is_some_and(|(since, _)| is_old(*since)) {
            self.pop_oldest().iter().for_each(|frame| given_up.add(frame));
        }
        given_up
    }

    /// Gives up the oldest frames until `bytes` bytes, or all there are, were freed.
    pub(crate) fn evict(&mut self, bytes: usize) -> GivenUp {
        let kept = self.bytes.saturating_sub(bytes);
        let mut given_up = GivenUp::default();
        while self.bytes > kept {
            let Some(frame) = self.pop_oldest() else { break };
            given_up.add(&frame);
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmod_inet::Id;

    fn frame(number: u8) -> Frame {
        let builder = Frame::builder(8, Id::from_bytes([number; 32]));
        builder.payload(vec![number; 59]).build().expect("a frame")
    }

    #[test]
    fn frames_are_given_up_oldest_first_by_age_and_by_bytes() {
        let start = Instant::now();
        let mut returned = Returned::default();
        for number in 0..6 {
            returned.push(frame(number), start + MAX_AGE * u32::from(number) / 5);
        }
        assert_eq!(returned.bytes(), 6 * 228);
        let given_up = returned.expire(start + MAX_AGE + MAX_AGE / 3);
        assert_eq!(given_up, GivenUp { frames: 2, bytes: 200 });
        assert_eq!(returned.evict(229), GivenUp { frames: 2, bytes: 200 });
        assert_eq!(returned.front(), Some(&frame(4)));
        assert_eq!(returned.evict(usize::MAX).frames, 2);
        assert!(returned.is_empty() && returned.bytes() == 0);
    }

    #[test]
    fn frames_that_come_back_again_go_before_those_never_sent() {
        let now = Instant::now();
        let mut returned = Returned::default();
        let frames = |numbers: &[u8]| numbers.iter().map(|number| frame(*number)).collect();
        returned.return_all(frames(&[1, 2]), now);
        returned.return_all(frames(&[3, 4]), now);
        returned.push(frame(5), now);
        assert_eq!([returned.pop(), returned.pop()], [Some(frame(1)), Some(frame(2))]);
        returned.return_all(frames(&[1]), now);
        returned.return_all(frames(&[2]), now);
        for number in 1..=5 {
            assert_eq!(returned.pop(), Some(frame(number)));
        }
        assert!(returned.is_empty());
    }
}
