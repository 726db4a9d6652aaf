//! The speed of endpoints, compared with plain TCP and with a typical tokio program.
//!
//! Run with `cargo run --release --example throughput -- --quick`; `-- --help` explains more. It
//! starts child processes and uses free ports of the loopback address only.

use std::process::ExitCode;
use std::sync::Arc;

#[path = "../bench_util/mod.rs"]
mod bench_util;
mod chart;
#[cfg(feature = "noise")]
mod cipher;
mod codec;
#[cfg(feature = "noise")]
mod encrypted;
mod endpoint;
mod flood;
mod idle;
mod job;
mod json;
mod measures;
mod meter;
mod options;
mod plain;
mod rounds;
mod summary;
mod table;

use bench_util::child::Failure;
use bench_util::command_line::Request;
use job::{Contender, Kind, Part, Side};
use meter::Meter;
use options::{Member, Options};

fn main() -> ExitCode {
    bench_util::command_line::main(options::HELP, |request: Request<Options>| {
        match request {
            Request::Run(options) => run(&options),
            Request::Member(Member::Round(part), _) => play(part),
            Request::Member(Member::Idle(role, links), _) => bench_util::member::run(role, &links),
        }
        .map(|()| true)
    })
}

/// Runs the benchmarks.
fn run(options: &Options) -> Result<(), Failure> {
    let mut charted = Vec::new();
    let pace = options.pace();
    for measure in options.measures() {
        bench_util::open_files::allow(measure.job.links)?;
        let lines = summary::summarize(measure, &rounds::run(measure, &pace)?);
        match options.json {
            true => json::measure(measure, pace.rounds, &lines),
            false => table::measure(measure, &lines),
        }
        charted.push((measure, lines));
    }
    #[cfg(feature = "noise")]
    encrypted::run(options, &pace)?;
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

/// Runs one of the two processes of a round until it is killed.
fn play(part: Part) -> Result<(), Failure> {
    let meter = Arc::new(Meter::default());
    meter.serve_commands();
    let never = match (part.job.kind, part.side, part.with) {
        (Kind::Flood, Side::Dialer, _) => flood::sink(&part),
        (Kind::Flood, Side::Listener, Contender::Plain) => flood::bare(&part, &meter),
        (_, _, Contender::Plain) => plain::run(part, &meter),
        (_, _, Contender::Codec) => codec::run(part, &meter),
        #[cfg(feature = "noise")]
        (_, _, Contender::Cipher) => cipher::run(part, &meter),
        _ => endpoint::run(part, &meter),
    };
    never.map(|_| ())
}
