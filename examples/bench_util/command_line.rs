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
    /// Run as one of the processes that this program starts.
    Member(O::Role, O),
}

impl<O: Options> Request<O> {
    /// Parses the command line. `None` if it asks for the help. The error names the option.
    fn read() -> Result<Option<Request<O>>, String> {
        let mut parser = Parser::from_env();
        let (mut options, mut role) = (O::default(), None);
        while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
            let name = match arg {
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
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
        Ok(Some(match role {
            Some(role) => Request::Member(role, options),
            None => Request::Run(options),
        }))
    }
}

/// The `main` of an example: executes what the command line requests, or prints the help.
///
/// Exit code 0 if the run passed, 1 if it returned false or failed, 2 if an option is invalid.
pub(crate) fn main<O: Options>(
    help: &str,
    execute: impl FnOnce(Request<O>) -> Result<bool, Failure>,
) -> ExitCode {
    let done = match Request::read() {
        Ok(Some(request)) => execute(request),
        Ok(None) => {
            print!("{help}");
            Ok(true)
        }
        Err(error) => {
            eprintln!("{error}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}
