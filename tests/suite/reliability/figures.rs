//! Numbers in and out.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

/// A number from the environment, to run a test for longer than is useful each time.
pub(crate) fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// Bytes of memory that this process has resident; `None` where the system does not report it.
pub(crate) fn resident() -> Option<usize> {
    memory("VmRSS:")
}

/// The most bytes of memory that this process has had resident.
pub(crate) fn peak_resident() -> Option<usize> {
    memory("VmHWM:")
}

fn memory(field: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
}

/// How much more memory is resident than `before`. 0 where the system does not report it.
pub(super) fn grown_since(before: Option<usize>) -> usize {
    resident().zip(before).map_or(0, |(now, before)| now.saturating_sub(before))
}

/// Files that this process has open; `None` where the system does not report it.
pub(super) fn open_files() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

/// The value under which so many of a hundred lie.
pub(super) fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort_unstable();
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

pub(super) fn median(values: &mut [Duration]) -> Duration {
    percentile(values, 50)
}

/// Sets how many files this process may have open, as far as the hard limit goes. Returns how many
/// it may.
pub(super) fn limit_files(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let allowed = wanted.min(most);
    limit.current = Some(allowed as u64);
    setrlimit(Resource::Nofile, limit).expect("a limit below the hard one");
    allowed
}

/// The same, only upwards.
pub(crate) fn raise_files(wanted: usize) -> usize {
    match getrlimit(Resource::Nofile).current.and_then(|now| usize::try_from(now).ok()) {
        Some(now) if now < wanted => limit_files(wanted),
        Some(now) => now,
        None => usize::MAX,
    }
}
