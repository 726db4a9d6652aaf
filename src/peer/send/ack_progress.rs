//! The progress of acknowledgements on a link: how long there was none, and how fast they come.

use std::time::Duration;

/// Shortest time without progress after which a link is given up, in seconds.
const MIN_STALL: usize = 60;

/// The same in multiples of the time that the unacknowledged frames take at the measured rate. The
/// longer of the two applies.
const STALL_FACTOR: usize = 4;

/// Bytes per second that a path is assumed to carry until more is measured. The largest frame takes
/// 65 s at this rate.
const ASSUMED_RATE: usize = 1024;

/// Bytes per second below which a measured rate does not count: a remote that feigns a slow path
/// would be waited for all the longer.
const MIN_RATE: usize = 256;

/// Weight of the last second in the measured rate: one part of so many.
const SMOOTHING: usize = 4;

/// What the liveness monitor knows of a link once a second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AckSample {
    /// Number of frames that were acknowledged in this session.
    pub(crate) frames: u64,
    /// Cost of the frames that were acknowledged on this link.
    pub(crate) bytes: usize,
    /// Cost of the frames that were written and not acknowledged.
    pub(crate) unacked: usize,
    /// Length of the oldest frame.
    pub(crate) oldest: usize,
}

/// The progress of acknowledgements on one link, sampled once a second while any are owed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AckProgress {
    last: AckSample,
    /// Seconds without an acknowledgement, while any is owed.
    stalled: usize,
    /// Bytes per second at which frames are acknowledged while some are owed all the time. Zero
    /// until that is measured.
    rate: usize,
}

impl AckProgress {
    /// Begins with the present state of the link, and the rate that was measured before.
    pub(crate) fn new(now: AckSample, rate: usize) -> AckProgress {
        AckProgress { last: now, stalled: 0, rate }
    }

    /// The measured rate, in bytes per second. Zero if there is none.
    pub(crate) fn rate(&self) -> usize {
        self.rate
    }

    /// Records the state of the link after one more second.
    pub(crate) fn sample(&mut self, now: AckSample) {
        let is_busy = now.unacked > 0;
        if now.frames == self.last.frames {
            self.stalled = if is_busy { self.stalled.saturating_add(1) } else { 0 };
        } else {
            let acked = now.bytes.saturating_sub(self.last.bytes);
            self.measure(acked, self.stalled + 1, is_busy);
            self.stalled = 0;
        }
        self.last = now;
    }

    /// Measures the rate. Where all was acknowledged in time, the path may be faster than that.
    fn measure(&mut self, acked: usize, seconds: usize, is_busy: bool) {
        let rate = acked / seconds;
        if rate > self.rate.max(ASSUMED_RATE) || is_busy && self.rate == 0 {
            self.rate = rate.max(1);
        } else if is_busy {
            let weight = SMOOTHING - 1;
            self.rate =
                (self.rate / (seconds + weight) * weight + acked / (seconds + weight)).max(1);
        }
    }

    /// The time without progress, if the link is to be given up for it.
    pub(crate) fn stall(&self) -> Option<Duration> {
        let transfer = match self.rate {
            0 => seconds_for(self.last.oldest, ASSUMED_RATE),
            rate => seconds_for(self.last.unacked, rate.max(MIN_RATE)),
        };
        let limit = (STALL_FACTOR * transfer).max(MIN_STALL);
        (self.stalled >= limit).then(|| Duration::from_secs(self.stalled as u64))
    }

    /// How long the oldest frame may take on its way, during which the remote may be unable to
    /// answer.
    pub(crate) fn transfer_time(&self) -> Duration {
        Duration::from_secs(seconds_for(self.last.oldest, self.rate.max(ASSUMED_RATE)) as u64)
    }

    /// For how many seconds the remote has held, or will hold, unacknowledged frames.
    pub(crate) fn hold_time(&self) -> usize {
        self.last.unacked.checked_div(self.rate).unwrap_or_default().max(self.stalled)
    }
}

