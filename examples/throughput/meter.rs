//! The counters of a process, queried by lines on standard input.

use std::fmt;
use std::io;
use std::process;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Counters, shared by all threads.
#[derive(Default)]
pub(crate) struct Meter {
    /// Not 64 bits, which some 32-bit targets lack.
    count: AtomicUsize,
    /// Nanoseconds.
    trips: Mutex<Vec<u64>>,
}

/// The counters between two queries.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Frames received, round trips, or floods.
    pub(crate) count: u64,
    pub(crate) time: Duration,
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
    /// Round-trip times: p50, p99, p99.9.
    pub(crate) trips: [Duration; 3],
}

impl Meter {
    pub(crate) fn add(&self, count: usize) {
        self.count.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn add_trip(&self, time: Duration) {
        self.add(1);
        self.trips().push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Answers `begin` and `report` on a thread. The process exits when standard input closes.
    pub(crate) fn serve_commands(self: &Arc<Meter>) {
        let meter = self.clone();
        std::thread::spawn(move || {
            let mut began = meter.now();
            for line in io::stdin().lines().map_while(Result::ok) {
                match line.as_str() {
                    "begin" => {
                        meter.trips().clear();
                        began = meter.now();
                        println!("done");
                    }
                    "report" => println!("done {}", meter.since(&began)),
                    other => eprintln!("there is no command \"{other}\""),
                }
            }
            process::exit(0);
        });
    }

    fn now(&self) -> (u64, Instant, Duration) {
        (self.count.load(Ordering::Relaxed) as u64, Instant::now(), cpu())
    }

    fn since(&self, (count, at, spent): &(u64, Instant, Duration)) -> Tally {
        let (now, _, cpu) = self.now();
        let mut trips = std::mem::take(&mut *self.trips());
        trips.sort_unstable();
        let quantile = |share: f64| {
            let at = (trips.len() as f64 * share) as usize;
            Duration::from_nanos(trips.get(at).copied().unwrap_or_default())
        };
        let trips = [quantile(0.5), quantile(0.99), quantile(0.999)];
        Tally { count: now - count, time: at.elapsed(), cpu: cpu - *spent, trips }
    }

    fn trips(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.trips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999] = self.trips.map(|trip| trip.as_nanos());
        let (time, cpu) = (self.time.as_nanos(), self.cpu.as_nanos());
        write!(f, "{} {time} {cpu} {p50} {p99} {p999}", self.count)
    }
}

impl FromStr for Tally {
    type Err = String;

    fn from_str(text: &str) -> Result<Tally, String> {
        let numbers: Vec<u64> = text.split(' ').map_while(|word| word.parse().ok()).collect();
        let [count, time, cpu, trips @ ..] = numbers.as_slice() else {
            return Err(format!("\"{text}\" is no tally"));
        };
        let trips = [0, 1, 2].map(|at| trips.get(at).copied().unwrap_or_default());
        Ok(Tally {
            count: *count,
            time: Duration::from_nanos(*time),
            cpu: Duration::from_nanos(*cpu),
            trips: trips.map(Duration::from_nanos),
        })
    }
}
