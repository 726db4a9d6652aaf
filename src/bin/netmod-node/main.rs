//! `netmod-node`: peers with other nodes, sends what is typed, and prints what arrives.
//!
//! `cargo run --release --features node -- --help` lists its options.

mod clock;
mod command;
mod dedup;
mod dispatch;
mod event_loop;
mod format;
mod help;
mod hex;
mod input;
mod json;
mod json_lines;
#[cfg(feature = "noise")]
mod keys;
mod metrics;
mod open_metrics;
mod options;
mod output;
mod peer_files;
mod run;
mod screen;
mod table;
mod terminal;
mod text_lines;
mod units;

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
        Ok(Request::Version) => print(concat!("netmod-node ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(message) => Err(Failure::option(message)),
    };
    exit(done)
}

fn exit(done: Result<(), Failure>) -> ExitCode {
    let Err(failure) = done else { return ExitCode::SUCCESS };
    // `eprintln` panics if standard error is closed.
    let _ = writeln!(io::stderr(), "netmod-node: {}", failure.message);
    if failure.status == 2 {
        let _ = writeln!(io::stderr(), "Try netmod-node --help.");
    }
    ExitCode::from(failure.status)
}

fn print(text: &str) -> Result<(), Failure> {
    // A reader may close the pipe early, as `head` does.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}
