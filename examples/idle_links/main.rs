//! The cost of idle links: two processes with a thousand links between them, measured by a third.
//!
//! Run with `cargo run --release --example idle_links`; `-- --help` explains more. It uses free
//! ports of the loopback addresses only. Exit code 0 means that neither process woke up, 1 that one
//! did. Linux only: it reads `/proc`, which does not wake the measured processes.
//!
//! Those have a main thread that blocks in a read, and the threads of the executor and of
//! `async-io`.

use std::process::ExitCode;
use std::time::Duration;

#[path = "../bench_util/mod.rs"]
mod bench_util;
mod options;

use bench_util::activity::Spent;
use bench_util::child::Failure;
use bench_util::command_line::Request;
use bench_util::links::Links;
use bench_util::pair::{Pair, Side};
use options::Options;

/// Time without traffic before the links count as idle.
const IDLE_AFTER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    bench_util::command_line::main(options::HELP, |request: Request<Options>| match request {
        Request::Member((role, links), _) => bench_util::member::run(role, &links).map(|()| true),
        Request::Run(_) if !cfg!(target_os = "linux") => {
            println!("this reads /proc, which only Linux has: nothing was measured");
            Ok(true)
        }
        Request::Run(options) => run(&options),
    })
}

/// Runs the measurement. Returns whether the links were idle.
fn run(options: &Options) -> Result<bool, Failure> {
    bench_util::open_files::allow(options.links.count)?;
    eprintln!("starting two processes");
    let mut pair = Pair::start(&options.links)?;
    eprintln!("opening {} links between them", options.links.count);
    let took = pair.link_up()?;
    eprintln!("all up after {took:.2?}");
    if let Some(payload) = options.carry {
        pair.carry(payload)?;
        eprintln!("each has carried a frame with {payload} bytes of payload both ways");
    }
    pair.rest(IDLE_AFTER)?;
    eprintln!("watching for {:?}", options.watch);
    let idle = pair.watch(options.watch)?;
    let sides = pair.sides()?;
    // Make sure that the counters work.
    let busy = pair.send_one()?;
    pair.end()?;
    Ok(print_results(options, &idle, &busy, &sides))
}

/// Prints the results. Returns whether no thread ran.
fn print_results(
    options: &Options,
    idle: &[Spent; 2],
    busy: &[Spent; 2],
    sides: &[Side; 2],
) -> bool {
    let Options { links: Links { count: links, own }, watch, carry } = options;
    println!("{links} idle links, watched for {watch:?} after {IDLE_AFTER:?} of quiet");
    let executor = if *own { "one thread, driven by the caller" } else { "smol's global one" };
    println!("executor: {executor}");
    if let Some(payload) = carry {
        println!("each link carried a frame with {payload} bytes of payload both ways before");
    }
    println!("\n{:<36}{:>14}{:>14}", "", "listener", "dialer");
    let row = |name: &str, [a, b]: [String; 2]| println!("{name:<36}{a:>14}{b:>14}");
    row("threads", idle.each_ref().map(|spent| spent.threads.to_string()));
    row("wake-ups", idle.each_ref().map(|spent| spent.wakeups.to_string()));
    row("CPU time, ticks", idle.each_ref().map(|spent| spent.ticks.to_string()));
    row("CPU time, nanoseconds", idle.each_ref().map(|spent| number(spent.nanos)));
    row("memory before the links", sides.each_ref().map(|side| side.before.to_string()));
    row("memory with the links", sides.each_ref().map(|side| side.after.to_string()));
    row("memory per link, bytes", sides.each_ref().map(|side| number(side.per_link(*links))));
    row(
        "wake-ups for one frame, after that",
        busy.each_ref().map(|spent| spent.wakeups.to_string()),
    );
    println!();
    for (name, spent) in ["listener", "dialer"].iter().zip(idle) {
        spent.rows.iter().for_each(|row| println!("{name}: {row}"));
    }
    let counts = busy.iter().all(|spent| spent.wakeups > 0);
    let idle = idle.iter().all(Spent::is_nothing);
    println!(
        "{}",
        match (counts, idle) {
            (false, _) => "failed: the counters of this system do not count",
            (true, false) => "failed: idle links cost something",
            (true, true) => "done: idle links cost no wake-up and no CPU time",
        }
    );
    counts && idle
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
}
