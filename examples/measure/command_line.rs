//! What the command lines of the programs that measure have in common.

use std::ops::RangeInclusive;
use std::process::ExitCode;

use lexopt::{Arg, Parser};

use crate::child::Failure;

/// An option, whose value has not been looked at.
pub(crate) struct Opt<'a> {
    parser: &'a mut Parser,
    pub(crate) name: &'a str,
}

impl Opt<'_> {
    pub(crate) fn text(&mut self) -> Result<String, String> {
        let value = self.parser.value().map_err(|_| format!("--{} needs a value", self.name))?;
        value.into_string().map_err(|_| format!("--{}: the value is not UTF-8", self.name))
    }

    pub(crate) fn number(&mut self, range: RangeInclusive<u64>) -> Result<u64, String> {
        let (name, least, most) = (self.name, *range.start(), *range.end());
        match self.text()?.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!("--{name}: it must be a number from {least} to {most}")),
        }
    }
}

/// Hands each option to `take`, which knows the name or answers `false`. Returns whether the help
/// text is asked for; the error names the option.
pub(crate) fn each_option(
    parser: &mut Parser,
    mut take: impl FnMut(&mut Opt<'_>) -> Result<bool, String>,
) -> Result<bool, String> {
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        let name = match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(true),
            Arg::Long(name) => name.to_owned(),
            other => return Err(other.unexpected().to_string()),
        };
        if !take(&mut Opt { parser, name: &name })? {
            return Err(format!("there is no option --{name}"));
        }
    }
    Ok(false)
}

/// Ends the program: 0 for a run that found all as it should be, 1 for any other.
pub(crate) fn exit(done: Result<bool, Failure>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends the program because of an option that cannot be used.
pub(crate) fn misused(error: &str) -> ExitCode {
    eprintln!("{error}\nTry --help.");
    ExitCode::from(2)
}
