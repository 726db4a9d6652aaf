//! Lines in the log: envelopes that are not sent are counted, and written at a limited rate.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use libratman::types::Ident32;

use crate::returned::GivenUp;

/// Least time between two lines about envelopes that were refused or given up.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lines about claims in a second at most.
const CLAIM_LINES: u32 = 10;

/// The log target of this crate.
pub(crate) const TARGET: &str = "netmod_inet_ratman";

/// What was counted and is not in the log yet.
#[derive(Debug)]
pub(crate) struct Report {
    counts: BTreeMap<&'static str, Count>,
    /// Frames that arrived twice and were not handed out again.
    duplicates: u64,
    /// Before this time there is no line.
    next: Instant,
    /// Lines about claims that may still be written in this second, and those that were not.
    claim_lines: u32,
    claim_second: Instant,
    claims_left_out: u64,
}

#[derive(Debug)]
struct Count {
    frames: usize,
    /// The last neighbour that one was for, if it was for one.
    neighbour: Option<Ident32>,
}

impl Report {
    pub(crate) fn new() -> Report {
        let now = Instant::now();
        Report {
            counts: BTreeMap::new(),
            duplicates: 0,
            next: now,
            claim_lines: CLAIM_LINES,
            claim_second: now,
            claims_left_out: 0,
        }
    }

    /// Counts an envelope that `send` gave back or threw away.
    pub(crate) fn refused(&mut self, neighbour: Option<Ident32>, reason: &'static str) {
        self.count(1, neighbour, reason);
    }

    /// Counts frames that had come back and were not sent again.
    pub(crate) fn given_up(&mut self, neighbour: Ident32, what: GivenUp, reason: &'static str) {
        if what.frames > 0 {
            self.count(what.frames, Some(neighbour), reason);
        }
    }

    /// Counts a frame that arrived twice and was not handed out again.
    pub(crate) fn dropped_duplicate(&mut self) {
        self.duplicates += 1;
    }

    fn count(&mut self, frames: usize, neighbour: Option<Ident32>, reason: &'static str) {
        let count = self.counts.entry(reason).or_insert(Count { frames: 0, neighbour });
        count.frames += frames;
        count.neighbour = neighbour;
    }

    /// Writes a line about a claim on a name. Anybody can make claims, so there is a limit.
    pub(crate) fn claim(&mut self, now: Instant, line: fmt::Arguments<'_>) {
        if now.saturating_duration_since(self.claim_second) >= INTERVAL {
            (self.claim_second, self.claim_lines) = (now, CLAIM_LINES);
        }
        if self.claim_lines == 0 {
            self.claims_left_out += 1;
            return;
        }
        self.claim_lines -= 1;
        match std::mem::take(&mut self.claims_left_out) {
            0 => log::warn!(target: TARGET, "{line}"),
            more => log::warn!(target: TARGET, "{line} ({more} more claims are not in the log)"),
        }
    }

    /// When what was counted may be written next; `None` if nothing was counted.
    pub(crate) fn due(&self) -> Option<Instant> {
        (!self.counts.is_empty() || self.duplicates > 0).then_some(self.next)
    }

    /// Writes what was counted, if it is time.
    pub(crate) fn write_if_due(&mut self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            self.next = now + INTERVAL;
            self.write();
        }
    }

    /// Writes what was counted.
    pub(crate) fn write(&mut self) {
        if !self.counts.is_empty() {
            log::warn!(target: TARGET, "{self}");
            self.counts.clear();
        }
        if self.duplicates > 0 {
            log::info!(target: TARGET, "{} frames arrived twice: dropped", self.duplicates);
            self.duplicates = 0;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (reason, Count { frames, neighbour }) in &self.counts {
            write!(f, "{separator}{frames} frames not sent")?;
            if let Some(neighbour) = neighbour {
                write!(f, " (the last to {neighbour})")?;
            }
            write!(f, ": {reason}")?;
            separator = "; ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_counts_all() {
        let mut report = Report::new();
        assert_eq!(report.due(), None);
        for _ in 0..3 {
            report.refused(Some(Ident32::from([1; 32])), "no room");
        }
        report.refused(None, "too large");
        let line = report.to_string();
        assert!(line.starts_with("3 frames not sent (the last to "), "{line}");
        assert!(line.ends_with(": no room; 1 frames not sent: too large"), "{line}");
        let now = Instant::now();
        report.write_if_due(now);
        assert_eq!(report.due(), None);
        report.dropped_duplicate();
        report.write_if_due(now + INTERVAL / 2);
        assert_eq!(report.due(), Some(now + INTERVAL));
        report.write_if_due(now + INTERVAL);
        assert_eq!(report.due(), None);
    }
}
