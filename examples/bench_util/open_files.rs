//! The limit on open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::child::Failure;

/// Open files of a process besides one per link.
const OTHER_FILES: u64 = 16;

/// Raises the limit of this process and its children for `links` links. The soft limit is often
/// 1024; the hard limit bounds it.
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
