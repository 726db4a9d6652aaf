//! Context switches and CPU time of a process, from `/proc`.

use super::child::Failure;
use std::collections::BTreeMap;
use std::fs;

/// The counters of a process since its start.
pub(crate) struct Activity {
    /// User plus system time in clock ticks, usually of 10 ms.
    ticks: u64,
    threads: BTreeMap<u32, Thread>,
}

struct Thread {
    name: String,
    /// Voluntary and involuntary context switches.
    switches: u64,
    /// Time on the CPU, if the kernel accounts for it.
    nanos: Option<u64>,
}

/// The activity of a process between two samples.
pub(crate) struct Spent {
    pub(crate) threads: usize,
    pub(crate) wakeups: u64,
    pub(crate) ticks: u64,
    pub(crate) nanos: Option<u64>,
    /// A line for each thread that ran.
    pub(crate) rows: Vec<String>,
}

impl Activity {
    /// Samples a process, without waking it.
    pub(crate) fn of(pid: u32) -> Result<Activity, Failure> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            let number = entry.file_name().to_string_lossy().parse()?;
            // A thread that ends meanwhile is reported by `since`.
            if let Some(thread) = Thread::read(&entry.path().to_string_lossy()) {
                threads.insert(number, thread);
            }
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let ticks = ticks(&stat).ok_or("/proc/PID/stat has a form that is not known")?;
        Ok(Activity { ticks, threads })
    }

    /// The activity since an earlier sample.
    pub(crate) fn since(&self, before: &Activity) -> Spent {
        let nothing = Thread { name: String::new(), switches: 0, nanos: Some(0) };
        let mut wakeups = 0;
        let mut nanos = Some(0);
        let mut rows = Vec::new();
        for (number, now) in &self.threads {
            let then = before.threads.get(number).unwrap_or(&nothing);
            let more_wakeups = now.switches - then.switches;
            let more_nanos = now.nanos.zip(then.nanos).map(|(now, then)| now - then);
            if more_wakeups > 0 || more_nanos.is_some_and(|nanos| nanos > 0) {
                rows.push(format!("thread {} woke up {more_wakeups} times", now.name));
            }
            wakeups += more_wakeups;
            nanos = nanos.zip(more_nanos).map(|(sum, more)| sum + more);
        }
        for (_, gone) in before.threads.iter().filter(|(id, _)| !self.threads.contains_key(id)) {
            rows.push(format!("thread {} woke up, and ended", gone.name));
            wakeups += 1;
        }
        let ticks = self.ticks - before.ticks;
        Spent { threads: self.threads.len(), wakeups, ticks, nanos, rows }
    }
}

impl Thread {
    fn read(task: &str) -> Option<Thread> {
        let status = fs::read_to_string(format!("{task}/status")).ok()?;
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.map(str::trim)
        };
        let count = |name| field(name)?.parse::<u64>().ok();
        let schedstat = fs::read_to_string(format!("{task}/schedstat")).ok();
        Some(Thread {
            name: field("Name")?.to_owned(),
            switches: count("voluntary_ctxt_switches")? + count("nonvoluntary_ctxt_switches")?,
            nanos: schedstat.and_then(|text| text.split_whitespace().next()?.parse().ok()),
        })
    }
}

impl Spent {
    pub(crate) fn is_nothing(&self) -> bool {
        self.wakeups == 0 && self.ticks == 0 && self.nanos.unwrap_or(0) == 0
    }
}

/// User and system time, fields 14 and 15 of `/proc/PID/stat`. The name, field 2, is in
/// parentheses and may contain spaces.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?)
}
