//! The output format of `--json`: one object per line.

use crate::format::Format;
use crate::json::Object;
use crate::peer_files::Reload;
use netmod_inet::{AttemptInfo, Event, Frame, InetEndpoint, PeerInfo, Target};
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) struct JsonLines;

impl Format for JsonLines {
    fn listening(&self, out: &mut Vec<u8>, endpoint: &InetEndpoint) {
        for addr in endpoint.local_addrs() {
            Object::event(out, "listening").text("addr", &addr).end();
        }
    }

    fn serving_metrics(&self, out: &mut Vec<u8>, addr: SocketAddr) {
        Object::event(out, "metrics").text("addr", &addr).end();
    }

    fn event(&self, out: &mut Vec<u8>, event: &Event) {
        match event {
            Event::Up { target, id, addr, origin, peer_type, key } => Object::event(out, "up")
                .number("target", u16::from(*target))
                .text("id", id)
                .text_or_null("addr", addr.as_ref())
                .text("direction", origin)
                .text("type", peer_type)
                .text_or_null("key", key.as_ref())
                .end(),
            Event::Down { target, reason, retry } => Object::event(out, "down")
                .number("target", u16::from(*target))
                .text("reason", reason)
                .number_or_null("retry_ms", retry.map(millis))
                .end(),
            Event::Attempt { target, addr, reason, retry } => Object::event(out, "attempt")
                .number("target", u16::from(*target))
                .text("addr", addr)
                .text("reason", reason)
                .number_or_null("retry_ms", retry.map(millis))
                .end(),
            Event::Unconfirmed { target, frames } => Object::event(out, "unconfirmed")
                .number("target", u16::from(*target))
                .number("frames", *frames as u64)
                .end(),
            Event::Removed { target } => {
                Object::event(out, "removed").number("target", u16::from(*target)).end();
            }
            Event::Merged { target, retired } => Object::event(out, "merged")
                .number("target", u16::from(*target))
                .number("retired", u16::from(*retired))
                .end(),
            other => write_other_event(out, other),
        }
    }

    fn frame(&self, out: &mut Vec<u8>, target: Target, frame: &Frame) {
        out.reserve(2 * (frame.len() + frame.payload().len()) + 256);
        Object::event(out, "frame")
            .number("target", u16::from(target))
            .number("modes", frame.modes())
            .hex("sender", frame.sender().as_bytes())
            .hex("frame", frame.as_bytes())
            .hex("payload", frame.payload())
            .end();
    }

    fn sent(&self, out: &mut Vec<u8>, target: Target) {
        Object::event(out, "sent").number("target", u16::from(target)).end();
    }

    fn refused(&self, out: &mut Vec<u8>, target: Option<u64>, reason: &dyn Display) {
        Object::event(out, "refused").number_or_null("target", target).text("reason", reason).end();
    }

    fn peers(&self, out: &mut Vec<u8>, peers: &[PeerInfo]) {
        for info in peers {
            write_peer(out, info);
        }
        Object::event(out, "peers-end").number("count", peers.len() as u64).end();
    }

    fn reloaded(&self, out: &mut Vec<u8>, reload: &Reload) {
        Object::event(out, "reloaded")
            .number("added", reload.added)
            .number("removed", reload.removed)
            .number("kept", reload.kept)
            .end();
    }

    fn error(&self, out: &mut Vec<u8>, message: &str) {
        Object::event(out, "error").text("message", &message).end();
    }

    fn info(&self, _: &mut Vec<u8>, _: &str) {}

    /// Goes to standard error, since standard output holds objects only.
    fn help(&self, _: &mut Vec<u8>, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// Writes an event that does not belong to a peer.
fn write_other_event(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Dropped { addr, reason, suppressed } => {
            let line = Object::event(out, "dropped")
                .text_or_null("addr", addr.as_ref())
                .text("reason", reason);
            let line =
                if *suppressed > 0 { line.number("suppressed", *suppressed as u64) } else { line };
            line.end();
        }
        Event::Missed { count } => {
            Object::event(out, "missed").number("count", *count as u64).end()
        }
        Event::AcceptFailed { .. } => Object::event(out, "error").text("message", event).end(),
        // `Stopped` is implied by the end of the output. Future kinds have no defined object.
        _ => {}
    }
}

fn write_peer(out: &mut Vec<u8>, info: &PeerInfo) {
    let line = Object::event(out, "peer")
        .number("target", u16::from(info.target))
        .text_or_null("id", info.id)
        .text_or_null("key", info.key)
        .text_or_null("addr", info.addr)
        .text_or_null("dial", info.dial.as_ref())
        .text("state", &info.state)
        .number("since_ms", millis(info.since))
        .text("direction", &info.origin)
        .text("type", &info.peer_type);
    line.number("frames_sent", info.frames_sent)
        .number("bytes_sent", info.bytes_sent)
        .number("send_rate", info.send_rate)
        .number("frames_received", info.frames_received)
        .number("bytes_received", info.bytes_received)
        .number("receive_rate", info.receive_rate)
        .number("frames_ignored", info.frames_ignored)
        .number("queued_frames", info.queued_frames as u64)
        .number("queued_bytes", info.queued_bytes as u64)
        .number("links", info.links)
        .number_or_null("round_trip_ms", info.round_trip.map(millis))
        .text_or_null("last_error", info.last_error.as_ref())
        .number_or_null("next_retry_ms", info.next_retry.map(millis))
        .array("attempts", &info.attempts, |member, attempt: &AttemptInfo| {
            let object = member.text("addr", &attempt.addr);
            let object = object.text_or_null("error", attempt.error.as_ref());
            object.number("took_ms", millis(attempt.took))
        })
        .end();
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
