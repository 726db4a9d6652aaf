//! The node's limit on open files.

use std::process::{Command, Stdio};

use super::{Process, program};
use crate::runner;

#[test]
fn the_node_raises_its_limit_on_open_files_and_says_so() {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"ulimit -S -n 200 && ulimit -H -n 300 && exec "$0" "$@""#]);
    shell.args(runner::words(program())).args(["--bind", "127.0.0.1:0"]);
    let mut node = Process::run(shell.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let line = node.wait_line(&["open files"]);
    assert!(line.ends_with("open files: limit raised from 200 to 300"), "{line}");
}
