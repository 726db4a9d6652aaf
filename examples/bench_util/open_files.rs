//! How many files a process may hold open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::child::Failure;

/// Open files that a process has beside one for each link.
const OTHER_FILES: u64 = 16;

/// Sees that this process, and those that it starts, may hold so many links. The shell's limit is
/// often 1024, and may be raised as far as the system's own.
pub(crate) fn allow(links: usize) -> Result<(), Failure> {
    let needed = links as u64 + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum };
    setrlimit(Resource::Nofile, raised).map_err(|_| {
        let most = maximum.unwrap_or(u64::MAX);
        format!("{links} links need {needed} open files in each process, and the limit is {most}")
            .into()
    })
}
