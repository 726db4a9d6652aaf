//! Parses command lines.

use std::ops::RangeInclusive;
use std::process::ExitCode;

use lexopt::{Arg, Parser};

use super::child::Failure;

/// An option whose value is yet to be parsed.
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

/// The options of a program, and the roles of the processes that it starts.
pub(crate) trait Options: Default {
    type Role;

    /// Parses an option. Returns `false` if the name is unknown.
    fn take(&mut self, option: &mut Opt<'_>) -> Result<bool, String>;

    /// The role with this name.
    fn role(name: &str) -> Option<Self::Role>;
}

/// What a command line requests.
pub(crate) enum Request<O: Options> {
    Run(O),
    Help,
    /// Run as one of the processes that this program starts.
    Member(O::Role, O),
}

impl<O: Options> Request<O> {
    /// Parses the command line. The error names the option.
    pub(crate) fn read() -> Result<Request<O>, String> {
        let mut parser = Parser::from_env();
        let (mut options, mut role) = (O::default(), None);
        while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
            let name = match arg {
                Arg::Long("help") | Arg::Short('h') => return Ok(Request::Help),
                Arg::Long(name) => name.to_owned(),
                other => return Err(other.unexpected().to_string()),
            };
            let mut option = Opt { parser: &mut parser, name: &name };
            if name == "member" {
                // Internal, so not in the help.
                role = Some(O::role(&option.text()?).ok_or("--member: no such role")?);
            } else if !options.take(&mut option)? {
                return Err(format!("there is no option --{name}"));
            }
        }
        Ok(match role {
            Some(role) => Request::Member(role, options),
            None => Request::Run(options),
        })
    }
}

/// The exit code of a run: 0 if it passed, 1 if not.
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

/// The exit code for an invalid option.
pub(crate) fn misused(error: &str) -> ExitCode {
    eprintln!("{error}\nTry --help.");
    ExitCode::from(2)
}
