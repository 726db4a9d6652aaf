//! The default output format: one line of text per change.

use crate::dedup::{Annotation, Dedup};
use crate::format::Format;
use crate::hidden::is_hidden;
use crate::peer_files::Reload;
use crate::units::{HumanDuration, ShortId};
use netmod_inet::{Event, Frame, InetEndpoint, PeerInfo, Target};
use std::fmt::{self, Display, Write as _};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Reports each change once.
#[derive(Default)]
pub(crate) struct TextLines {
    dedup: Mutex<Dedup>,
}

impl Format for TextLines {
    fn listening(&self, out: &mut Vec<u8>, endpoint: &InetEndpoint) {
        write_line(out, format_args!("router id {}", endpoint.router_id()));
        for addr in endpoint.local_addrs() {
            write_line(out, format_args!("listening on {addr}"));
        }
    }

    fn serving_metrics(&self, out: &mut Vec<u8>, addr: SocketAddr) {
        write_line(out, format_args!("metrics on http://{addr}/metrics"));
    }

    fn event(&self, out: &mut Vec<u8>, event: &Event) {
        let annotation = {
            let mut dedup = self.dedup.lock().unwrap_or_else(PoisonError::into_inner);
            dedup.observe(event, Instant::now())
        };
        let Some(annotation) = annotation else { return };
        let mut text = Sanitized(out);
        // Writing into memory cannot fail.
        let _ = write_event(&mut text, event, annotation);
        text.end();
    }

    fn frame(&self, out: &mut Vec<u8>, target: Target, frame: &Frame) {
        let (sender, modes) = (ShortId(frame.sender()), frame.modes());
        let payload = Payload(frame.payload());
        write_line(
            out,
            format_args!("frame from {target}: {payload} (modes {modes}, sender {sender})"),
        );
    }

    fn sent(&self, out: &mut Vec<u8>, target: Target) {
        write_line(out, format_args!("queued for {target}"));
    }

    fn refused(&self, out: &mut Vec<u8>, target: Option<u64>, reason: &dyn Display) {
        match target {
            Some(target) => write_line(out, format_args!("not sent to {target}: {reason}")),
            None => write_line(out, format_args!("not sent: {reason}")),
        }
    }

    fn peers(&self, out: &mut Vec<u8>, peers: &[PeerInfo]) {
        for info in peers {
            write_peer(out, info);
        }
        write_line(out, format_args!("{} {}", peers.len(), plural(peers.len(), "peer", "peers")));
    }

    fn reloaded(&self, out: &mut Vec<u8>, reload: &Reload) {
        let Reload { added, removed, kept, .. } = reload;
        write_line(out, format_args!("peer files: {added} added, {removed} removed, {kept} kept"));
    }

    fn error(&self, out: &mut Vec<u8>, message: &str) {
        write_line(out, format_args!("error: {message}"));
    }

    fn info(&self, out: &mut Vec<u8>, message: &str) {
        write_line(out, format_args!("{message}"));
    }

    fn help(&self, out: &mut Vec<u8>, text: &str) {
        for text in text.lines() {
            write_line(out, format_args!("{text}"));
        }
    }
}

/// Writes one line for an event. Unlike its `Display`, router ids are shortened, and a failed dial
/// has no retry time, since retries are not reported.
fn write_event(text: &mut Sanitized<'_>, event: &Event, annotation: Annotation) -> fmt::Result {
    match event {
        Event::Up { target, id, addr, origin, peer_type, key } => {
            write!(text, "peer {target} up: ")?;
            match addr {
                Some(addr) => write!(text, "{addr}")?,
                None => text.write_str("unknown address")?,
            }
            write!(text, " ({peer_type}, {origin}), id {}", ShortId(*id))?;
            if let Some(key) = key {
                write!(text, ", key {key}")?;
            }
            if let Some(outage) = annotation.outage {
                write!(text, ", after {}", HumanDuration(outage))?;
            }
            match (annotation.outage, annotation.count) {
                (_, 0) => Ok(()),
                (outage, failed) => {
                    let word = if outage.is_some() { " and" } else { ", after" };
                    write!(text, "{word} {failed} failed {}", plural(failed, "dial", "dials"))
                }
            }
        }
        Event::Attempt { target, addr, reason, .. } => {
            write!(text, "peer {target} not reached at {addr}: {reason}; dialing on")
        }
        _ => {
            write!(text, "{event}")?;
            match annotation.count {
                0 => Ok(()),
                more => write!(text, " ({more} more were not reported)"),
            }
        }
    }
}

