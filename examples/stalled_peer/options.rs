//! The command line.

use crate::bench_util::command_line::{self, Opt};

pub(crate) const HELP: &str = "\
Floods frames from a node to many peers, in turn without and with one more peer
that never reads and whose queue is full. Prints how late the frames reach the
others, and how much memory the node takes.

Usage: stalled_peer [OPTION]...

Options:
  --peers N        peers that read. Default: 100
  --rounds N       rounds of both, from 2, after one to warm up. Default: 9
  --floods N       frames to all peers in each half of a round, one every 5 ms.
                   Default: 300
  --help           show this text

Frames have 1024 bytes of payload. Latency is the time from the flood until the
router of a peer receives the frame. Memory is resident memory, program included.

Exit status: 0 if every frame arrived and memory stayed flat, 1 if not, 2 for
an invalid option.

Examples:
  stalled_peer
  stalled_peer --peers 500 --rounds 15
";

pub(crate) struct Options {
    pub(crate) peers: u64,
    pub(crate) rounds: u64,
    pub(crate) floods: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Node,
    Crowd,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Node => "node",
            Role::Crowd => "crowd",
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options { peers: 100, rounds: 9, floods: 300 }
    }
}

impl command_line::Options for Options {
    type Role = Role;

    fn take(&mut self, option: &mut Opt<'_>) -> Result<bool, String> {
        match option.name {
            "peers" => self.peers = option.number(1..=1_000)?,
            "rounds" => self.rounds = option.number(2..=1_000)?,
            "floods" => self.floods = option.number(1..=10_000)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn role(name: &str) -> Option<Role> {
        [Role::Node, Role::Crowd].into_iter().find(|role| role.name() == name)
    }
}
