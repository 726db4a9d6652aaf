//! Tests that take a network of their own: a namespace, in which they are root.

use std::process::Command;

use super::process::{Process, part, skipped};

/// Runs `body` in a process in a network of its own, or reports that the system does not allow
/// that.
pub(super) fn in_own_network(test: &str, body: impl FnOnce()) {
    if part(test).is_some() {
        ip("link set lo up");
        return body();
    }
    let tried = unshare().args(["ip", "link", "set", "lo", "up"]).output();
    match tried.is_ok_and(|tried| tried.status.success()) {
        true => Process::start_by(unshare(), test, "alone").end(),
        false => skipped(test, "this takes root or user namespaces, and unshare and ip"),
    }
}

/// Runs what is added to it as root of a new network.
pub(super) fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net"]);
    command
}

/// Sets up the network of this process.
pub(super) fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output().expect("the ip command");
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {words}: {error}");
}
