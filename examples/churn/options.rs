//! The command line.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use crate::bench_util::command_line::{self, Opt};

pub(crate) const HELP: &str = "\
Runs a node under peer churn: half of the peers dial it, the node dials the other
half from a peer file, which is reloaded. Some peers shut down in order, some
just disappear.

Usage: churn [OPTION]...

Options:
  --seconds N    time to run. Default: 20
  --peers N      peers in all. Default: 200
  --every MS     interval of starting or stopping a peer. Default: 50
  --node FILE    the program. Default: netmod-node of the same build
  --seed N       seed of the random choices. Default: a random one
  --help         show this text

Exit status: 0 if the memory of the node stayed flat, no descriptor leaked and the
log had exactly one line per change; 1 if not; 2 for an invalid option.
";

pub(crate) struct Options {
    pub(crate) time: Duration,
    pub(crate) peers: usize,
    pub(crate) every: Duration,
    pub(crate) node: Option<PathBuf>,
    pub(crate) seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        let (time, every) = (Duration::from_secs(20), Duration::from_millis(50));
        Options { time, peers: 200, every, node: None, seed: fastrand::u64(..) }
    }
}

impl command_line::Options for Options {
    type Role = Infallible;

    fn take(&mut self, option: &mut Opt<'_>) -> Result<bool, String> {
        match option.name {
            "seconds" => self.time = Duration::from_secs(option.number(5..=86_400)?),
            "peers" => self.peers = option.number(40..=1_000)? as usize,
            "every" => self.every = Duration::from_millis(option.number(1..=60_000)?),
            "node" => self.node = Some(option.text()?.into()),
            "seed" => self.seed = option.number(0..=u64::MAX)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn role(_: &str) -> Option<Infallible> {
        None
    }
}
