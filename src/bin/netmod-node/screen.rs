//! The terminal display of `--watch`: the peers, and the last lines of the log.

use crate::clock;
use crate::output::Output;
use crate::table::{Page, Row, render};
use crate::terminal;
use netmod_inet::{Event, InetEndpoint, PeerState, Target};
use smol::channel::{Receiver, Sender, bounded};
use smol::future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Log lines that are kept.
const MAX_LOG_LINES: usize = 100;

/// Bytes of a log line that are kept.
const MAX_LINE_LEN: usize = 500;

/// Redraw interval: rates, ages and queues change without an event.
const REDRAW_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum time between two redraws.
const MIN_REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The state of the display that the endpoint does not hold.
pub(crate) struct Screen {
    state: Mutex<State>,
    redraw: Sender<()>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) log: Vec<String>,
    /// Why the last link of each peer went down. The endpoint keeps only the latest error, which
    /// may be that of a dial.
    pub(crate) down_reasons: Vec<(Target, String)>,
    /// The first row on the page, and the number of rows on it.
    pub(crate) top: usize,
    pub(crate) page: usize,
}

impl Screen {
    /// The receiver, for [`show`], gets the requests to redraw.
    pub(crate) fn new() -> (Screen, Receiver<()>) {
        let (redraw, requests) = bounded(1);
        (Screen { state: Mutex::default(), redraw }, requests)
    }

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

    /// Scrolls by one row or by one page.
    pub(crate) fn scroll(&self, down: bool, by_page: bool) {
        let mut state = self.state();
        let by = if by_page { state.page.max(1) } else { 1 };
        state.top = if down { state.top + by } else { state.top.saturating_sub(by) };
        drop(state);
        self.request_redraw();
    }

    /// Requests a redraw.
    pub(crate) fn request_redraw(&self) {
        let _ = self.redraw.try_send(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Redraws until the output is closed. Blocks while it writes.
pub(crate) async fn show(endpoint: &InetEndpoint, output: &Output, requests: Receiver<()>) {
    let Some(screen) = &output.screen else { return };
    let mut frame = Vec::new();
    while !output.is_closed() {
        frame.clear();
        draw(endpoint, screen, &mut frame);
        output.draw(&frame);
        smol::Timer::after(MIN_REDRAW_INTERVAL).await;
        let tick = async {
            smol::Timer::after(REDRAW_INTERVAL - MIN_REDRAW_INTERVAL).await;
        };
        let requested = async {
            let _ = requests.recv().await;
        };
        future::or(requested, tick).await;
    }
}

fn draw(endpoint: &InetEndpoint, screen: &Screen, frame: &mut Vec<u8>) {
    let peers = endpoint.peers();
    // Peers that are not up come first.
    let mut state = screen.state();
    let mut rows = Vec::new();
    for is_up in [false, true] {
        let peers = peers.iter().filter(|info| (info.state == PeerState::Up) == is_up);
        rows.extend(peers.map(|info| Row::new(info, &state.down_reasons)));
    }
    let mut title = format!("node {}", crate::text_lines::ShortId(endpoint.router_id()));
    for (index, addr) in endpoint.local_addrs().iter().enumerate() {
        title.push_str(if index == 0 { " on " } else { ", " });
        title.push_str(&addr.to_string());
    }
    let (columns, lines) = terminal::size();
    let keys = if terminal::has_keys() { "q quits, j and k scroll" } else { "" };
    let page = Page { title: &title, time: &clock::time(), keys, rows: &rows, columns, lines };
    render(frame, &page, &mut state);
}
