//! The command line.

use lexopt::{Arg, Parser};
use std::time::Duration;

pub(crate) const HELP: &str = "\
Sends many frames from one process to another that is slower: it verifies every
byte, pauses after every few frames, and stops altogether for a while halfway.

Usage: slow_receiver [OPTION]...

Options:
  --frames N       frames to send. Default: 200000
  --payload BYTES  payload of each, from 8 to 65535. Default: 8192
  --pause MICROS   pause of the receiver after every 32 frames. Default: 1000
  --stall MILLIS   stop of the receiver halfway; beyond a second, the time that
                   a send waits, frames are given back. Default: 2500
  --help           show this text

Progress goes to standard error, the account to standard output. Memory is
what the system says that was resident, the program itself included.

Exit status: 0 if every frame arrived once, intact and in order while memory
stayed flat, 1 if not, 2 for an option that cannot be used.

Examples:
  slow_receiver
  slow_receiver --frames 1000000 --payload 64 --pause 100
";

/// What the command line asks for.
pub(crate) enum Request {
    Run(Options),
    Help,
    /// To be one of the two processes.
    Member(Role, Options),
}

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) frames: u64,
    pub(crate) payload: usize,
    pub(crate) pause: Duration,
    pub(crate) stall: Duration,
}

#[derive(Clone, Copy)]
pub(crate) enum Role {
    Receiver,
    /// With the port to dial.
    Sender(u16),
}

impl Request {
    /// The error names the option.
    pub(crate) fn parse(mut parser: Parser) -> Result<Request, String> {
        let mut options = Options {
            frames: 200_000,
            payload: 8192,
            pause: Duration::from_millis(1),
            stall: Duration::from_millis(2500),
        };
        let mut role = None;
        while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
            let name = match arg {
                Arg::Long("help") | Arg::Short('h') => return Ok(Request::Help),
                Arg::Long(name) => name.to_owned(),
                other => return Err(other.unexpected().to_string()),
            };
            let mut value = || value(&mut parser, &name);
            let done = match name.as_str() {
                "frames" => positive(&value()?).map(|frames| options.frames = frames),
                "payload" => payload(&value()?).map(|bytes| options.payload = bytes),
                "pause" => time(&value()?, Duration::from_micros).map(|time| options.pause = time),
                "stall" => time(&value()?, Duration::from_millis).map(|time| options.stall = time),
                // For the two processes that this program starts, and not in the help.
                "member" => parse_role(&value()?).map(|found| role = Some(found)),
                _ => Err("there is no such option"),
            };
            done.map_err(|error| format!("--{name}: {error}"))?;
        }
        Ok(match role {
            Some(role) => Request::Member(role, options),
            None => Request::Run(options),
        })
    }
}

impl Options {
    /// The arguments of one of the two processes.
    pub(crate) fn member_args(&self, role: &str) -> Vec<String> {
        vec![
            format!("--member={role}"),
            format!("--frames={}", self.frames),
            format!("--payload={}", self.payload),
            format!("--pause={}", self.pause.as_micros()),
            format!("--stall={}", self.stall.as_millis()),
        ]
    }
}

fn value(parser: &mut Parser, name: &str) -> Result<String, String> {
    let value = parser.value().map_err(|_| format!("--{name} needs a value"))?;
    value.into_string().map_err(|_| format!("--{name}: the value is not UTF-8"))
}

fn positive(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|number| *number > 0).ok_or("it must be a number from 1 on")
}

fn time(text: &str, unit: fn(u64) -> Duration) -> Result<Duration, &'static str> {
    text.parse::<u32>().map(|number| unit(number.into())).map_err(|_| "it must be a number")
}

/// The number of a frame has to fit in.
fn payload(text: &str) -> Result<usize, &'static str> {
    let bytes = text.parse().ok().filter(|bytes| (8..=65_535).contains(bytes));
    bytes.ok_or("it must be a number from 8 to 65535")
}

fn parse_role(text: &str) -> Result<Role, &'static str> {
    match text.split_once(':') {
        None if text == "receiver" => Ok(Role::Receiver),
        Some(("sender", port)) => Ok(Role::Sender(port.parse().map_err(|_| "no such port")?)),
        _ => Err("no such role"),
    }
}
