//! Standard output, which the threads of a node share.

use crate::report::Report;
use smol::channel::Sender;
use smol::lock::Mutex;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Lines are handed over in blocks of about this size while there are many.
pub(crate) const BLOCK: usize = 64 * 1024;

/// At the end, a reader that takes nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where all lines go. A thread that prints waits while the reader is slow, and the one that
/// prints frames then takes no more of them from the endpoint.
pub(crate) struct Output {
    pub(crate) report: &'static dyn Report,
    /// Held while a thread writes, so that lines never mix.
    turn: Mutex<()>,
    /// Bytes to print, counted past the largest number and on from zero.
    printed: AtomicUsize,
    /// How many of them the reader has taken.
    taken: AtomicUsize,
    failure: OnceLock<io::Error>,
    /// Told when nobody reads any more.
    stop: Sender<()>,
}

impl Output {
    pub(crate) fn new(report: &'static dyn Report, stop: Sender<()>) -> Output {
        Output {
            report,
            turn: Mutex::new(()),
            printed: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            failure: OnceLock::new(),
            stop,
        }
    }

    /// Prints whole lines at once. Does nothing after a failure.
    pub(crate) fn print(&self, lines: &[u8]) {
        if lines.is_empty() || self.failure.get().is_some() {
            return;
        }
        self.printed.fetch_add(lines.len(), Ordering::Relaxed);
        let _turn = self.turn.lock_blocking();
        if let Err(error) = self.write(lines) {
            let _ = self.failure.set(error);
            let _ = self.stop.try_send(());
        }
    }

    fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        // In parts, so that a slow reader is seen to make progress.
        for part in lines.chunks(BLOCK) {
            stdout.write_all(part)?;
            self.taken.fetch_add(part.len(), Ordering::Relaxed);
        }
        stdout.flush()
    }

    /// Keeps every thread from printing once the present one is done, so that the end of the
    /// process cuts no line.
    pub(crate) async fn close(&self) {
        std::mem::forget(self.turn.lock().await);
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
