//! The effect of a handshake flood on an established link: its round-trip times without and with
//! the flood, and the CPU time that the node spends on unknown dialers.
//!
//! Run with `cargo run --release --features noise --example handshake_flood`; `-- --help` explains
//! more. It starts two processes and uses a free port of the loopback address only.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future;
use netmod_inet::{Encryption, Event, Frame, Id, InetEndpoint, KeyPair, Limits, Target};

#[path = "../bench_util/mod.rs"]
mod bench_util;
mod stranger;

use bench_util::child::{Child, Failure};
use bench_util::command_line::{Opt, Request};
use stranger::Flood;

const HELP: &str = "\
Has a node that encrypts keep one link, over which frames of 64 bytes go there
and back, while strangers begin handshakes and go away when the node has done
its part of the key exchange, which costs them nothing.

Usage: handshake_flood [OPTION]...

Options:
  --rate N        handshakes begun per second. Default: 2000
  --seconds N     time without and with the flood, each. Default: 5
  --rounds N      how often, in turn. Default: 3
  --effort MS     the node's limit handshake_cpu: milliseconds of every second
                  that it may spend on unknown dialers. Default: 250
  --help          show this text

One round trip is measured every millisecond. CPU time is user and system time
of the node's process.
";

/// Interval of round trips.
const PACE: Duration = Duration::from_millis(1);

/// Time limit of each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

struct Options {
    rate: u64,
    seconds: u64,
    rounds: u64,
    effort: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { rate: 2000, seconds: 5, rounds: 3, effort: 250 }
    }
}

enum Role {
    Node,
    Crowd(u16),
}

impl bench_util::command_line::Options for Options {
    type Role = Role;