/// How many seconds this number of bytes takes at this rate.
fn seconds_for(bytes: usize, rate: usize) -> usize {
    bytes / rate + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cost of the largest frame, about.
    const LARGEST: usize = 65_900;

    /// A link whose oldest frame has this size, and `unacked` bytes to be acknowledged.
    fn link(unacked: usize, oldest: usize) -> AckProgress {
        AckProgress::new(AckSample { unacked, oldest, ..AckSample::default() }, 0)
    }

    /// Adds an acknowledgement of `bytes` bytes.
    fn acked(progress: &AckProgress, bytes: usize, unacked: usize) -> AckSample {
        let AckSample { frames, bytes: before, oldest, .. } = progress.last;
        AckSample { frames: frames + 1, bytes: before + bytes, unacked, oldest }
    }

    /// Lets time pass without an acknowledgement. Returns the seconds until the link is given up.
    fn give_up(mut progress: AckProgress) -> u64 {
        for seconds in 1.. {
            progress.sample(progress.last);
            if let Some(stall) = progress.stall() {
                assert!(stall.as_secs() >= seconds, "not counted from the last acknowledgement");
                return seconds;
            }
        }
        unreachable!()
    }

    #[test]
    fn a_remote_that_never_acknowledges_is_given_up_after_a_minute() {
        assert_eq!(give_up(link(1 << 20, 1_000)), 60);
        assert_eq!(give_up(link(1, 1)), 60);
        // The largest frame takes 65 s at 1 kB/s.
        assert_eq!(give_up(link(LARGEST, LARGEST)), 4 * 65);
    }

    #[test]
    fn a_fast_path_is_given_up_after_a_minute_and_a_slow_one_gets_its_time() {
        for (rate, limit) in [(1 << 20, 60), (10 << 10, 4 * 103), (100, 4 * 4097)] {
            let mut progress = link(1 << 20, 1_000);
            for _ in 0..10 {
                progress.sample(acked(&progress, rate, 1 << 20));
                assert_eq!(progress.stall(), None);
            }
            assert_eq!(give_up(progress), limit, "{rate} B/s");
        }
    }

    #[test]
    fn the_largest_frames_pass_at_1_kb_per_second() {
        let mut progress = link(3 * LARGEST, LARGEST);
        for _ in 0..10 {
            for _ in 0..65 {
                progress.sample(progress.last);
                assert_eq!(progress.stall(), None);
            }
            progress.sample(acked(&progress, LARGEST, 3 * LARGEST));
        }
        assert!((900..1100).contains(&progress.rate), "{} B/s", progress.rate);
        assert_eq!(progress.transfer_time(), Duration::from_secs(65));
    }

    #[test]
    fn only_a_busy_link_lowers_the_rate() {
        let mut progress = link(0, 1_000);
        for _ in 0..10 {
            progress.sample(acked(&progress, 200, 0));
        }
        assert_eq!(progress.rate, 0, "one small frame a second");
        progress.sample(acked(&progress, 1 << 20, 0));
        progress.sample(acked(&progress, 200, 0));
        assert_eq!(progress.rate, 1 << 20);
        for _ in 0..30 {
            progress.sample(acked(&progress, 2_000, 1));
        }
        assert!((1900..2500).contains(&progress.rate), "{} B/s", progress.rate);
    }

    #[test]
    fn no_time_counts_while_nothing_is_owed() {
        let mut progress = link(1, 1);
        (0..59).for_each(|_| progress.sample(progress.last));
        progress.sample(AckSample { unacked: 0, ..progress.last });
        progress.sample(AckSample { unacked: 1, ..progress.last });
        assert_eq!(progress.stall(), None);
        assert_eq!(give_up(progress), 59);
    }

    #[test]
    fn frames_are_held_for_as_long_as_the_remote_takes_for_them() {
        let mut progress = link(1 << 20, 1_000);
        (0..9).for_each(|_| progress.sample(progress.last));
        assert_eq!(progress.hold_time(), 9);
        progress.sample(acked(&progress, 10 << 20, 1 << 20));
        assert_eq!(progress.hold_time(), 1);
    }
}
