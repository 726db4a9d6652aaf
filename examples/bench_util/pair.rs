//! Controls two processes with idle links between them, and measures both.

use std::thread;
use std::time::{Duration, Instant};

use super::activity::{Activity, Spent};
use super::child::{Child, Failure};
use super::links::{Links, Role};
use super::memory::Memory;

/// Time limit of each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Time for the processes to become idle.
const SETTLE: Duration = Duration::from_millis(300);

pub(crate) struct Pair {
    listener: Child,
    dialer: Child,
    port: String,
    links: usize,
    /// Memory of both processes without links.
    before: [Memory; 2],
}

/// Memory of one process.
pub(crate) struct Side {
    pub(crate) before: Memory,
    pub(crate) after: Memory,
}

impl Side {
    /// Bytes per link, if the system reports memory.
    pub(crate) fn per_link(&self, links: usize) -> Option<u64> {
        let Memory(bytes) = self.after.since(self.before);
        bytes.map(|bytes| bytes / links as u64)
    }
}

impl Pair {
    pub(crate) fn start(links: &Links) -> Result<Pair, Failure> {
        let start = |role: Role| Child::start(role.name(), [links.member_arg(role)]);
        let (listener, port) = start(Role::Listener)?;
        let (dialer, _) = start(Role::Dialer)?;
        thread::sleep(SETTLE);
        let before = [&listener, &dialer].map(memory);
        Ok(Pair { listener, dialer, port, links: links.count, before })
    }

    /// Opens the links, and waits until they are up on both ends.
    pub(crate) fn link_up(&mut self) -> Result<Duration, Failure> {
        let started = Instant::now();
        self.dialer.send_line(&format!("dial {}", self.port))?;
        done(&self.dialer)?;
        self.both("up")?;
        Ok(started.elapsed())
    }

    /// Sends a frame over each link in both directions.
    pub(crate) fn carry(&mut self, payload: usize) -> Result<(), Failure> {
        self.both(&format!("flood {payload}"))?;
        self.both(&format!("received {}", self.links))
    }

    /// Leaves both processes alone for `time`. Returns their activity.
    pub(crate) fn watch(&self, time: Duration) -> Result<[Spent; 2], Failure> {
        let before = self.activity()?;
        thread::sleep(time);
        let after = self.activity()?;
        Ok([after[0].since(&before[0]), after[1].since(&before[1])])
    }

    /// Waits until both processes were idle for `quiet`, at most for `STEP_TIMEOUT`.
    pub(crate) fn rest(&self, quiet: Duration) -> Result<(), Failure> {
        let end = Instant::now() + STEP_TIMEOUT;
        while !self.watch(quiet)?.iter().all(Spent::is_nothing) && Instant::now() < end {}
        Ok(())
    }

    /// The activity that one frame causes. All zeros if the counters do not work.
    pub(crate) fn send_one(&mut self) -> Result<[Spent; 2], Failure> {
        let before = self.activity()?;
        self.dialer.send_line("send")?;
        done(&self.dialer)?;
        let end = Instant::now() + STEP_TIMEOUT;
        loop {
            thread::sleep(SETTLE);
            let after = self.activity()?;
            let spent = [after[0].since(&before[0]), after[1].since(&before[1])];
            // On a busy machine the frame may arrive late.
            if spent.iter().all(|spent| spent.wakeups > 0) || Instant::now() > end {
                return Ok(spent);
            }
        }
    }

    /// The memory of both processes without and with the links.
    pub(crate) fn sides(&self) -> Result<[Side; 2], Failure> {
        let after = [&self.listener, &self.dialer].map(memory);
        Ok([0, 1].map(|at| Side { before: self.before[at], after: after[at] }))
    }

    /// Waits for both processes to exit.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.dialer.release();
        self.dialer.end()?;
        self.listener.end()?;
        Ok(())
    }

    fn activity(&self) -> Result<[Activity; 2], Failure> {
        Ok([Activity::of(self.listener.pid())?, Activity::of(self.dialer.pid())?])
    }

    /// Sends a command to both processes, and waits for both.
    fn both(&mut self, command: &str) -> Result<(), Failure> {
        self.listener.send_line(command)?;
        self.dialer.send_line(command)?;
        done(&self.listener)?;
        done(&self.dialer)
    }
}

fn done(child: &Child) -> Result<(), Failure> {
    child.expect_line("done", STEP_TIMEOUT).map(drop)
}

/// Anonymous memory: heap and stacks.
fn memory(child: &Child) -> Memory {
    Memory::of(child.pid(), "RssAnon")
}
