//! A node for the command line: it peers, sends what is typed, and prints what arrives.
//!
//! `cargo run --release --example node -- --help` explains it.

#[path = "node/arrivals.rs"]
mod arrivals;
#[path = "node/changes.rs"]
mod changes;
#[path = "node/clock.rs"]
mod clock;
#[path = "node/command.rs"]
mod command;
#[path = "node/figures.rs"]
mod figures;
#[path = "node/help.rs"]
mod help;
#[path = "node/hex.rs"]
mod hex;
#[path = "node/input.rs"]
mod input;
#[path = "node/json.rs"]
mod json;
#[path = "node/json_lines.rs"]
mod json_lines;
#[cfg(feature = "noise")]
#[path = "node/keys.rs"]
mod keys;
#[path = "node/metrics.rs"]
mod metrics;
#[path = "node/obey.rs"]
mod obey;
#[path = "node/open_metrics.rs"]
mod open_metrics;
#[path = "node/options.rs"]
mod options;
#[path = "node/output.rs"]
mod output;
#[path = "node/peer_files.rs"]
mod peer_files;
#[path = "node/readable.rs"]
mod readable;
#[path = "node/report.rs"]
mod report;
#[path = "node/run.rs"]
mod run;
#[path = "node/screen.rs"]
mod screen;
#[path = "node/table.rs"]
mod table;
#[path = "node/terminal.rs"]
mod terminal;

use options::Request;
use run::Failure;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "noise")]
    {
        let mut args = std::env::args_os();
        if args.nth(1).is_some_and(|word| word == "keygen") {
            return exit(keys::keygen(args));
        }
    }
    let done = match Request::parse(lexopt::Parser::from_env()) {
        Ok(Request::Run(options)) => run::run(*options),
        Ok(Request::Help) => print(&help::text()),
        Ok(Request::Limits) => print(&help::limits()),
        Ok(Request::Version) => print(concat!("node ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(message) => Err(Failure::option(message)),
    };
    exit(done)
}

fn exit(done: Result<(), Failure>) -> ExitCode {
    let Err(failure) = done else { return ExitCode::SUCCESS };
    // Not with `eprintln`, which panics when nobody reads.
    let _ = writeln!(io::stderr(), "node: {}", failure.message);
    if failure.status == 2 {
        let _ = writeln!(io::stderr(), "Try node --help.");
    }
    ExitCode::from(failure.status)
}

fn print(text: &str) -> Result<(), Failure> {
    // A reader that ends early, such as `head`, has what it wants.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}
