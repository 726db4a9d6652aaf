//! Runs the rounds. In each, every contender does the same work in two new processes.

use std::thread;
use std::time::{Duration, Instant};

use crate::bench_util::child::{Child, Failure};
use crate::job::{Contender, Job, Kind, Part, Side};
use crate::measures::Measure;
use crate::meter::Tally;
use crate::options::Pace;

/// Time limit of each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// The samples of a contender.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) with: Contender,
    pub(crate) samples: Vec<Sample>,
}

/// The result of a contender in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Frames per second, or seconds of a median round trip or of a flood.
    pub(crate) value: f64,
    /// CPU seconds of listener and dialer per million frames or round trips. `None` for round trips
    /// beside a load.
    pub(crate) cpu: Option<[f64; 2]>,
    /// Round-trip times in seconds: p99 and p99.9.
    pub(crate) slowest: Option<[f64; 2]>,
    /// Frames per second on the loaded link.
    pub(crate) load: Option<f64>,
}

pub(crate) fn run(measure: &Measure, pace: &Pace) -> Result<Vec<Series>, Failure> {
    let contenders = measure.job.contenders();
    let new = |with: &Contender| Series { with: *with, samples: Vec::new() };
    let mut all: Vec<Series> = contenders.iter().map(new).collect();
    for round in 0..pace.rounds {
        eprintln!("{}: round {} of {}", measure.name, round + 1, pace.rounds);
        for turn in 0..all.len() {
            // A different contender begins each round.
            let series = &mut all[(round + turn) % contenders.len()];
            let sample = once(&measure.job, series.with, pace)
                .map_err(|error| format!("{}, {}: {error}", measure.name, series.with.title()))?;
            series.samples.push(sample);
        }
    }
    Ok(all)
}

fn once(job: &Job, with: Contender, pace: &Pace) -> Result<Sample, Failure> {
    let start = |side: Side, port: u16| {
        let part = Part { job: *job, with, side, port };
        Child::start(side.name(), [format!("--member={part}")])
    };
    let (listener, port) = start(Side::Listener, 0)?;
    let (dialer, _) = start(Side::Dialer, port.parse()?)?;
    let mut both = [listener, dialer];
    watch(job, &mut both, pace.warm_up)?;
    ask(&mut both, "begin")?;
    let tallies = watch(job, &mut both, pace.window)?;
    // Dropping the children kills them.
    Ok(Sample::new(job, &tallies))
}

/// Lets both processes work for `time`, longer if nothing was counted.
fn watch(job: &Job, both: &mut [Child; 2], time: Duration) -> Result<[Tally; 2], Failure> {
    let deadline = Instant::now() + time + STEP_TIMEOUT;
    loop {
        thread::sleep(time);
        let [listener, dialer] = ask(both, "report")?.map(|text| text.parse::<Tally>());
        let tallies = [listener?, dialer?];
        if count(job, &tallies) > 0 {
            return Ok(tallies);
        }
        if Instant::now() > deadline {
            return Err(format!("nothing arrived within {STEP_TIMEOUT:?}").into());
        }
    }
}

/// The count that the benchmark measures.
fn count(job: &Job, [listener, dialer]: &[Tally; 2]) -> u64 {
    match job.kind {
        Kind::Stream | Kind::Singles | Kind::Both | Kind::Encrypted => {
            listener.count + dialer.count
        }
        Kind::Trip | Kind::BusyTrip => dialer.count,
        Kind::Flood => listener.count * job.links as u64,
    }
}

fn ask(both: &mut [Child; 2], line: &str) -> Result<[String; 2], Failure> {
    both.iter_mut().try_for_each(|child| child.send_line(line))?;
    let [listener, dialer] = both;
    Ok([listener.expect_line("done", STEP_TIMEOUT)?, dialer.expect_line("done", STEP_TIMEOUT)?])
}

impl Sample {
    fn new(job: &Job, both: &[Tally; 2]) -> Sample {
        let [listener, dialer] = both;
        let rate = |tally: &Tally| tally.count as f64 / tally.time.as_secs_f64();
        let value = match job.kind {
            Kind::Stream | Kind::Singles | Kind::Both | Kind::Encrypted => {
                rate(listener) + rate(dialer)
            }
            Kind::Trip | Kind::BusyTrip => dialer.trips[0].as_secs_f64(),
            Kind::Flood => 1.0 / rate(listener),
        };
        let is_trip = matches!(job.kind, Kind::Trip | Kind::BusyTrip);
        let is_loaded = job.kind == Kind::BusyTrip;
        let per_million = |tally: &Tally| tally.cpu.as_secs_f64() * 1e6 / count(job, both) as f64;
        Sample {
            value,
            cpu: (!is_loaded).then(|| both.each_ref().map(per_million)),
            slowest: is_trip.then(|| [1, 2].map(|at| dialer.trips[at].as_secs_f64())),
            load: is_loaded.then(|| rate(listener)),
        }
    }
}
