//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::bench_util::command_line::{self, Opt};
use crate::bench_util::links::{Links, Role};
use crate::idle;
use crate::job::Part;
use crate::measures;

pub(crate) const HELP: &str = "\
Measures endpoints of this crate beside two others that move the same bytes with
the same framing between two processes over loopback:

  plain TCP    the baseline: blocking std::net sockets, many frames per write and
               per read, no queue, no routes. In a flood it is a bare loop that
               writes the frame to every socket
  tokio codec  a typical tokio program: tokio-util's LengthDelimitedCodec, a task
               per link, and an mpsc channel to a consumer task

Endpoints run twice: on the default executor, with the router on another thread,
and on an executor that the caller drives, where one thread does everything.

Usage: throughput [OPTION]...

Options:
  --quick        two short rounds and no large numbers of links: takes less than
                 a minute. The results are rough
  --rounds N     rounds of each measure. Default: 9, or 2 with --quick
  --only NAME    run only the measures whose name begins with NAME; may be
                 repeated
  --json         print one JSON object on each line instead of the tables
  --svg FILE     also draw the comparison
  --help         show this text

Measures:
  one-64 one-1024 one-4096 one-32000
                 frames per second over one link, by bytes of payload. Endpoints
                 send 64 frames per call; the codec's writer gathers up to 8 KiB
  singles-64     the same, but endpoints send one frame per call
  both-1024      both directions at once, both counted
  eight-1024     eight links to one node at once
  trip-idle      round trip of a frame of 64 bytes: p50, p99 and p99.9
  trip-loaded    the same while a second link between the two processes carries
                 frames of 4 KiB as fast as possible. The load is reported too,
                 since a lower one makes round trips shorter
  flood-10 flood-100 flood-1000
                 time until a flooded frame has arrived at every peer. The peers
                 are plain sockets, as for the bare loop
  encrypted-32000
                 with the feature noise: an encrypted link, a plain one, and the
                 cipher alone
  idle-1000 idle-10000
                 memory per idle link, fresh and after it carried a frame with
                 32 000 bytes of payload in each direction; wake-ups and CPU time
                 of 1000 in 20 s (2 s with --quick)

A full run takes about seven minutes on an otherwise idle machine. In each round
every contender runs in two new processes, after a warm-up. Results are medians
over the rounds, with minimum and maximum; ratios are taken per round. CPU time
is user and system time of all threads, listener + dialer, in seconds per million
frames or round trips. A ratio with a goal shows whether it was reached.

See also the examples stalled_peer, slow_receiver and idle_links.

Progress goes to standard error, results to standard output.

Exit status: 0 if everything was measured, 1 if the run failed, 2 for an invalid
option.

Examples:
  throughput --quick
  throughput --only one --only trip-idle --rounds 21
  throughput --svg comparison.svg --json > figures.json
";

/// The role of a child process.
pub(crate) enum Member {
    /// One of the two processes of a round.
    Round(Part),
    /// One of the two processes with idle links.
    Idle(Role, Links),
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) json: bool,
    pub(crate) svg: Option<PathBuf>,
    quick: bool,
    rounds: Option<usize>,
    only: Vec<String>,
}

/// The durations of a run.
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// How long idle links are watched.
    pub(crate) watch: Duration,
}

impl Pace {
    fn new(quick: bool, rounds: Option<usize>) -> Pace {
        let (few, warm_up, window, watch) =
            if quick { (2, 50, 150, 2000) } else { (9, 200, 600, 20_000) };
        Pace {
            rounds: rounds.unwrap_or(few),
            warm_up: Duration::from_millis(warm_up),
            window: Duration::from_millis(window),
            watch: Duration::from_millis(watch),
        }
    }
}

impl Options {
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.quick, self.rounds)
    }

    pub(crate) fn measures(&self) -> impl Iterator<Item = &'static measures::Measure> {
        measures::MEASURES.iter().filter(|measure| self.wants(measure.name))
    }

    pub(crate) fn idle_measures(&self) -> impl Iterator<Item = &'static idle::IdleMeasure> {
        idle::MEASURES
            .iter()
            .filter(|measure| measure.is_quick || !self.quick)
            .filter(|measure| self.wants(measure.name))
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }
}

impl command_line::Options for Options {
    type Role = Member;

    fn take(&mut self, option: &mut Opt<'_>) -> Result<bool, String> {
        match option.name {
            "quick" => self.quick = true,
            "json" => self.json = true,
            "rounds" => self.rounds = Some(option.number(1..=1000)? as usize),
            "only" => self.only.push(parse_only(option.text()?)?),
            "svg" => self.svg = Some(PathBuf::from(option.text()?)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn role(name: &str) -> Option<Member> {
        match Links::parse_member(name) {
            Ok((role, links)) => Some(Member::Idle(role, links)),
            Err(_) => name.parse().ok().map(Member::Round),
        }
    }
}

fn parse_only(name: String) -> Result<String, String> {
    let measures = measures::MEASURES.iter().map(|measure| measure.name);
    let idle = idle::MEASURES.iter().map(|measure| measure.name);
    let encrypted = ["encrypted-32000"].into_iter().filter(|_| cfg!(feature = "noise"));
    let mut all = measures.chain(idle).chain(encrypted);
    match all.any(|known| known.starts_with(&name)) {
        true => Ok(name),
        false => Err(format!("--only: no measure has a name that begins with \"{name}\"")),
    }
}
