//! The results as JSON, one object per line.

use serde_json::{Value, json};

use crate::idle::{Idle, IdleMeasure, MEMORY_BAR};
use crate::measures::{Bar, Goal, Measure};
use crate::summary::{Line, Spread};

pub(crate) fn measure(measure: &Measure, rounds: usize, lines: &[Line]) {
    let unit = if measure.job.kind.is_rate() { "frames/s" } else { "s" };
    for line in lines {
        let beside = line.beside.iter();
        let beside = beside.map(|(other, ratio)| (other.name().to_owned(), spread(ratio)));
        let bars: Vec<Value> = line.bars.iter().map(bar).collect();
        let object = json!({
            "measure": measure.name,
            "contender": line.with.name(),
            "payload": measure.job.payload,
            "links": measure.job.links,
            "rounds": rounds,
            "unit": unit,
            "value": spread(&line.value),
            "beside": beside.collect::<serde_json::Map<_, _>>(),
            "cpu_seconds_per_million": line.cpu.map(both),
            "p99_s": line.slowest.map(|[p99, _]| p99),
            "p999_s": line.slowest.map(|[_, p999]| p999),
            "load_frames_per_s": line.load,
            "bars": bars,
        });
        println!("{object}");
    }
}

pub(crate) fn idle(measure: &IdleMeasure, all: &[Idle]) {
    for idle in all {
        let watched = idle.watched.as_ref().map(|watched| {
            json!({
                "seconds": watched.time.as_secs_f64(),
                "wakeups": both(watched.spent.each_ref().map(|spent| spent.wakeups)),
                "cpu_ticks": both(watched.spent.each_ref().map(|spent| spent.ticks)),
                "cpu_nanoseconds": both(watched.spent.each_ref().map(|spent| spent.nanos)),
            })
        });
        let object = json!({
            "measure": measure.name,
            "contender": if idle.own { "endpoint-own" } else { "endpoint" },
            "links": measure.links,
            "bytes_per_link_fresh": both(idle.fresh),
            "bytes_per_link_after_large_frame": both(idle.carried),
            "watched": watched,
            "bar_bytes_per_link": MEMORY_BAR,
        });
        println!("{object}");
    }
}

fn both<T: Into<Value>>([listener, dialer]: [T; 2]) -> Value {
    json!({ "listener": listener.into(), "dialer": dialer.into() })
}

fn spread(spread: &Spread) -> Value {
    let Spread { median, lowest, highest } = spread;
    json!({ "median": median, "lowest": lowest, "highest": highest })
}

fn bar((bar, ratio): &(Bar, f64)) -> Value {
    let (name, figure) = match bar.goal {
        Goal::AtLeast(figure) => ("at_least", figure),
        Goal::AtMost(figure) => ("at_most", figure),
    };
    let reached = bar.goal.is_reached(*ratio);
    json!({ "beside": bar.beside.name(), name: figure, "ratio": ratio, "reached": reached })
}