fn write_peer(out: &mut Vec<u8>, info: &PeerInfo) {
    let mut text = Sanitized(out);
    // Writing into memory cannot fail.
    let _ = write!(text, "peer {}: {} for {}", info.target, info.state, HumanDuration(info.since));
    let _ = write!(text, ", {}, {}", info.origin, info.peer_type);
    if let Some(dial) = &info.dial {
        let _ = write!(text, ", dials {dial}");
    }
    if let Some(addr) = info.addr {
        let _ = write!(text, ", at {addr}");
    }
    if let Some(id) = info.id {
        let _ = write!(text, ", id {}", ShortId(id));
    }
    match info.key {
        Some(key) => _ = write!(text, ", key {key}"),
        None if cfg!(feature = "noise") && info.links > 0 => _ = text.write_str(", plain"),
        None => {}
    }
    text.end();
    write_counters(out, info);
    if let Some(error) = &info.last_error {
        write_line(out, format_args!("    last error: {error}"));
    }
    for attempt in &info.attempts {
        let outcome = attempt.error.as_deref().unwrap_or("answered");
        write_line(out, format_args!("    tried {}: {outcome}", attempt.addr));
    }
    if let Some(retry) = info.next_retry {
        write_line(out, format_args!("    next retry in {}", HumanDuration(retry)));
    }
}

fn write_counters(out: &mut Vec<u8>, info: &PeerInfo) {
    let mut text = Sanitized(out);
    let _ = write!(text, "    sent {}", FrameCount(info.frames_sent, info.bytes_sent));
    let _ = write!(text, ", received {}", FrameCount(info.frames_received, info.bytes_received));
    if info.frames_ignored > 0 {
        let _ = write!(text, ", ignored {}", info.frames_ignored);
    }
    if info.queued_frames > 0 {
        let queued = FrameCount(info.queued_frames as u64, info.queued_bytes as u64);
        let _ = write!(text, ", waiting {queued}");
    }
    if let Some(round_trip) = info.round_trip {
        let _ = write!(text, ", round trip {}", HumanDuration(round_trip));
    }
    text.end();
}

fn write_line(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let mut shown = Sanitized(out);
    let _ = shown.write_fmt(text);
    shown.end();
}

fn plural(count: usize, one: &'static str, more: &'static str) -> &'static str {
    if count == 1 { one } else { more }
}

/// A line being written. Replaces hidden characters: text of a remote must not control the terminal.
struct Sanitized<'a>(&'a mut Vec<u8>);

impl Sanitized<'_> {
    fn end(self) {
        self.0.push(b'\n');
    }
}

impl fmt::Write for Sanitized<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let shown = if is_hidden(character) { '\u{fffd}' } else { character };
            let mut bytes = [0; 4];
            self.0.extend_from_slice(shown.encode_utf8(&mut bytes).as_bytes());
        }
        Ok(())
    }
}

/// A payload as text if it is UTF-8, else in hex. Truncated.
struct Payload<'a>(&'a [u8]);

impl Payload<'_> {
    const CHARACTERS: usize = 200;
    const BYTES: usize = 32;
}

impl Display for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.len();
        let cut = match std::str::from_utf8(self.0) {
            Ok(text) => {
                let end = text.char_indices().nth(Self::CHARACTERS).map(|(at, _)| at);
                write!(f, "\"{}\"", &text[..end.unwrap_or(text.len())])?;
                end.is_some()
            }
            Err(_) => {
                let shown = &self.0[..total.min(Self::BYTES)];
                f.write_str("bytes ")?;
                for byte in shown {
                    write!(f, "{byte:02x}")?;
                }
                shown.len() < total
            }
        };
        if cut { write!(f, "… {total} bytes") } else { Ok(()) }
    }
}

/// A number of frames and of their bytes.
struct FrameCount(u64, u64);

impl Display for FrameCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = if self.0 == 1 { "frame" } else { "frames" };
        write!(f, "{} {frames} ({} bytes)", self.0, self.1)
    }
}
