//! The command line.

use std::time::Duration;

use crate::command_line::{self, Opt};

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

impl Default for Options {
    fn default() -> Options {
        Options { links: 1000, watch: Duration::from_secs(20), own: false, carry: None }
    }
}

impl command_line::Options for Options {
    type Role = Role;

    fn take(&mut self, option: &mut Opt<'_>) -> Result<bool, String> {
        match option.name {
            "links" => self.links = option.number(1..=MOST_LINKS)? as usize,
            "seconds" => self.watch = Duration::from_secs(option.number(1..=86_400)?),
            "carry" => self.carry = Some(option.number(1..=MOST_PAYLOAD)? as usize),
            "own" => self.own = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn role(name: &str) -> Option<Role> {
        [Role::Listener, Role::Dialer].into_iter().find(|role| role.name() == name)
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
