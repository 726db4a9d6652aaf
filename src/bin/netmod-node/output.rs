//! Standard output, shared by the threads of a node.

use crate::clock;
use crate::format::Format;
use crate::open_metrics::EventCounters;
use crate::screen::Screen;
use crate::terminal;
use smol::channel::Sender;
use smol::lock::Mutex;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Lines are batched up to about this size.
pub(crate) const BLOCK: usize = 64 * 1024;

/// Shutdown gives up on a reader that has not read for this long.
const STALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The output of all threads. Printing blocks while the reader is slow, so the thread that prints
/// frames stops receiving them: back-pressure on the peers.
pub(crate) struct Output {
    pub(crate) format: Box<dyn Format>,
    /// Shown instead of the lines. It includes the last of them.
    pub(crate) screen: Option<Screen>,
    /// Whether received frames are printed.
    pub(crate) prints_frames: bool,
    /// The events so far.
    pub(crate) counters: EventCounters,
    /// Whether each line begins with a timestamp.
    timestamps: bool,
    /// Held during a write, so that lines of different threads do not interleave.
    write_lock: Mutex<()>,
    /// Bytes submitted for writing. Wraps around.
    submitted: AtomicUsize,
    /// Bytes written. Wraps around.
    written: AtomicUsize,
    failure: OnceLock<io::Error>,
    /// Whether the terminal has been restored.
    is_restored: AtomicBool,
    /// Stops the node when standard output fails.
    stop: Sender<()>,
}

impl Output {
    pub(crate) fn new(
        format: Box<dyn Format>,
        screen: Option<Screen>,
        timestamps: bool,
        prints_frames: bool,
        stop: Sender<()>,
    ) -> Output {
        Output {
            format,
            prints_frames,
            counters: EventCounters::default(),
            timestamps,
            screen,
            write_lock: Mutex::new(()),
            submitted: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            failure: OnceLock::new(),
            is_restored: AtomicBool::new(false),
            stop,
        }
    }

    /// Prints whole lines. Does nothing after a failure.
    pub(crate) fn print(&self, lines: &[u8]) {
        if let Some(screen) = &self.screen {
            screen.log(lines);
        }
        let mut stamped = Vec::new();
        if self.timestamps {
            clock::stamp(&mut stamped, lines);
        }
        let lines = if self.timestamps { &stamped } else { lines };
        match self.screen {
            None => self.write_or_stop(lines),
            // The terminal shows the table.
            Some(_) if io::stderr().is_terminal() => {}
            // The table does not depend on standard error.
            Some(_) => drop(self.write(lines, &mut io::stderr())),
        }
    }

    /// Writes to the terminal of the screen.
    pub(crate) fn draw(&self, screen: &[u8]) {
        self.write_or_stop(screen);
    }

    /// Writes to standard output. Stops the node on failure.
    fn write_or_stop(&self, bytes: &[u8]) {
        if self.failure.get().is_some() {
            return;
        }
        if let Err(error) = self.write(bytes, &mut io::stdout()) {
            let _ = self.failure.set(error);
            let _ = self.stop.try_send(());
        }
    }

    fn write(&self, bytes: &[u8], to: &mut dyn Write) -> io::Result<()> {
        self.submitted.fetch_add(bytes.len(), Ordering::Relaxed);
        let _guard = self.write_lock.lock_blocking();
        // In parts, so that `stalled` sees the progress of a slow reader.
        let mut done = Ok(());
        for part in bytes.chunks(BLOCK) {
            if done.is_ok() && !self.is_restored.load(Ordering::Relaxed) {
                done = to.write_all(part).and_then(|()| to.flush());
            }
            self.written.fetch_add(part.len(), Ordering::Relaxed);
        }
        done
    }

    /// Waits for the current write and blocks all later ones, so that the end of the process
    /// truncates no line.
    pub(crate) async fn close(&self) {
        let guard = self.write_lock.lock().await;
        self.restore();
        std::mem::forget(guard);
    }

    /// Whether output has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_restored.load(Ordering::Relaxed) || self.failure.get().is_some()
    }

    /// Restores the terminal, unless a thread is blocked in a write to it.
    pub(crate) fn try_restore(&self) {
        if let Some(_guard) = self.write_lock.try_lock() {
            self.restore();
        }
    }

    fn restore(&self) {
        if self.screen.is_some() && !self.is_restored.swap(true, Ordering::Relaxed) {
            let mut stdout = io::stdout();
            let _ = stdout.write_all(terminal::LEAVE).and_then(|()| stdout.flush());
        }
    }

    /// Returns once writes are pending and have made no progress for `STALL_TIMEOUT`.
    pub(crate) async fn stalled(&self) {
        loop {
            let before = self.written.load(Ordering::Relaxed);
            smol::Timer::after(STALL_TIMEOUT).await;
            let after = self.written.load(Ordering::Relaxed);
            if after == before && after != self.submitted.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// The failure of standard output. A closed pipe is none.
    pub(crate) fn failure(&self) -> Option<&io::Error> {
        self.failure.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }
}
