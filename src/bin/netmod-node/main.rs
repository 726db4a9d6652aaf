//! `netmod-node`: peers with other nodes, sends what is typed, and prints what arrives.
//!
//! `cargo run --release --features node -- --help` lists its options.

mod canvas;
mod clock;
mod command;
mod dedup;
mod dispatch;
mod event_loop;
mod failure;
mod format;
mod help;
mod hex;
#[path = "../../primitives/hidden.rs"]
mod hidden;
mod input;
mod json;
mod json_lines;
#[cfg(feature = "noise")]
mod keygen;
#[cfg(feature = "noise")]
mod keys;
mod metrics;
mod open_files;
mod open_metrics;
mod options;
mod output;
mod peer_files;
mod run;
mod screen;
mod signals;
mod start;
mod table;
mod terminal;
mod text_lines;
mod units;
mod watch;

use failure::Failure;
use options::Request;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            ExitCode::from(failure.status)
        }
    }
}

/// Executes what the command line requests.
fn execute() -> Result<(), Failure> {
    #[cfg(feature = "noise")]
    {
        let mut args = std::env::args_os();
        if args.nth(1).is_some_and(|word| word == "keygen") {
            print(&keygen::run(args)?);
            return Ok(());
        }
    }
    match Request::parse(lexopt::Parser::from_env()).map_err(Failure::option)? {
        Request::Run(options) => run::run(*options)?,
        Request::Help => print(&help::text()),
        Request::Limits => print(&help::limits()),
        Request::Version => print(concat!("netmod-node ", env!("CARGO_PKG_VERSION"), "\n")),
    }
    Ok(())
}

fn print(text: &str) {
    // A reader may close the pipe early, as `head` does.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn report(failure: &Failure) {
    failure::print(&failure.message);
    if failure.is_option() {
        // `eprintln` panics if standard error is closed.
        let _ = writeln!(io::stderr(), "Try netmod-node --help.");
    }
}
