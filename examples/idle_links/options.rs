//! The command line.

use std::time::Duration;

use crate::bench_util::command_line::{self, Opt};
use crate::bench_util::links::{Links, Role};

pub(crate) const HELP: &str = "\
Opens many links between two processes over loopback, leaves them alone, and
counts how often either process woke up, and how much memory a link takes.

Usage: idle_links [OPTION]...

Options:
  --links N        links to open, at most 65000. Default: 1000. Each process
                   needs as many open files; see `ulimit -Hn`
  --seconds N      time to watch. Default: 20
  --carry BYTES    first send a frame with BYTES of payload over each link, in
                   each direction. Default: none
  --own            run the endpoints on an executor that the caller drives on
                   one thread. Default: smol's global executor
  --help           show this text

Progress goes to standard error, results to standard output. Memory is resident
and anonymous: heap and stacks, without the program itself and the socket
buffers of the kernel.

Exit status: 0 if no thread of the two processes ran while they were watched,
1 if one did or the run failed, 2 for an invalid option.

Examples:
  idle_links
  idle_links --own --seconds 60
  idle_links --links 10000 --carry 32000
";

/// Targets have 16 bits.
const MAX_LINKS: u64 = 65_000;

/// The largest payload of a frame.
const MAX_PAYLOAD: u64 = 65_535;

pub(crate) struct Options {
    pub(crate) links: Links,
    pub(crate) watch: Duration,
    pub(crate) carry: Option<usize>,
}

impl Default for Options {
    fn default() -> Options {
        let links = Links { count: 1000, own: false };
        Options { links, watch: Duration::from_secs(20), carry: None }
    }
}

impl command_line::Options for Options {
    type Role = (Role, Links);

    fn take(&mut self, option: &mut Opt<'_>) -> Result<bool, String> {
        match option.name {
            "links" => self.links.count = option.number(1..=MAX_LINKS)? as usize,
            "seconds" => self.watch = Duration::from_secs(option.number(1..=86_400)?),
            "carry" => self.carry = Some(option.number(1..=MAX_PAYLOAD)? as usize),
            "own" => self.links.own = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn role(name: &str) -> Option<(Role, Links)> {
        Links::parse_member(name).ok()
    }
}
