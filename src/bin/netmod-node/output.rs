//! Standard output, which the threads of a node share.

use crate::clock;
use crate::open_metrics::Tally;
use crate::report::Report;
use crate::screen::Screen;
use crate::terminal;
use smol::channel::Sender;
use smol::lock::Mutex;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Lines are handed over in blocks of about this size while there are many.
pub(crate) const BLOCK: usize = 64 * 1024;

/// At the end, a reader that takes nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where all lines go. A thread that prints waits while the reader is slow, and the one that
/// prints frames then takes no more of them from the endpoint.
pub(crate) struct Output {
    pub(crate) report: Box<dyn Report>,
    /// Shown instead of the lines, a few of which are part of it.
    pub(crate) screen: Option<Screen>,
    /// Whether frames that arrive are told.
    pub(crate) prints_frames: bool,
    /// What happened so far.
    pub(crate) tally: Tally,
    /// Whether each line begins with the time.
    stamps: bool,
    /// Held while a thread writes, so that lines never mix.
    turn: Mutex<()>,
    /// Bytes to print, counted past the largest number and on from zero.
    printed: AtomicUsize,
    /// How many of them the reader has taken.
    taken: AtomicUsize,
    failure: OnceLock<io::Error>,
    /// Whether the terminal is as it was before.
    left: AtomicBool,
    /// Told when nobody reads any more.
    stop: Sender<()>,
}

impl Output {
    pub(crate) fn new(
        report: Box<dyn Report>,
        screen: Option<Screen>,
        stamps: bool,
        prints_frames: bool,
        stop: Sender<()>,
    ) -> Output {
        Output {
            report,
            prints_frames,
            tally: Tally::default(),
            stamps,
            screen,
            turn: Mutex::new(()),
            printed: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            failure: OnceLock::new(),
            left: AtomicBool::new(false),
            stop,
        }
    }

    /// Prints whole lines at once. Does nothing after a failure.
    pub(crate) fn print(&self, lines: &[u8]) {
        if let Some(screen) = &self.screen {
            screen.log(lines);
        }
        let mut stamped = Vec::new();
        if self.stamps {
            clock::stamp(&mut stamped, lines);
        }
        let lines = if self.stamps { &stamped } else { lines };
        match self.screen {
            None => self.put_or_stop(lines),
            // A terminal has the table, and room for nothing else.
            Some(_) if io::stderr().is_terminal() => {}
            // Without it there still is the table.
            Some(_) => drop(self.put(lines, &mut io::stderr())),
        }
    }

    /// Writes to the terminal that shows the screen.
    pub(crate) fn draw(&self, screen: &[u8]) {
        self.put_or_stop(screen);
    }

    /// Writes to standard output, and has the node stop if it cannot.
    fn put_or_stop(&self, bytes: &[u8]) {
        if self.failure.get().is_some() {
            return;
        }
        if let Err(error) = self.put(bytes, &mut io::stdout()) {
            let _ = self.failure.set(error);
            let _ = self.stop.try_send(());
        }
    }

    fn put(&self, bytes: &[u8], to: &mut dyn Write) -> io::Result<()> {
        self.printed.fetch_add(bytes.len(), Ordering::Relaxed);
        let _turn = self.turn.lock_blocking();
        // In parts, so that a slow reader is seen to make progress.
        let mut done = Ok(());
        for part in bytes.chunks(BLOCK) {
            if done.is_ok() && !self.left.load(Ordering::Relaxed) {
                done = to.write_all(part).and_then(|()| to.flush());
            }
            self.taken.fetch_add(part.len(), Ordering::Relaxed);
        }
        done
    }

    /// Keeps every thread from printing once the present one is done, so that the end of the
    /// process cuts no line.
    pub(crate) async fn close(&self) {
        let turn = self.turn.lock().await;
        self.leave();
        std::mem::forget(turn);
    }

    /// Whether nothing is printed any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.left.load(Ordering::Relaxed) || self.failure.get().is_some()
    }

    /// Gives the terminal back, unless a thread is stuck in writing to it.
    pub(crate) fn leave_now(&self) {
        if let Some(_turn) = self.turn.try_lock() {
            self.leave();
        }
    }

    fn leave(&self) {
        if self.screen.is_some() && !self.left.swap(true, Ordering::Relaxed) {
            let mut stdout = io::stdout();
            let _ = stdout.write_all(terminal::LEAVE).and_then(|()| stdout.flush());
        }
    }

    /// Returns when lines wait but the reader has taken none for a while.
    pub(crate) async fn stalled(&self) {
        loop {
            let before = self.taken.load(Ordering::Relaxed);
            smol::Timer::after(PATIENCE).await;
            let after = self.taken.load(Ordering::Relaxed);
            if after == before && after != self.printed.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// What went wrong, unless it is only that the reader has read enough.
    pub(crate) fn failure(&self) -> Option<&io::Error> {
        self.failure.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }
}
