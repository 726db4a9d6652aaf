//! The command line.

use std::time::Duration;

use lexopt::Parser;

use crate::command_line::each_option;

pub(crate) const HELP: &str = "\
Opens many links between two processes over loopback, leaves them alone, and
counts how often either process woke up, and how much memory a link takes.

Usage: idle_links [OPTION]...

Options:
  --links N        links to open, at most 65000. Default: 1000. Each process
                   needs as many open files; see `ulimit -n`
  --seconds N      time to watch. Default: 20
  --carry BYTES    first send a frame with so many bytes of payload over each
                   link, both ways. Default: none
  --own            run the endpoints on an executor that the caller drives on
                   one thread. Default: smol's global executor
  --help           show this text

Progress goes to standard error, the account to standard output. Memory is
what is resident and anonymous: heap and stacks, not the program itself, and
not what the kernel has of each socket.

Exit status: 0 if no thread of the two processes ran while they were watched,
1 if one did or the run failed, 2 for an option that cannot be used.

Examples:
  idle_links
  idle_links --own --seconds 60
  ulimit -n 10016; idle_links --links 10000 --carry 32000
";

/// Targets are 16 bits.
const MOST_LINKS: u64 = 65_000;

/// Frames have no more payload.
const MOST_PAYLOAD: u64 = 65_535;

/// What the command line asks for.
pub(crate) enum Request {
    Run(Options),
    Help,
    /// To be one of the two processes.
    Member(Role, Options),
}

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) links: usize,
    pub(crate) watch: Duration,
    pub(crate) own: bool,
    pub(crate) carry: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Listener,
    Dialer,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Listener => "listener",
            Role::Dialer => "dialer",
        }
    }
}

impl Request {
    /// The error names the option.
    pub(crate) fn parse(mut parser: Parser) -> Result<Request, String> {
        let mut options =
            Options { links: 1000, watch: Duration::from_secs(20), own: false, carry: None };
        let mut role = None;
        let is_help = each_option(&mut parser, |option| {
            match option.name {
                "links" => options.links = option.number(1..=MOST_LINKS)? as usize,
                "seconds" => options.watch = Duration::from_secs(option.number(1..=86_400)?),
                "carry" => options.carry = Some(option.number(1..=MOST_PAYLOAD)? as usize),
                "own" => options.own = true,
                // For the two processes that this program starts, and not in the help.
                "member" => role = Some(parse_role(&option.text()?)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if is_help {
            return Ok(Request::Help);
        }
        Ok(match role {
            Some(role) => Request::Member(role, options),
            None => Request::Run(options),
        })
    }
}

impl Options {
    /// The arguments of one of the two processes.
    pub(crate) fn member_args(&self, role: Role) -> Vec<String> {
        let mut args = vec![format!("--member={}", role.name()), format!("--links={}", self.links)];
        args.extend(self.own.then(|| "--own".to_owned()));
        args
    }
}

fn parse_role(text: &str) -> Result<Role, &'static str> {
    let named = |role: &Role| role.name() == text;
    [Role::Listener, Role::Dialer].into_iter().find(named).ok_or("no such role")
}
