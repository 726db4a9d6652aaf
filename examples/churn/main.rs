//! Runs `netmod-node` under peer churn: its memory stays flat, no descriptor leaks, and its log has
//! one line per change.
//!
//! Run with `cargo build --release --features node && cargo run --release --example churn`;
//! `-- --help` explains more. It uses loopback addresses only. Exit code 0 means that all
//! checks passed, 1 that one failed.

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

/// How much the memory of the node may grow after the first three tenths of the run, which warm up
/// the allocator.
const FLAT: Memory = Memory(Some(1 << 20));

/// Interval of reloading the peer file.
const RELOAD: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    bench_util::command_line::main(options::HELP, |request: Request<Options>| match request {
        Request::Run(options) => run(&options).map(|()| true),
        Request::Member(role, _) => match role {},
    })
}

fn run(options: &Options) -> Result<(), Failure> {
    fastrand::seed(options.seed);
    eprintln!("seed {}", options.seed);
    let mut crowd = Crowd::new(options.peers)?;
    let mut node = Node::start(options, &crowd.listed(false))?;
    crowd.set_node(&node.address);
    let files = node.files()?;
    let begun = Instant::now();
    let memory = run_churn(options, &mut crowd, &mut node, begun)?;

    eprintln!("all peers go");
    crowd.stop_all();
    let links = node.settle(files, crowd.reloads())?;
    let lines = node.lines();
    let seconds = begun.elapsed().as_secs_f64();
    println!("cpu: {:.1} % of a core", 100.0 * node.cpu_seconds()? / seconds);
    println!(
        "descriptors: {files} before the first link, {} with {} links, {} after the last",
        links.most_files, links.most_links, links.files
    );
    check_lines("up", lines.up, links.ups)?;
    check_lines("down", lines.down, links.downs)?;
    let outages = lines.retried + crowd.adds();
    println!(
        "log: {} lines for peers that are not reached, of {} failed dials in {outages} outages",
        lines.not_reached, links.attempts
    );
    if lines.not_reached > outages {
        return Err("there is more than one line for an outage".into());
    }
    println!("log: {} lines for {} peers that ended", lines.ended, links.removed);
    check_lines("peer files", lines.reloads, crowd.reloads())?;
    // A peer may leave during its handshake.
    println!("log: {} lines for {} streams that were dropped", lines.dropped, links.dropped);
    if lines.ended > links.removed || lines.dropped > links.dropped || lines.other > 0 {
        return Err(format!("there are lines too many: {:?}", lines.last_other).into());
    }
    println!("links by the count of the peers: {}", crowd.links());
    node.end()?;
    flat(&memory)
}

/// Starts and stops peers for the configured time. Returns the memory of the node at each tenth.
fn run_churn(
    options: &Options,
    crowd: &mut Crowd,
    node: &mut Node,
    begun: Instant,
) -> Result<Vec<Memory>, Failure> {
    let mut memory = Vec::new();
    let (mut changes, mut reloads) = (0, 0);
    while memory.len() < 10 {
        crowd.toggle_one()?;
        crowd.send_frame();
        changes += 1;
        if begun.elapsed() >= RELOAD * (reloads + 1) {
            reloads += 1;
            node.reload(&crowd.listed(reloads % 2 == 1))?;
            crowd.record_reload(reloads % 2 == 0);
        }
        if begun.elapsed() >= options.time * (memory.len() as u32 + 1) / 10 {
            node.sample()?;
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

fn check_lines(what: &str, lines: u64, changes: u64) -> Result<(), Failure> {
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
