//! A receiver that is slower than the sender: back-pressure holds the sender back, every frame
//! arrives intact and in order, and the memory of both stays flat.
//!
//! Run with `cargo run --release --example slow_receiver`; `-- --help` explains more. It starts
//! two processes and uses a free port of the loopback address only. Exit code 0 means that all
//! checks passed, 1 that one failed.

use std::process::ExitCode;
use std::time::Duration;

#[path = "../bench_util/mod.rs"]
mod bench_util;
mod options;
mod pattern;
mod receiver;
mod sender;

use bench_util::child::{Child, Failure};
use bench_util::command_line::Request;
use bench_util::memory::Memory;
use options::{Options, Role};

/// How much the memory of either process may grow after the start. The endpoints hold up to 1 MiB
/// of outbound and 4 MiB of inbound frames; the rest is overhead of the allocator.
const FLAT: Memory = Memory(Some(16 << 20));

fn main() -> ExitCode {
    bench_util::command_line::main(options::HELP, |request: Request<Options>| {
        match request {
            Request::Run(options) => run(&options),
            Request::Member(Role::Receiver, options) => smol::block_on(receiver::run(&options)),
            Request::Member(Role::Sender(port), options) => {
                smol::block_on(sender::run(port, &options))
            }
        }
        .map(|()| true)
    })
}

/// Runs both processes and checks the result.
fn run(options: &Options) -> Result<(), Failure> {
    eprintln!("starting two processes");
    let (receiver, port) = Child::start("receiver", options.member_args("receiver"))?;
    let (mut sender, _) = Child::start("sender", options.member_args(&format!("sender:{port}")))?;
    println!("frames: {}, bytes of payload in each: {}", options.frames, options.payload);

    let before = peak(&receiver, &sender);
    sender.send_line("go")?;
    let peaks = watch(&receiver, &sender, options)?;
    println!("sender: {}", sender.end()?.unwrap_or_default());
    println!("receiver: {}", receiver.end()?.unwrap_or_default());
    for (at, name) in ["receiver", "sender"].into_iter().enumerate() {
        let [before, tenth, end] = [before[at], peaks.tenth[at], peaks.end[at]];
        println!(
            "{name}: largest memory {before} before the first frame, {tenth} after a tenth of \
             them, {end} in the end"
        );
        if end.since(before) > FLAT {
            return Err(format!("the {name} takes too much memory").into());
        }
    }
    println!("done: every frame arrived once, intact and in order, and memory stayed flat");
    Ok(())
}

/// Peak memory of receiver and sender.
struct Peaks {
    tenth: [Memory; 2],
    end: [Memory; 2],
}

fn peak(receiver: &Child, sender: &Child) -> [Memory; 2] {
    [receiver, sender].map(|child| Memory::of(child.pid(), "VmHWM"))
}

/// Waits until the receiver has received all frames.
fn watch(receiver: &Child, sender: &Child, options: &Options) -> Result<Peaks, Failure> {
    let mut tenth = None;
    loop {
        let line = receiver.next_line(options.step_timeout())?;
        let peak = peak(receiver, sender);
        let tenth = *tenth.get_or_insert(peak);
        let Some(frames) = line.strip_prefix("at ") else {
            return match line.as_str() {
                "complete" => Ok(Peaks { tenth, end: peak }),
                other => Err(format!("the receiver reported \"{other}\"").into()),
            };
        };
        let now = [receiver, sender].map(|child| Memory::of(child.pid(), "VmRSS"));
        eprintln!("{frames:>9} frames; memory: receiver {}, sender {}", now[0], now[1]);
    }
}

impl Options {
    /// Time limit for the receiver to process a tenth of the frames.
    fn step_timeout(&self) -> Duration {
        let pauses = u32::try_from(self.frames / 100).unwrap_or(u32::MAX);
        Duration::from_secs(60) + self.stall + self.pause.saturating_mul(pauses)
    }
}
