//! The cost of idle links: memory, wake-ups and CPU time.

use std::time::Duration;

use crate::bench_util::activity::Spent;
use crate::bench_util::child::Failure;
use crate::bench_util::links::Links;
use crate::bench_util::open_files;
use crate::bench_util::pair::Pair;
use crate::options::Pace;

/// Payload of the frame that each link carries before the second memory sample.
const LARGE: usize = 32_000;

/// Time without traffic before the links count as idle.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// Bytes of user-space memory that an idle link may take.
pub(crate) const MEMORY_BAR: u64 = 2048;

/// A benchmark of idle links.
const WATCHED: usize = 1000;

#[derive(Debug)]
pub(crate) struct IdleMeasure {
    pub(crate) name: &'static str,
    pub(crate) links: usize,
    /// Whether it is part of a quick run.
    pub(crate) is_quick: bool,
}

pub(crate) const MEASURES: [IdleMeasure; 2] = [
    IdleMeasure { name: "idle-1000", links: 1000, is_quick: true },
    IdleMeasure { name: "idle-10000", links: 10_000, is_quick: false },
];

/// Results, each of listener and dialer.
pub(crate) struct Idle {
    pub(crate) own: bool,
    /// Bytes per link, if the system reports memory.
    pub(crate) fresh: [Option<u64>; 2],
    pub(crate) carried: [Option<u64>; 2],
    /// `None` for the larger number of links.
    pub(crate) watched: Option<Watched>,
}

pub(crate) struct Watched {
    pub(crate) time: Duration,
    pub(crate) spent: [Spent; 2],
}

/// Measures on both executors.
pub(crate) fn run(measure: &IdleMeasure, pace: &Pace) -> Result<Vec<Idle>, Failure> {
    open_files::allow(measure.links)?;
    let with = |own| once(measure, pace, own).map_err(|error| format!("{}: {error}", measure.name));
    Ok(vec![with(false)?, with(true)?])
}

fn once(measure: &IdleMeasure, pace: &Pace, own: bool) -> Result<Idle, Failure> {
    let count = measure.links;
    let executor = if own { "own executor" } else { "default executor" };
    eprintln!("{}: opening {count} links, {executor}", measure.name);
    let mut pair = Pair::start(&Links { count, own })?;
    pair.link_up()?;
    pair.rest(IDLE_AFTER)?;
    let per_link = |pair: &Pair| pair.sides().map(|sides| sides.map(|side| side.per_link(count)));
    let fresh = per_link(&pair)?;
    let watched = (count <= WATCHED).then(|| watch(&pair, pace.watch)).transpose()?;
    pair.carry(LARGE)?;
    pair.rest(IDLE_AFTER)?;
    let carried = per_link(&pair)?;
    // Make sure that the counters work.
    if pair.send_one()?.iter().any(|spent| spent.wakeups == 0) {
        return Err("the counters of this system do not count".into());
    }
    pair.end()?;
    Ok(Idle { own, fresh, carried, watched })
}

fn watch(pair: &Pair, time: Duration) -> Result<Watched, Failure> {
    eprintln!("watching for {time:?}");
    let spent = pair.watch(time)?;
    for spent in &spent {
        eprintln!("{} threads", spent.threads);
        spent.rows.iter().for_each(|row| eprintln!("{row}"));
    }
    Ok(Watched { time, spent })
}
