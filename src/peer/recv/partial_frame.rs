//! How long a link stays inside one frame.

use std::time::Duration;

/// Seconds that any frame may take.
const MAX_SECONDS: u32 = 60;

/// Bytes per second below which a frame may not take longer. The largest one takes 257 s at this
/// rate: a slow path is no crime.
const MIN_RATE: usize = 256;

/// The frame that is being received, sampled once a second while there is one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PartialFrame {
    /// Tells the frame from those before and behind it.
    number: u32,
    /// For how long it has been seen.
    seconds: u32,
}

impl PartialFrame {
    /// Records that another second has passed. `number` changes from frame to frame; `bytes` is how
    /// much of this one has arrived, zero if there is none. Returns how long it has taken if that is
    /// too long.
    pub(crate) fn sample(&mut self, number: u32, bytes: usize) -> Option<Duration> {
        if bytes == 0 || number != self.number {
            *self = PartialFrame { number, seconds: 0 };
            return None;
        }
        self.seconds = self.seconds.saturating_add(1);
        let is_slow = bytes / MIN_RATE < self.seconds as usize;
        (self.seconds > MAX_SECONDS && is_slow).then(|| Duration::from_secs(self.seconds.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Frame, LENGTH_PREFIX};

    /// The seconds after which a frame of which `rate` bytes a second arrive is given up.
    fn given_up(rate: usize) -> Option<u64> {
        let mut partial = PartialFrame::default();
        for second in 0..600 {
            let bytes = (1 + second * rate).min(LENGTH_PREFIX + Frame::MAX_LEN);
            if let Some(time) = partial.sample(7, bytes) {
                assert_eq!(time.as_secs(), second as u64);
                return Some(time.as_secs());
            }
        }
        None
    }

    #[test]
    fn a_frame_is_given_up_that_is_long_and_slow() {
        assert_eq!(given_up(0), Some(61));
        assert_eq!(given_up(255), Some(61));
        assert_eq!(given_up(256), Some(257), "all but the largest frame is complete by then");
        assert_eq!(given_up(1_000), Some(257), "no frame is larger");
    }

    #[test]
    fn every_frame_has_its_own_time() {
        let mut partial = PartialFrame::default();
        for number in 1..100 {
            for _ in 0..60 {
                assert_eq!(partial.sample(number, 1), None);
            }
        }
        (0..60).for_each(|_| assert_eq!(partial.sample(100, 1), None));
        assert_eq!(partial.sample(100, 0), None, "the reader is between two frames");
        (0..60).for_each(|_| assert_eq!(partial.sample(100, 1), None));
        assert_eq!(partial.sample(100, 1), Some(Duration::from_secs(61)));
    }
}
