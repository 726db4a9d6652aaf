//! A child process that runs this program in another role. Commands go to its standard input,
//! results come from its standard output, both line by line.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Time for a process to start or to end.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Time to wait for the error messages of a process that ended.
const ERROR_TIMEOUT: Duration = Duration::from_millis(200);

/// Lines of standard error that are kept.
const MAX_ERROR_LINES: usize = 64;

pub(crate) struct Child {
    name: &'static str,
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Child {
    /// Starts this program with these arguments. Returns the child and the rest of its first line,
    /// which begins with `ready`.
    pub(crate) fn start(
        name: &'static str,
        args: impl IntoIterator<Item = String>,
    ) -> Result<(Child, String), Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().ok_or("no standard output")?;
        let (line_sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line_sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = process.stderr.take().ok_or("no standard error")?;
        let (error_sender, errors) = sync_channel(MAX_ERROR_LINES);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Further lines are dropped: the first ones explain the failure.
                let _ = error_sender.try_send(line);
            }
        });
        let child = Child { name, process, stdin, lines, errors };
        let rest = child.expect_line("ready", START_TIMEOUT)?;
        Ok((child, rest))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn send_line(&mut self, line: &str) -> Result<(), Failure> {
        let mut stdin = self.stdin.as_ref().ok_or("no standard input")?;
        writeln!(stdin, "{line}").map_err(|error| self.failed(&format!("is gone: {error}")))
    }

    /// Waits for the next line, which must begin with `word`. Returns the rest of it.
    pub(crate) fn expect_line(&self, word: &str, timeout: Duration) -> Result<String, Failure> {
        let line = self.next_line(timeout)?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            (first, rest) if first == word => Ok(rest.to_owned()),
            _ => Err(self.failed(&format!("sent \"{line}\" instead of \"{word}\""))),
        }
    }

    /// Waits for the next line.
    pub(crate) fn next_line(&self, timeout: Duration) -> Result<String, Failure> {
        self.lines.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => self.failed(&format!("sent nothing for {timeout:?}")),
            RecvTimeoutError::Disconnected => self.failed("ended too early"),
        })
    }

    /// An error with what the process wrote to standard error.
    fn failed(&self, what: &str) -> Failure {
        let mut text = format!("{} {what}", self.name);
        while let Ok(line) = self.errors.recv_timeout(ERROR_TIMEOUT) {
            text.push_str("\n  ");
            text.push_str(&line);
        }
        text.into()
    }

    /// Closes standard input, which ends the process.
    pub(crate) fn release(&mut self) {
        self.stdin = None;
    }

    /// Waits for the process to exit. Returns its last line, if any.
    pub(crate) fn end(mut self) -> Result<Option<String>, Failure> {
        self.release();
        let mut last = None;
        loop {
            match self.lines.recv_timeout(START_TIMEOUT) {
                Ok(line) => last = Some(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.failed(&format!("did not end within {START_TIMEOUT:?}")));
                }
            }
        }
        match self.process.wait()?.success() {
            true => Ok(last),
            false => Err(self.failed("failed")),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // For a failed run. No effect if the process has exited.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
