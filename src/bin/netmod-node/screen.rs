//! The screen of `--watch`: the peers, and the last lines of the log.

use crate::clock;
use crate::table::{self, Motion, Page, Row, Viewport};
use crate::terminal;
use crate::units::ShortId;
use netmod_inet::{Event, InetEndpoint, PeerState, Target};
use smol::channel::{Receiver, Sender, bounded};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Log lines that are kept.
const MAX_LOG_LINES: usize = 100;

/// Bytes of a log line that are kept.
const MAX_LINE_LEN: usize = 500;

/// What the screen shows, except for what the endpoint holds.
pub(crate) struct Screen {
    state: Mutex<State>,
    redraw: Sender<()>,
}

#[derive(Default)]
struct State {
    log: Vec<String>,
    /// Why the last link of each peer went down. The endpoint keeps only the latest error, which
    /// may be that of a dial.
    down_reasons: Vec<(Target, String)>,
    viewport: Viewport,
}

impl Screen {
    /// Returns a screen, and the receiver of its redraw requests.
    pub(crate) fn new() -> (Screen, Receiver<()>) {
        let (redraw, requests) = bounded(1);
        (Screen { state: Mutex::default(), redraw }, requests)
    }

    /// Appends lines to the log, each with the time.
    pub(crate) fn log(&self, lines: &[u8]) {
        let (now, mut state) = (clock::time(), self.state());
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = &line[..line.len().min(MAX_LINE_LEN)];
            if state.log.len() == MAX_LOG_LINES {
                state.log.remove(0);
            }
            state.log.push(format!("{now} {}", String::from_utf8_lossy(line)));
        }
        drop(state);
        self.request_redraw();
    }

    /// Records why a link went down.
    pub(crate) fn observe(&self, event: &Event) {
        let (target, reason) = match event {
            Event::Down { target, reason, .. } => (*target, Some(reason)),
            Event::Removed { target } | Event::Merged { retired: target, .. } => (*target, None),
            _ => return,
        };
        let mut state = self.state();
        state.down_reasons.retain(|(other, _)| *other != target);
        state.down_reasons.extend(reason.map(|reason| (target, reason.to_string())));
    }

    pub(crate) fn scroll(&self, motion: Motion) {
        self.state().viewport.scroll(motion);
        self.request_redraw();
    }

    pub(crate) fn request_redraw(&self) {
        let _ = self.redraw.try_send(());
    }

    /// Draws the screen into `frame`.
    pub(crate) fn draw(&self, endpoint: &InetEndpoint, frame: &mut Vec<u8>) {
        let peers = endpoint.peers();
        let mut state = self.state();
        let State { log, down_reasons, viewport } = &mut *state;
        // Peers that are not up come first.
        let mut rows = Vec::new();
        for is_up in [false, true] {
            let peers = peers.iter().filter(|info| (info.state == PeerState::Up) == is_up);
            rows.extend(peers.map(|info| Row::new(info, down_reasons)));
        }
        let (columns, lines) = terminal::size();
        let page = Page {
            title: &title(endpoint),
            time: &clock::time(),
            keys: if terminal::has_keys() { "q quits, j and k scroll" } else { "" },
            rows: &rows,
            log,
            columns,
            lines,
        };
        table::render(frame, &page, viewport);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn title(endpoint: &InetEndpoint) -> String {
    let mut title = format!("node {}", ShortId(endpoint.router_id()));
    for (index, addr) in endpoint.local_addrs().iter().enumerate() {
        title.push_str(if index == 0 { " on " } else { ", " });
        title.push_str(&addr.to_string());
    }
    title
}
