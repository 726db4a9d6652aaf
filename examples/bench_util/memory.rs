//! Memory of a process, from `/proc`.

use std::fmt;

/// Bytes of memory, or `None` if the system does not report them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Memory(pub(crate) Option<u64>);

impl Memory {
    /// Reads a size in `/proc/PID/status`, such as `VmHWM`.
    pub(crate) fn of(pid: u32, name: &str) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Memory(kib.map(|kib| kib * 1024))
    }

    /// The increase since `before`, at least zero.
    pub(crate) fn since(self, before: Memory) -> Memory {
        Memory(self.0.zip(before.0).map(|(now, before)| now.saturating_sub(before)))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            Some(bytes) => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
            None => "unknown".to_owned(),
        };
        f.pad(&text)
    }
}
