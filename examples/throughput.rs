//! How fast endpoints are, beside plain TCP and beside what a person would write with tokio.
//!
//! Run with `cargo run --release --example throughput -- --quick`; `-- --help` explains more. It
//! starts processes of its own, uses free ports of the loopback address only, and ends by itself.

use std::process::ExitCode;
use std::sync::Arc;

#[path = "measure/activity.rs"]
mod activity;
#[path = "throughput/chart.rs"]
mod chart;
#[path = "measure/child.rs"]
mod child;
#[cfg(feature = "noise")]
#[path = "throughput/cipher.rs"]
mod cipher;
#[path = "throughput/codec.rs"]
mod codec;
#[path = "measure/command_line.rs"]
mod command_line;
#[path = "throughput/flood.rs"]
mod flood;
#[path = "throughput/idle.rs"]
mod idle;
#[path = "throughput/job.rs"]
mod job;
#[path = "throughput/json.rs"]
mod json;
#[path = "measure/links.rs"]
mod links;
#[path = "throughput/measures.rs"]
mod measures;
#[path = "measure/member.rs"]
mod member;
#[path = "measure/memory.rs"]
mod memory;
#[path = "throughput/meter.rs"]
mod meter;
#[path = "measure/open_files.rs"]
mod open_files;
#[path = "throughput/options.rs"]
mod options;
#[path = "throughput/ours.rs"]
mod ours;
#[path = "measure/pair.rs"]
mod pair;
#[path = "throughput/plain.rs"]
mod plain;
#[path = "throughput/rounds.rs"]
mod rounds;
#[cfg(feature = "noise")]
#[path = "throughput/sealed.rs"]
mod sealed;
#[path = "throughput/summary.rs"]
mod summary;
#[path = "throughput/table.rs"]
mod table;

use child::Failure;
use command_line::Request;
use job::{Contender, Kind, Part, Side};
use meter::Meter;
use options::{Member, Options};

fn main() -> ExitCode {
    let done = match Request::<Options>::read() {
        Ok(Request::Help) => {
            print!("{}", options::HELP);
            Ok(())
        }
        Ok(Request::Run(options)) => run(&options),
        Ok(Request::Member(Member::Round(part), _)) => play(part),
        Ok(Request::Member(Member::Idle(role, links), _)) => member::run(role, &links),
        Err(error) => return command_line::misused(&error),
    };
    command_line::exit(done.map(|()| true))
}

/// Runs it all.
fn run(options: &Options) -> Result<(), Failure> {
    let mut charted = Vec::new();
    let pace = options.pace();
    for measure in options.measures() {
        open_files::allow(measure.job.links)?;
        let lines = summary::summarize(measure, &rounds::run(measure, &pace)?);
        match options.json {
            true => json::measure(measure, pace.rounds, &lines),
            false => table::measure(measure, &lines),
        }
        charted.push((measure, lines));
    }
    #[cfg(feature = "noise")]
    sealed::run(options, &pace)?;
    for measure in options.idle_measures() {
        let all = idle::run(measure, &pace)?;
        match options.json {
            true => json::idle(measure, &all),
            false => table::idle(measure, &all),
        }
    }
    if let Some(file) = &options.svg {
        std::fs::write(file, chart::draw(&charted))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

/// Is one of the two processes of a round, until it is ended.
fn play(part: Part) -> Result<(), Failure> {
    let meter = Arc::new(Meter::default());
    meter.obey();
    let never = match (part.job.kind, part.side, part.with) {
        (Kind::Flood, Side::Dialer, _) => flood::sink(&part),
        (Kind::Flood, Side::Listener, Contender::Plain) => flood::bare(&part, &meter),
        (_, _, Contender::Plain) => plain::run(part, &meter),
        (_, _, Contender::Codec) => codec::run(part, &meter),
        #[cfg(feature = "noise")]
        (_, _, Contender::Cipher) => cipher::run(part, &meter),
        _ => ours::run(part, &meter),
    };
    never.map(|_| ())
}