    fn take(&mut self, option: &mut Opt<'_>) -> Result<bool, String> {
        match option.name {
            "rate" => self.rate = option.number(1..=100_000)?,
            "seconds" => self.seconds = option.number(1..=60)?,
            "rounds" => self.rounds = option.number(1..=100)?,
            "effort" => self.effort = option.number(1..=1000)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn role(name: &str) -> Option<Role> {
        match name.strip_prefix("crowd:") {
            Some(port) => port.parse().ok().map(Role::Crowd),
            None => (name == "node").then_some(Role::Node),
        }
    }
}

fn main() -> ExitCode {
    bench_util::command_line::main(HELP, |request: Request<Options>| {
        match request {
            Request::Run(options) => smol::block_on(run(&options)),
            Request::Member(Role::Node, options) => smol::block_on(node(&options)),
            Request::Member(Role::Crowd(port), options) => stranger::crowd(port, options.rate),
        }
        .map(|()| true)
    })
}

fn encryption() -> Result<Encryption, Failure> {
    Ok(Encryption::new(KeyPair::generate()?).required())
}

/// A node that echoes frames.
async fn node(options: &Options) -> Result<(), Failure> {
    let mut limits = Limits::default();
    limits.handshake_cpu = Duration::from_millis(options.effort);
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
    let endpoint = builder.encrypt(encryption()?).start().await?;
    println!("ready {}", endpoint.port().unwrap_or(0));
    loop {
        let (target, frame) = endpoint.next().await?;
        endpoint.send(target, frame).await?;
    }
}

/// The measurements of one interval.
struct Seen {
    /// Round-trip times: p50, p99, maximum.
    trips: [Duration; 3],
    /// CPU time of the node as a share of one core.
    cpu: f64,
    /// Handshakes per second.
    flood: Flood,
}

async fn run(options: &Options) -> Result<(), Failure> {
    let member = |role: String| {
        let numbers = [("rate", options.rate), ("effort", options.effort)];
        let numbers = numbers.map(|(name, number)| format!("--{name}={number}"));
        [format!("--member={role}")].into_iter().chain(numbers)
    };
    let (node, port) = Child::start("node", member("node".into()))?;
    let (mut crowd, _) = Child::start("crowd", member(format!("crowd:{port}")))?;
    let endpoint = Arc::new(InetEndpoint::builder().encrypt(encryption()?).start().await?);
    let events = endpoint.events();
    let target = endpoint.add_peers([format!("127.0.0.1:{port}")]).await?[0];
    while !matches!(events.next().await?, Event::Up { .. }) {}
    let frame = Frame::builder(8, Id::from_bytes([7; 32])).payload(vec![7; 64]).build()?;
    let time = Duration::from_secs(options.seconds);
    let mut factors = Vec::new();
    println!(
        "{:<10}{:<34}{:<28}flood",
        "", "round trip of 64 B: p50, p99, most", "node, of a core"
    );
    for _ in 0..options.rounds {
        let quiet = watch(&endpoint, target, &frame, time, node.pid(), None).await?;
        show("without", &quiet, None);
        let flooded = watch(&endpoint, target, &frame, time, node.pid(), Some(&mut crowd)).await?;
        show("with", &flooded, Some(&quiet));
        factors.push(flooded.trips[1].as_secs_f64() / quiet.trips[1].as_secs_f64());
    }
    crowd.end()?;
    factors.sort_by(f64::total_cmp);
    let links = endpoint.peers()[0].links;
    println!("p99 with the flood: {:.2} times as long, in the median", factors[factors.len() / 2]);
    println!("the link that was there: {links} in all");
    match links {
        1 => Ok(()),
        _ => Err("the link did not last".into()),
    }
}

async fn watch(
    endpoint: &InetEndpoint,
    target: Target,
    frame: &Frame,
    time: Duration,
    node: u32,
    mut crowd: Option<&mut Child>,
) -> Result<Seen, Failure> {
    if let Some(crowd) = &mut crowd {
        crowd.send_line("begin")?;
        smol::Timer::after(Duration::from_millis(300)).await;
        crowd.send_line("report")?;
        crowd.expect_line("done", STEP_TIMEOUT)?;
    }
    let (start, cpu) = (Instant::now(), cpu_time(node)?);
    let mut trips = Vec::new();
    let mut next = smol::Timer::interval(PACE);
    loop {
        futures_lite::StreamExt::next(&mut next).await;
        let began = Instant::now();
        endpoint.send(target, frame.clone()).await?;
        let late = async {
            smol::Timer::after(STEP_TIMEOUT).await;
            Err("a frame did not come back".into())
        };
        let back = async { endpoint.next().await.map_err(Failure::from) };
        future::or(back, late).await?;
        trips.push(began.elapsed());
        if start.elapsed() >= time {
            break;
        }
    }
    let took = start.elapsed().as_secs_f64();
    let cpu = (cpu_time(node)? - cpu).as_secs_f64() / took;
    let flood = match crowd {
        Some(crowd) => {
            crowd.send_line("report")?;
            let counts = crowd.expect_line("done", STEP_TIMEOUT)?;
            crowd.send_line("end")?;
            Flood::parse(&counts).ok_or("the crowd sent an invalid reply")?.per_second(took)
        }
        None => Flood::default(),
    };
    trips.sort_unstable();
    let at = |share: f64| trips[((trips.len() - 1) as f64 * share) as usize];
    Ok(Seen { trips: [at(0.5), at(0.99), at(1.0)], cpu, flood })
}

fn show(what: &str, seen: &Seen, before: Option<&Seen>) {
    let [p50, p99, most] = seen.trips.map(|time| format!("{} µs", time.as_micros()));
    let trips = format!("{p50}, {p99}, {most}");
    let cpu = format!("{:.1} %", 100.0 * seen.cpu);
    match before {
        None => println!("{what:<10}{trips:<34}{cpu}"),
        Some(before) => {
            let Flood { begun, answered } = seen.flood;
            let each = (seen.cpu - before.cpu) * 1e6 / answered.max(1) as f64;
            println!(
                "{what:<10}{trips:<34}{cpu:<28}{begun} begun and {answered} answered a second, \
                 {each:.0} µs each"
            );
        }
    }
}

/// User and system time of a process.
fn cpu_time(pid: u32) -> Result<Duration, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name is in parentheses and may contain spaces.
    let (_, fields) = text.rsplit_once(')').ok_or("no name")?;
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks.iter().sum::<u64>() as f64 / per_second as f64))
}
