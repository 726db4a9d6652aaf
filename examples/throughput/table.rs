//! The results as tables.

use crate::idle::{Idle, IdleMeasure, MEMORY_BAR};
use crate::job::Contender;
use crate::measures::{Goal, Measure};
use crate::summary::{Line, Spread};

pub(crate) fn measure(measure: &Measure, lines: &[Line]) {
    println!("\n{} ({})", measure.title, measure.name);
    let show = if measure.job.kind.is_rate() { rate } else { time };
    let cpu = "CPU s per million, listener + dialer";
    row(["", "median", "of plain TCP", "of the codec", cpu].map(str::to_owned));
    for line in lines {
        let Spread { median, lowest, highest } = line.value;
        row([
            line.with.title().to_owned(),
            format!("{} ({} to {})", show(median), show(lowest), show(highest)),
            beside(line, Contender::Plain),
            beside(line, Contender::Codec),
            line.cpu.map_or_else(String::new, |[listener, dialer]| {
                format!("{listener:.3} + {dialer:.3}")
            }),
        ]);
        if let Some([p99, p999]) = line.slowest {
            print!("{:<28}99 %: {}, 99.9 %: {}", "", time(p99), time(p999));
            println!(
                "{}",
                line.load.map_or_else(String::new, |load| format!(", load: {}", rate(load)))
            );
        }
    }
}

fn row([name, value, plain, codec, cpu]: [String; 5]) {
    let row = format!("{name:<28}{value:<40}{plain:<36}{codec:<36}{cpu}");
    println!("{}", row.trim_end());
}

/// The ratio, and its goal if there is one.
fn beside(line: &Line, other: Contender) -> String {
    let Some((_, ratio)) = line.beside.iter().find(|(with, _)| *with == other) else {
        return String::new();
    };
    let Spread { median, lowest, highest } = ratio;
    let bar = line.bars.iter().find(|(bar, _)| bar.beside == other);
    let bar = bar.map_or_else(String::new, |(bar, ratio)| {
        let goal = match bar.goal {
            Goal::AtLeast(figure) => format!(">= {figure}"),
            Goal::AtMost(figure) => format!("<= {figure}"),
        };
        format!(" {goal} {}", verdict(bar.goal.is_reached(*ratio)))
    });
    format!("{median:.2} ({lowest:.2} to {highest:.2}){bar}")
}

pub(crate) fn idle(measure: &IdleMeasure, all: &[Idle]) {
    println!("\n{} idle links ({})", measure.links, measure.name);
    for idle in all {
        let with = if idle.own { Contender::EndpointOwn } else { Contender::Endpoint };
        for (at, side) in ["listener", "dialer, with an endpoint each"].iter().enumerate() {
            println!(
                "{:<28}{side:<32}fresh: {:<30}after a large frame: {}",
                with.title(),
                memory(idle.fresh[at]),
                memory(idle.carried[at]),
            );
        }
        if let Some(watched) = &idle.watched {
            let [listener, dialer] = &watched.spent;
            let verdict = verdict(listener.is_nothing() && dialer.is_nothing());
            println!(
                "{:<28}in {:?}: {} + {} wake-ups, {} + {} ticks of CPU time: none at all {verdict}",
                with.title(),
                watched.time,
                listener.wakeups,
                dialer.wakeups,
                listener.ticks,
                dialer.ticks,
            );
        }
    }
}

pub(crate) fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "missed" }
}

fn memory(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return "unknown".to_owned() };
    let verdict = verdict(bytes <= MEMORY_BAR);
    format!("{bytes} B, <= {MEMORY_BAR} {verdict}")
}

pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.2} M/s", rate / 1e6),
        rate => format!("{:.1} k/s", rate / 1e3),
    }
}

fn time(seconds: f64) -> String {
    match seconds * 1e6 {
        micros if micros >= 1e3 => format!("{:.1} ms", micros / 1e3),
        micros => format!("{micros:.1} µs"),
    }
}
