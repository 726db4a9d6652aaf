//! The limit on open files.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of this process to the hard one, and returns a line that says so. `None`
/// if there is nothing to raise, or the system refuses.
pub(crate) fn raise_limit() -> Option<String> {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current.filter(|_| limit.current != limit.maximum)?;
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).ok()?;
    let after = limit.maximum.map_or_else(|| "unlimited".to_owned(), |files| files.to_string());
    Some(format!("open files: limit raised from {before} to {after}"))
}
