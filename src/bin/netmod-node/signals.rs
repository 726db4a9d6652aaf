//! The signals that a node handles.

use crate::output::Output;
use crate::peer_files::PeerFiles;
use crate::screen::Screen;
use async_signal::{Signal, Signals};
use netmod_inet::InetEndpoint;
use smol::future::block_on;
use smol::stream::StreamExt;
use std::io;
use std::time::Duration;

/// Signals within this time count as one: a terminal or `timeout` may signal both the process and
/// its group.
pub(crate) const DEBOUNCE: Duration = Duration::from_millis(500);

/// The signals that stop a node. With a peer file SIGHUP reloads it instead.
const TERMINATION: &[Signal] = &[Signal::Int, Signal::Term, Signal::Hup];

/// The signals that do not: SIGWINCH redraws the screen, SIGHUP reloads the peer files.
const OTHER: &[Signal] = &[Signal::Winch, Signal::Hup];

/// Subscribes to the signals that stop a node, and to the others.
pub(crate) fn subscribe(has_peer_files: bool) -> io::Result<(Signals, Signals)> {
    let (termination, other) = match has_peer_files {
        true => (&TERMINATION[..2], OTHER),
        false => (TERMINATION, &OTHER[..1]),
    };
    Ok((Signals::new(termination)?, Signals::new(other)?))
}

/// Waits for a signal.
pub(crate) async fn next(mut signals: &Signals) {
    while !matches!(signals.next().await, Some(Ok(_))) {
        // The stream does not end. If it fails, `quit` still works.
        smol::Timer::after(DEBOUNCE).await;
    }
}

/// Handles the signals that do not stop a node. Blocks while it reads files and prints.
pub(crate) fn handle(
    mut signals: Signals,
    endpoint: &InetEndpoint,
    output: &Output,
    mut peers: PeerFiles,
) {
    // The stream does not end. If it fails, the node goes on.
    while let Some(Ok(signal)) = block_on(signals.next()) {
        match signal {
            Signal::Hup => reload(endpoint, output, &mut peers),
            _ => output.screen.iter().for_each(Screen::request_redraw),
        }
    }
}

fn reload(endpoint: &InetEndpoint, output: &Output, peers: &mut PeerFiles) {
    let mut lines = Vec::new();
    match peers.reload(endpoint) {
        Ok(reload) => {
            output.format.reloaded(&mut lines, &reload);
            reload.errors.iter().for_each(|error| output.format.error(&mut lines, error));
        }
        Err(error) => output.format.error(&mut lines, &format!("{error}; no peer was changed")),
    }
    output.print(&lines);
}
