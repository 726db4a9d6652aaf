//! The metrics of a node as OpenMetrics text, version 1.0.

use crate::hidden::is_hidden;
use netmod_inet::{Event, PeerInfo, PeerState};
use std::fmt::{self, Display, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Counts events by kind, those that were not delivered included.
#[derive(Default)]
pub(crate) struct EventCounters([AtomicUsize; KINDS.len()]);

const KINDS: [&str; 9] =
    ["up", "down", "attempt", "dropped", "unconfirmed", "merged", "removed", "missed", "other"];

impl EventCounters {
    pub(crate) fn record(&self, event: &Event) {
        let (kind, count) = match event {
            Event::Up { .. } => (0, 1),
            Event::Down { .. } => (1, 1),
            Event::Attempt { .. } => (2, 1),
            Event::Dropped { suppressed, .. } => (3, 1 + suppressed),
            Event::Unconfirmed { .. } => (4, 1),
            Event::Merged { .. } => (5, 1),
            Event::Removed { .. } => (6, 1),
            Event::Missed { count } => (7, *count),
            _ => (8, 1),
        };
        self.0[kind].fetch_add(count, Ordering::Relaxed);
    }
}

/// The metrics of each peer: name and help text. The suffix of a name is its unit.
const FAMILIES: [(&str, &str); 12] = [
    ("sent_frames", "Frames written to its links."),
    ("sent_bytes", "Bytes of those frames with their lengths."),
    ("received_frames", "Frames received from it."),
    ("received_bytes", "Bytes of those frames with their lengths."),
    ("ignored_frames", "Frames received from it and dropped."),
    ("links", "Links to it so far."),
    ("up", "Whether its link is up."),
    ("since_seconds", "Time since its link went up or down."),
    ("queue_frames", "Frames in its send queue."),
    ("queue_bytes", "Bytes that those frames count against the limit."),
    ("round_trip_seconds", "Smoothed round trip."),
    ("next_retry_seconds", "Time until it is dialed next."),
];

/// The first of `FAMILIES` are counters, the others gauges.
const COUNTERS: usize = 6;

/// The values of a peer, in the order of `FAMILIES`. Times are in microseconds.
fn values(info: &PeerInfo) -> [Option<u64>; FAMILIES.len()] {
    [
        Some(info.frames_sent),
        Some(info.bytes_sent),
        Some(info.frames_received),
        Some(info.bytes_received),
        Some(info.frames_ignored),
        Some(info.links),
        Some((info.state == PeerState::Up).into()),
        Some(micros(info.since)),
        Some(info.queued_frames as u64),
        Some(info.queued_bytes as u64),
        info.round_trip.map(micros),
        info.next_retry.map(micros),
    ]
}

/// Appends the exposition.
pub(crate) fn write(out: &mut String, peers: &[PeerInfo], counters: &EventCounters) {
    // Writing into memory cannot fail.
    let _ = write_families(out, peers, counters);
}

fn write_families(out: &mut String, peers: &[PeerInfo], counters: &EventCounters) -> fmt::Result {
    write_head(out, "node", INFO, "The program.")?;
    writeln!(out, "netmod_inet_node_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
    write_head(out, "peers", GAUGE, "Peers in each state.")?;
    for state in [PeerState::Up, PeerState::Connecting, PeerState::Down] {
        let count = peers.iter().filter(|info| info.state == state).count();
        writeln!(out, "netmod_inet_peers{{state=\"{state}\"}} {count}")?;
    }
    write_head(out, "events", COUNTER, "Changes and failed attempts.")?;
    for (kind, count) in KINDS.iter().zip(&counters.0) {
        let count = count.load(Ordering::Relaxed);
        writeln!(out, "netmod_inet_events_total{{event=\"{kind}\"}} {count}")?;
    }
    write_head(out, "peer", INFO, "The addresses and the router id of each peer.")?;
    for info in peers {
        write_peer_info(out, info)?;
    }
    for (index, (name, help)) in FAMILIES.iter().enumerate() {
        let name = ["peer_", name].concat();
        let (kind, suffix) = if index < COUNTERS { (COUNTER, "_total") } else { (GAUGE, "") };
        write_head(out, &name, kind, help)?;
        for info in peers {
            let Some(value) = values(info)[index] else { continue };
            write!(out, "netmod_inet_{name}{suffix}{{peer=\"{}\"}} ", info.target)?;
            match name.ends_with(SECONDS) {
                true => writeln!(out, "{}.{:06}", value / 1_000_000, value % 1_000_000)?,
                false => writeln!(out, "{value}")?,
            }
        }
    }
    out.push_str("# EOF\n");
    Ok(())
}

const INFO: &str = "info";
const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";
const SECONDS: &str = "_seconds";

fn write_head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# TYPE netmod_inet_{name} {kind}")?;
    for unit in [SECONDS, "_bytes"] {
        if name.ends_with(unit) {
            writeln!(out, "# UNIT netmod_inet_{name} {}", &unit[1..])?;
        }
    }
    writeln!(out, "# HELP netmod_inet_{name} {help}")
}

fn write_peer_info(out: &mut String, info: &PeerInfo) -> fmt::Result {
    write!(out, "netmod_inet_peer_info{{peer=\"{}\"", info.target)?;
    let labels: [(&str, Option<&dyn Display>); 5] = [
        ("dial", info.dial.as_ref().map(|dial| dial as _)),
        ("addr", info.addr.as_ref().map(|addr| addr as _)),
        ("id", info.id.as_ref().map(|id| id as _)),
        ("origin", Some(&info.origin)),
        ("type", Some(&info.peer_type)),
    ];
    for (name, value) in labels {
        if let Some(value) = value {
            write!(out, ",{name}=\"")?;
            write!(Escaped(out), "{value}")?;
            out.push('"');
        }
    }
    out.push_str("} 1\n");
    Ok(())
}

/// A writer that escapes text for a label value.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '"' | '\\' => self.0.extend(['\\', character]),
                '\n' => self.0.push_str("\\n"),
                _ if is_hidden(character) => self.0.push('\u{fffd}'),
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_peers() {
        let mut text = String::new();
        let counters = EventCounters::default();
        counters.record(&Event::Removed { target: 1.into() });
        write(&mut text, &[], &counters);
        assert!(text.starts_with("# TYPE netmod_inet_node info\n# HELP netmod_inet_node The"));
        assert!(text.contains("\nnetmod_inet_events_total{event=\"removed\"} 1\n"));
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn labels_are_escaped() {
        let mut text = String::new();
        write!(Escaped(&mut text), "a\"b\\c\nd\u{1b}\u{202e}").unwrap();
        assert_eq!(text, "a\\\"b\\\\c\\nd\u{fffd}\u{fffd}");
    }
}
