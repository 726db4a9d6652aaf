//! Runs the programs of this build, under an emulator if one is set.

use std::ffi::{OsStr, OsString};
use std::process::Command;

/// The environment variable that names an emulator, for programs built for another machine.
const RUNNER: &str = "NETMOD_INET_RUNNER";

fn runner() -> Option<OsString> {
    std::env::var_os(RUNNER).filter(|runner| !runner.is_empty())
}

/// The command without its arguments: the program, after the emulator if one is set.
pub(crate) fn words(program: impl AsRef<OsStr>) -> Vec<OsString> {
    runner().into_iter().chain([program.as_ref().to_owned()]).collect()
}

/// A command that runs a program of this build.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let words = words(program);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}
