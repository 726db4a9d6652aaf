//! What a terminal shows while a node runs: its peers, and the last lines of the log.

use crate::clock;
use crate::output::Output;
use crate::table::{Page, Row, compose};
use crate::terminal;
use netmod_inet::{Event, InetEndpoint, PeerState, Target};
use smol::channel::{Receiver, Sender, bounded};
use smol::future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that are kept, so that a larger terminal shows more of them.
const LOG: usize = 100;

/// How much of a line is kept.
const LINE: usize = 500;

/// Rates, times and queues change without being told.
const TICK: Duration = Duration::from_secs(1);

/// Time from one picture to the next at least, for many lines may come.
const PAUSE: Duration = Duration::from_millis(100);

/// The part of a screen that is not read off the endpoint.
pub(crate) struct Screen {
    state: Mutex<State>,
    wake: Sender<()>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) log: Vec<String>,
    /// Why the last link of each peer ended: a dial that fails makes an endpoint forget it.
    pub(crate) ends: Vec<(Target, String)>,
    /// The first row that is shown, and how many are.
    pub(crate) top: usize,
    pub(crate) page: usize,
}

impl Screen {
    /// The receiver is for [`show`].
    pub(crate) fn new() -> (Screen, Receiver<()>) {
        let (wake, woken) = bounded(1);
        (Screen { state: Mutex::default(), wake }, woken)
    }

    pub(crate) fn log(&self, lines: &[u8]) {
        let (now, mut state) = (clock::time(), self.state());
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = &line[..line.len().min(LINE)];
            if state.log.len() == LOG {
                state.log.remove(0);
            }
            state.log.push(format!("{now} {}", String::from_utf8_lossy(line)));
        }
        drop(state);
        self.wake();
    }

    pub(crate) fn note(&self, event: &Event) {
        let (target, reason) = match event {
            Event::Down { target, reason, .. } => (*target, Some(reason)),
            Event::Removed { target } | Event::Merged { retired: target, .. } => (*target, None),
            _ => return,
        };
        let mut state = self.state();
        state.ends.retain(|(other, _)| *other != target);
        state.ends.extend(reason.map(|reason| (target, reason.to_string())));
    }

    /// Moves the rows that are shown by one, or by as many as fit.
    pub(crate) fn scroll(&self, down: bool, by_page: bool) {
        let mut state = self.state();
        let by = if by_page { state.page.max(1) } else { 1 };
        state.top = if down { state.top + by } else { state.top.saturating_sub(by) };
        drop(state);
        self.wake();
    }

    /// Has the screen be drawn anew soon.
    pub(crate) fn wake(&self) {
        let _ = self.wake.try_send(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draws until the output is closed. It blocks while it writes.
pub(crate) async fn show(endpoint: &InetEndpoint, output: &Output, woken: Receiver<()>) {
    let Some(screen) = &output.screen else { return };
    let mut picture = Vec::new();
    while !output.is_closed() {
        picture.clear();
        draw(endpoint, screen, &mut picture);
        output.draw(&picture);
        smol::Timer::after(PAUSE).await;
        let tick = async {
            smol::Timer::after(TICK - PAUSE).await;
        };
        let asked = async {
            let _ = woken.recv().await;
        };
        future::or(asked, tick).await;
    }
}

fn draw(endpoint: &InetEndpoint, screen: &Screen, picture: &mut Vec<u8>) {
    let peers = endpoint.peers();
    // What needs a look comes first.
    let mut state = screen.state();
    let mut rows = Vec::new();
    for is_up in [false, true] {
        let peers = peers.iter().filter(|info| (info.state == PeerState::Up) == is_up);
        rows.extend(peers.map(|info| Row::new(info, &state.ends)));
    }
    let mut title = format!("node {}", crate::readable::Short(endpoint.router_id()));
    for (index, addr) in endpoint.local_addrs().iter().enumerate() {
        title.push_str(if index == 0 { " on " } else { ", " });
        title.push_str(&addr.to_string());
    }
    let (columns, lines) = terminal::size();
    let keys = if terminal::has_keys() { "q quits, j and k scroll" } else { "" };
    let page = Page { title: &title, time: &clock::time(), keys, rows: &rows, columns, lines };
    compose(picture, &page, &mut state);
}
