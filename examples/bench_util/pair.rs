//! Two processes with idle links between them, as the one that watches them sees them.

use std::thread;
use std::time::{Duration, Instant};

use super::activity::{Activity, Spent};
use super::child::{Child, Failure};
use super::links::{Links, Role};
use super::memory::Memory;

/// Time that any one step may take before the run counts as failed.
const STEP: Duration = Duration::from_secs(60);

/// Time in which processes that have nothing to do come to rest.
const SETTLE: Duration = Duration::from_millis(300);

pub(crate) struct Pair {
    listener: Child,
    dialer: Child,
    port: String,
    links: usize,
    /// Memory of the two without links.
    before: [Memory; 2],
}

/// Memory of one process.
pub(crate) struct Side {
    pub(crate) before: Memory,
    pub(crate) after: Memory,
}

impl Side {
    /// Bytes for each link, if the system says so.
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

    /// Opens the links, and waits until both processes have all of them.
    pub(crate) fn link_up(&mut self) -> Result<Duration, Failure> {
        let started = Instant::now();
        self.dialer.say(&format!("dial {}", self.port))?;
        done(&self.dialer)?;
        self.both("up")?;
        Ok(started.elapsed())
    }

    /// Sends a frame over each link, both ways.
    pub(crate) fn carry(&mut self, payload: usize) -> Result<(), Failure> {
        self.both(&format!("flood {payload}"))?;
        self.both(&format!("heard {}", self.links))
    }

    /// Leaves the two alone for so long; returns what they did all the same.
    pub(crate) fn watch(&self, time: Duration) -> Result<[Spent; 2], Failure> {
        let before = self.activity()?;
        thread::sleep(time);
        let after = self.activity()?;
        Ok([after[0].since(&before[0]), after[1].since(&before[1])])
    }

    /// Waits until the two have done nothing for so long. If they never rest, whoever watches them
    /// then will see it.
    pub(crate) fn rest(&self, quiet: Duration) -> Result<(), Failure> {
        let end = Instant::now() + STEP;
        while !self.watch(quiet)?.iter().all(Spent::is_nothing) && Instant::now() < end {}
        Ok(())
    }

    /// What the two do when a frame goes over one link. Nothing, if the counters do not count.
    pub(crate) fn send_one(&mut self) -> Result<[Spent; 2], Failure> {
        let before = self.activity()?;
        self.dialer.say("send")?;
        done(&self.dialer)?;
        let end = Instant::now() + STEP;
        loop {
            thread::sleep(SETTLE);
            let after = self.activity()?;
            let spent = [after[0].since(&before[0]), after[1].since(&before[1])];
            // A busy machine may take its time to let the other side have the frame.
            if spent.iter().all(|spent| spent.wakeups > 0) || Instant::now() > end {
                return Ok(spent);
            }
        }
    }

    /// The memory that the links take.
    pub(crate) fn sides(&self) -> Result<[Side; 2], Failure> {
        let after = [&self.listener, &self.dialer].map(memory);
        Ok([0, 1].map(|at| Side { before: self.before[at], after: after[at] }))
    }

    /// Waits for both to end by themselves.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.dialer.release();
        self.dialer.end()?;
        self.listener.end()?;
        Ok(())
    }

    fn activity(&self) -> Result<[Activity; 2], Failure> {
        Ok([Activity::of(self.listener.pid())?, Activity::of(self.dialer.pid())?])
    }

    /// Has both do something at the same time.
    fn both(&mut self, command: &str) -> Result<(), Failure> {
        self.listener.say(command)?;
        self.dialer.say(command)?;
        done(&self.listener)?;
        done(&self.dialer)
    }
}

fn done(child: &Child) -> Result<(), Failure> {
    child.hear("done", STEP).map(drop)
}

/// Heap and stacks.
fn memory(child: &Child) -> Memory {
    Memory::of(child.pid(), "RssAnon")
}
