//! What one peer that never reads does to a hundred that do: how late flooded frames reach the
//! others with it and without it, in turn, and how much memory the node takes.
//!
//! Run with `cargo run --release --example stalled_peer`; `-- --help` explains more. It starts two
//! processes, uses a free port of the loopback address only, and ends by itself with exit code 0
//! if every frame arrived and memory stayed flat, else with 1. The latencies are printed, not
//! judged: that takes a quiet machine.

use std::process::ExitCode;
use std::time::Duration;

#[path = "measure/child.rs"]
mod child;
#[path = "measure/command_line.rs"]
mod command_line;
#[path = "stalled_peer/crowd.rs"]
mod crowd;
#[path = "measure/memory.rs"]
mod memory;
#[path = "stalled_peer/node.rs"]
mod node;
#[path = "stalled_peer/options.rs"]
mod options;

use child::{Child, Failure};
use memory::Memory;
use netmod_inet::Id;
use options::{Options, Request, Role};

/// Who never reads.
const STALLED: Id = Id::from_bytes([0x57; 32]);

/// Time that any one step may take before the run counts as failed.
const STEP: Duration = Duration::from_secs(60);

/// More memory than this is not flat: the queue of one peer is 1 MiB, and an allocator needs some
/// room.
const FLAT: Memory = Memory(Some(8 << 20));

fn main() -> ExitCode {
    let done = match Request::parse(lexopt::Parser::from_env()) {
        Ok(Request::Help) => {
            print!("{}", options::HELP);
            Ok(true)
        }
        Ok(Request::Run(options)) => Run::start(&options).and_then(|run| run.measure(&options)),
        Ok(Request::Member(Role::Node)) => node::run().map(|()| true),
        Ok(Request::Member(Role::Crowd)) => crowd::run().map(|()| true),
        Err(error) => return command_line::misused(&error),
    };
    command_line::exit(done)
}

/// The two processes: a node, and its peers.
struct Run {
    node: Child,
    crowd: Child,
}

impl Run {
    fn start(options: &Options) -> Result<Run, Failure> {
        eprintln!("starting a node, and {} peers in another process", options.peers);
        let start = |role: Role| Child::start(role.name(), [format!("--member={}", role.name())]);
        let (node, port) = start(Role::Node)?;
        let (crowd, _) = start(Role::Crowd)?;
        let mut run = Run { node, crowd };
        run.crowd(&format!("dial {port} {}", options.peers))?;
        Ok(run)
    }

    /// Runs all rounds, the first of which only warms up. Returns whether memory stayed flat.
    fn measure(mut self, options: &Options) -> Result<bool, Failure> {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        let mut memory = Vec::new();
        for round in 0..=options.rounds {
            // In turn, so that neither always comes first.
            let order = if round % 2 == 0 { [false, true] } else { [true, false] };
            let mut p99 = [Duration::ZERO; 2];
            for is_there in order {
                p99[usize::from(is_there)] = self.half(options, is_there)?;
            }
            if round == 0 {
                continue;
            }
            memory.push(Memory::of(self.node.pid(), "VmRSS"));
            println!(
                "round {round}: p99 {:.2?} without it, {:.2?} with it; memory of the node {}",
                p99[0],
                p99[1],
                memory[memory.len() - 1]
            );
            without.push(p99[0]);
            with.push(p99[1]);
        }
        self.crowd.end()?;
        self.node.end()?;
        tell(&mut without, &mut with);
        let most = memory.iter().copied().fold(memory[0], Memory::max);
        let grown = most.since(memory[0]);
        println!("memory of the node: at most {grown} more than after the first round");
        Ok(grown <= FLAT)
    }

    /// Floods, and finds out how late the frames arrived: what 99 of 100 took.
    fn half(&mut self, options: &Options, is_there: bool) -> Result<Duration, Failure> {
        if is_there {
            self.crowd("stall")?;
            self.node("fill")?;
        }
        self.node(&format!("flood {}", options.floods))?;
        let p99 = self.crowd(&format!("p99 {}", options.floods * options.peers))?;
        if is_there {
            self.crowd("leave")?;
            self.node("forget")?;
        }
        Ok(Duration::from_nanos(p99.parse()?))
    }

    fn node(&mut self, command: &str) -> Result<String, Failure> {
        self.node.say(command)?;
        self.node.hear("done", STEP)
    }

    fn crowd(&mut self, command: &str) -> Result<String, Failure> {
        self.crowd.say(command)?;
        self.crowd.hear("done", STEP)
    }
}

/// Prints medians, their ratio, and how far the rounds are apart.
fn tell(without: &mut [Duration], with: &mut [Duration]) {
    let ratio =
        |(without, with): (&Duration, &Duration)| with.as_secs_f64() / without.as_secs_f64();
    let mut ratios: Vec<_> = without.iter().zip(&*with).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    without.sort_unstable();
    with.sort_unstable();
    let (middle, last) = (ratios.len() / 2, ratios.len() - 1);
    for (name, values) in [("without it", &without), ("with it", &with)] {
        let [median, least, most] = [values[middle], values[0], values[last]];
        println!("p99 {name}: median {median:.2?}, from {least:.2?} to {most:.2?}");
    }
    println!(
        "with it / without it: medians of {} rounds {:.3}; in one round from {:.3} to {:.3}",
        ratios.len(),
        ratio((&without[middle], &with[middle])),
        ratios[0],
        ratios[last]
    );
}
