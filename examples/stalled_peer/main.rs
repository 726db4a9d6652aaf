//! The effect of a peer that never reads on a hundred that do: the latency of flooded frames with
//! and without it, and the memory of the node.
//!
//! Run with `cargo run --release --example stalled_peer`; `-- --help` explains more. It starts two
//! processes and uses a free port of the loopback address only. Exit code 0 means that every frame
//! arrived and memory stayed flat, 1 that this failed. Latencies are printed but not checked: they
//! depend on the load of the machine.

use std::process::ExitCode;
use std::time::Duration;

#[path = "../bench_util/mod.rs"]
mod bench_util;
mod crowd;
mod node;
mod options;

use bench_util::child::{Child, Failure};
use bench_util::command_line::Request;
use bench_util::memory::Memory;
use netmod_inet::Id;
use options::{Options, Role};

/// The router id of the peer that never reads.
const STALLED: Id = Id::from_bytes([0x57; 32]);

/// Time limit of each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Floods to warm up.
const SETTLE: u64 = 20;

/// How much the memory of the node may grow: the queue of a peer holds 1 MiB; the rest is overhead
/// of the allocator.
const FLAT: Memory = Memory(Some(8 << 20));

fn main() -> ExitCode {
    bench_util::command_line::main(options::HELP, |request: Request<Options>| match request {
        Request::Run(options) => Run::start(&options).and_then(|run| run.measure(&options)),
        Request::Member(Role::Node, _) => node::run().map(|()| true),
        Request::Member(Role::Crowd, _) => crowd::run().map(|()| true),
    })
}

/// The two processes: the node and its peers.
struct Run {
    node: Child,
    crowd: Child,
}

/// The latencies of one half of a round: p50 and p99.
struct Half {
    p50: Duration,
    p99: Duration,
    memory: Memory,
}

impl Run {
    fn start(options: &Options) -> Result<Run, Failure> {
        eprintln!("starting a node, and {} peers in another process", options.peers);
        let start = |role: Role| Child::start(role.name(), [format!("--member={}", role.name())]);
        let (node, port) = start(Role::Node)?;
        let (crowd, _) = start(Role::Crowd)?;
        let mut run = Run { node, crowd };
        run.crowd(&format!("dial {port} {}", options.peers))?;
        run.node(&format!("up {}", options.peers))?;
        Ok(run)
    }

    /// Runs all rounds. The first one warms up. Returns whether memory stayed flat.
    fn measure(mut self, options: &Options) -> Result<bool, Failure> {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for round in 0..=options.rounds {
            // Alternate the order.
            let (before, after) = if round % 2 == 0 {
                let before = self.half(options, false)?;
                (before, self.half(options, true)?)
            } else {
                let after = self.half(options, true)?;
                (self.half(options, false)?, after)
            };
            if round == 0 {
                continue;
            }
            println!(
                "round {round}: p50 and p99 {:.2?} and {:.2?} without it, {:.2?} and {:.2?} with \
                 it, memory of the node then {}",
                before.p50, before.p99, after.p50, after.p99, after.memory
            );
            without.push(before);
            with.push(after);
        }
        self.crowd.end()?;
        self.node.end()?;
        for (name, value) in
            [("p50", (|half| half.p50) as fn(&Half) -> Duration), ("p99", |h| h.p99)]
        {
            let values = |halves: &[Half]| halves.iter().map(value).collect();
            print_ratio(name, values(&without), values(&with));
        }
        let most = with.iter().map(|half| half.memory).fold(with[0].memory, Memory::max);
        let grown = most.since(with[0].memory);
        println!("memory of the node with it: at most {grown} more than in the first round");
        Ok(grown <= FLAT)
    }

    /// Floods, and measures the latency of the frames.
    fn half(&mut self, options: &Options, is_there: bool) -> Result<Half, Failure> {
        if is_there {
            self.crowd("stall")?;
            self.node("fill")?;
        }
        // Not measured: the effects of filling the queue.
        self.flood(SETTLE, options.peers)?;
        let ages = self.flood(options.floods, options.peers)?;
        let (p50, p99) = ages.split_once(' ').ok_or("two ages are due")?;
        let half = Half {
            p50: Duration::from_nanos(p50.parse()?),
            p99: Duration::from_nanos(p99.parse()?),
            memory: Memory::of(self.node.pid(), "VmRSS"),
        };
        if is_there {
            self.crowd("leave")?;
            self.node("forget")?;
        }
        Ok(half)
    }

    /// Floods `count` times. Returns the report of the peers.
    fn flood(&mut self, floods: u64, peers: u64) -> Result<String, Failure> {
        self.node(&format!("flood {floods}"))?;
        self.crowd(&format!("ages {}", floods * peers))
    }

    fn node(&mut self, command: &str) -> Result<String, Failure> {
        self.node.send_line(command)?;
        self.node.expect_line("done", STEP_TIMEOUT)
    }

    fn crowd(&mut self, command: &str) -> Result<String, Failure> {
        self.crowd.send_line(command)?;
        self.crowd.expect_line("done", STEP_TIMEOUT)
    }
}

/// Prints the medians, their ratio, and the range over the rounds.
fn print_ratio(name: &str, mut without: Vec<Duration>, mut with: Vec<Duration>) {
    let ratio =
        |(without, with): (&Duration, &Duration)| with.as_secs_f64() / without.as_secs_f64();
    let mut ratios: Vec<_> = without.iter().zip(&with).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    without.sort_unstable();
    with.sort_unstable();
    let (middle, last) = (ratios.len() / 2, ratios.len() - 1);
    for (which, values) in [("without it", &without), ("with it", &with)] {
        let [median, least, most] = [values[middle], values[0], values[last]];
        println!("{name} {which}: median {median:.2?}, from {least:.2?} to {most:.2?}");
    }
    println!(
        "{name} with it / without it: {:.3} of the medians of {} rounds; in one from {:.3} to \
         {:.3}",
        ratio((&without[middle], &with[middle])),
        ratios.len(),
        ratios[0],
        ratios[last]
    );
}
