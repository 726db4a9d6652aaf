//! Shows the screen of `--watch` on the terminal, and handles its keys.

use crate::output::Output;
use crate::screen::Screen;
use crate::table::Motion;
use crate::terminal::{self, RawMode};
use netmod_inet::InetEndpoint;
use smol::Timer;
use smol::channel::Receiver;
use smol::future;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

/// Redraw interval: rates, ages and queues change without an event.
const REDRAW_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum time between two redraws.
const MIN_REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The alternate screen of the terminal. Dropping it restores the terminal.
pub(crate) struct AlternateScreen {
    output: Arc<Output>,
    /// `None` if standard input is no terminal.
    _raw_mode: Option<RawMode>,
}

impl AlternateScreen {
    pub(crate) fn enter(output: &Arc<Output>) -> AlternateScreen {
        let entered = AlternateScreen { output: output.clone(), _raw_mode: RawMode::enter().ok() };
        output.draw(terminal::ENTER);
        entered
    }
}

impl Drop for AlternateScreen {
    fn drop(&mut self) {
        self.output.try_restore();
    }
}

/// Redraws until the output is closed. Blocks while it writes.
pub(crate) async fn show(endpoint: &InetEndpoint, output: &Output, requests: Receiver<()>) {
    let Some(screen) = &output.screen else { return };
    let mut frame = Vec::new();
    while !output.is_closed() {
        frame.clear();
        screen.draw(endpoint, &mut frame);
        output.draw(&frame);
        Timer::after(MIN_REDRAW_INTERVAL).await;
        let tick = async {
            Timer::after(REDRAW_INTERVAL - MIN_REDRAW_INTERVAL).await;
        };
        let requested = async {
            let _ = requests.recv().await;
        };
        future::or(requested, tick).await;
    }
}

/// Handles keys until `q`, for which it returns `true`, or the end of input.
pub(crate) fn read_keys(screen: &Screen) -> bool {
    let (mut stdin, mut keys) = (io::stdin().lock(), [0; 16]);
    loop {
        let len = match stdin.read(&mut keys) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) | Ok(0) => return false,
            Ok(len) => len,
        };
        for key in &keys[..len] {
            match key {
                b'q' | b'Q' => return true,
                // The last byte of the sequence of an arrow key is A or B.
                b'j' | b'B' => screen.scroll(Motion::RowDown),
                b'k' | b'A' => screen.scroll(Motion::RowUp),
                b' ' => screen.scroll(Motion::PageDown),
                b'b' => screen.scroll(Motion::PageUp),
                _ => {}
            }
        }
    }
}
