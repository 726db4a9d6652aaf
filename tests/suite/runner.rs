//! How the programs of this build are run.

use std::ffi::{OsStr, OsString};
use std::process::Command;

/// Names a program that runs those of this build, where the machine cannot do so by itself: an
/// emulator of another machine. It runs the first one, too; those that this one starts are many.
const RUNNER: &str = "NETMOD_INET_RUNNER";

fn runner() -> Option<OsString> {
    std::env::var_os(RUNNER).filter(|runner| !runner.is_empty())
}

/// What stands in front of the arguments: the program, or what runs it and the program.
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
