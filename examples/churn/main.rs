//! The program `netmod-node` among peers that come and go: its memory stays flat, no
//! descriptor leaks, and its log has one line for each change.
//!
//! Run with `cargo build --release --features node && cargo run --release --example churn`;
//! `-- --help` explains more. It uses loopback addresses only, and ends by itself with exit code 0
//! if all was as it should be, else with 1.

#[path = "../bench_util/mod.rs"]
mod bench_util;
mod crowd;
mod node;
mod options;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench_util::child::Failure;
use bench_util::command_line::Request;
use bench_util::memory::Memory;
use crowd::Crowd;
use node::{Lines, Node};
use options::Options;

/// How much more memory the node may have in the end than after three tenths of the time, when the
/// allocator has seen it all.
const FLAT: Memory = Memory(Some(1 << 20));

/// From one reading of the peer file to the next.
const RELOAD: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let done = match Request::<Options>::read() {
        Ok(Request::Help) => {
            print!("{}", options::HELP);
            Ok(())
        }
        Ok(Request::Run(options)) => run(&options),
        Ok(Request::Member(role, _)) => match role {},
        Err(error) => return bench_util::command_line::misused(&error),
    };
    bench_util::command_line::exit(done.map(|()| true))
}

fn run(options: &Options) -> Result<(), Failure> {
    fastrand::seed(options.seed);
    eprintln!("seed {}", options.seed);
    let mut crowd = Crowd::new(options.peers)?;
    let mut node = Node::start(options, &crowd.listed(false))?;
    crowd.know(&node.address);
    let files = node.files()?;
    let begun = Instant::now();
    let memory = agitate(options, &mut crowd, &mut node, begun)?;

    eprintln!("all peers go");
    crowd.leave();
    let links = node.settle(files, crowd.reloads())?;
    let lines = node.lines();
    let seconds = begun.elapsed().as_secs_f64();
    println!("cpu: {:.1} % of a core", 100.0 * node.cpu_seconds()? / seconds);
    println!(
        "descriptors: {files} before the first link, {} with {} links, {} after the last",
        links.most_files, links.most_links, links.files
    );
    told("up", lines.up, links.ups)?;
    told("down", lines.down, links.downs)?;
    let outages = lines.retried + crowd.adds();
    println!(
        "log: {} lines for peers that are not reached, of {} failed dials in {outages} outages",
        lines.not_reached, links.attempts
    );
    if lines.not_reached > outages {
        return Err("there is more than one line for an outage".into());
    }
    println!("log: {} lines for {} peers that ended", lines.ended, links.removed);
    told("peer files", lines.reloads, crowd.reloads())?;
    // A peer may go while it shakes hands.
    println!("log: {} lines for {} streams that were dropped", lines.dropped, links.dropped);
    if lines.ended > links.removed || lines.dropped > links.dropped || lines.other > 0 {
        return Err(format!("there are lines too many: {:?}", lines.last_other).into());
    }
    println!("links that the peers say they had: {}", crowd.links());
    node.end()?;
    flat(&memory)
}

/// Has peers come and go for the time asked for. The memory of the node at each tenth of it.
fn agitate(
    options: &Options,
    crowd: &mut Crowd,
    node: &mut Node,
    begun: Instant,
) -> Result<Vec<Memory>, Failure> {
    let mut memory = Vec::new();
    let (mut changes, mut reloads) = (0, 0);
    while memory.len() < 10 {
        crowd.change_one()?;
        crowd.say_something();
        changes += 1;
        if begun.elapsed() >= RELOAD * (reloads + 1) {
            reloads += 1;
            node.reload(&crowd.listed(reloads % 2 == 1))?;
            crowd.note_reload(reloads % 2 == 0);
        }
        if begun.elapsed() >= options.time * (memory.len() as u32 + 1) / 10 {
            node.look()?;
            memory.push(node.memory());
            let Lines { up, down, not_reached, .. } = node.lines();
            println!(
                "{:7.1} s: {} resident, {changes} comings and goings; lines: {up} up, {down} down, \
                 {not_reached} not reached",
                begun.elapsed().as_secs_f64(),
                node.memory(),
            );
        }
        std::thread::sleep(options.every);
    }
    Ok(memory)
}

fn told(what: &str, lines: u64, changes: u64) -> Result<(), Failure> {
    println!("log: {lines} lines for {changes} changes: {what}");
    match lines == changes {
        true => Ok(()),
        false => Err(format!("there are {lines} lines for {changes} changes: {what}").into()),
    }
}

fn flat(memory: &[Memory]) -> Result<(), Failure> {
    match memory[9].since(memory[2]) > FLAT {
        true => Err(format!("the node grew from {} to {}", memory[2], memory[9]).into()),
        false => {
            println!("done: memory stayed flat");
            Ok(())
        }
    }
}
