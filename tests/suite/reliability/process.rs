//! Tests that take more than one process: the test binary starts itself anew, for one test only,
//! and an environment variable names the part of the test that the new process plays.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::runner;

/// The variable with `TEST PART` for a process that a test started.
const PART: &str = "SUITE_PART";

/// Begins each line that a process reports to the one that started it. It writes them to standard
/// error, since the test harness writes to standard output.
const REPORT_PREFIX: &str = "> ";

/// Far longer than a process takes to report something, even in a long run.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The part of `test` that this process plays; `None` in the process that somebody ran.
pub(crate) fn part(test: &str) -> Option<String> {
    let value = std::env::var(PART).ok()?;
    Some(value.strip_prefix(test)?.strip_prefix(' ')?.to_owned())
}

/// Runs `body` in a process of its own, whose memory and files no other test touches.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    match part(test) {
        Some(_) => body(),
        None => Process::start(test, "alone").end(),
    }
}

/// Reports a line to the process that started this one.
pub(crate) fn report(line: &str) {
    eprintln!("{REPORT_PREFIX}{line}");
}

/// Prints what was not tested, and why. Past the harness, which captures what a test prints as long
/// as it does not fail.
pub(crate) fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Waits until the process that started this one wants it to end, or has ended itself.
pub(crate) fn until_released() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

/// A process that plays a part of a test. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(test: &str, part: &str) -> Process {
        Process::run(runner::command(this_program()), test, part)
    }

    /// The same, by way of another program that is to run this one.
    pub(crate) fn start_by(mut other: Command, test: &str, part: &str) -> Process {
        other.args(runner::words(this_program()));
        Process::run(other, test, part)
    }

    fn run(mut command: Command, test: &str, part: &str) -> Process {
        command.args([test, "--exact", "--nocapture", "--include-ignored"]);
        command.env(PART, format!("{test} {part}"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let stdin = child.stdin.take();
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Process { child, stdin, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send_line(&mut self, line: &str) {
        writeln!(self.stdin.as_ref().expect("not released"), "{line}").expect("it reads");
    }

    /// Waits until the process reports `word`; returns what follows it.
    pub(crate) fn wait_line(&self, word: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(TIMEOUT);
            let line = line.unwrap_or_else(|_| panic!("the process did not report {word}"));
            match line.strip_prefix(REPORT_PREFIX).and_then(|line| line.strip_prefix(word)) {
                Some(rest) => return rest.trim().to_owned(),
                None => println!("{}", line.strip_prefix(REPORT_PREFIX).unwrap_or(&line)),
            }
        }
    }

    /// Lets the process end, prints what it reports, and fails if it failed.
    pub(crate) fn end(mut self) {
        self.stdin = None;
        while let Ok(line) = self.lines.recv_timeout(TIMEOUT) {
            println!("{}", line.strip_prefix(REPORT_PREFIX).unwrap_or(&line));
        }
        assert!(self.child.wait().expect("it was started").success(), "the process failed");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended is left alone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn this_program() -> String {
    let path = std::env::current_exe().expect("the path of this program");
    path.into_os_string().into_string().expect("a path of text")
}
