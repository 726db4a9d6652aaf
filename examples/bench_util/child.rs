//! This program once more, as a process of its own: it is told what to do line by line on standard
//! input, and says line by line on standard output what it did.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Time that a process has to start, and to end.
const SOON: Duration = Duration::from_secs(20);

/// Time in which a process that ends has said why.
const MOMENT: Duration = Duration::from_millis(200);

/// Lines of its standard error that are kept.
const COMPLAINTS: usize = 64;

pub(crate) struct Child {
    name: &'static str,
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    complaints: Receiver<String>,
}

impl Child {
    /// Starts this program with these arguments. Returns the child and the first thing it says,
    /// after `ready`.
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
        let (heard, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if heard.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = process.stderr.take().ok_or("no standard error")?;
        let (complained, complaints) = sync_channel(COMPLAINTS);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Those that come after so many say no more than the first.
                let _ = complained.try_send(line);
            }
        });
        let child = Child { name, process, stdin, lines, complaints };
        let said = child.hear("ready", SOON)?;
        Ok((child, said))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn say(&mut self, line: &str) -> Result<(), Failure> {
        let mut stdin = self.stdin.as_ref().ok_or("no standard input")?;
        writeln!(stdin, "{line}").map_err(|error| self.failed(&format!("is gone: {error}")))
    }

    /// Waits for the next line, which must begin with this word; returns what follows it.
    pub(crate) fn hear(&self, word: &str, patience: Duration) -> Result<String, Failure> {
        let line = self.next(patience)?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            (first, rest) if first == word => Ok(rest.to_owned()),
            _ => Err(self.failed(&format!("said \"{line}\" instead of \"{word}\""))),
        }
    }

    /// Waits for the next line.
    pub(crate) fn next(&self, patience: Duration) -> Result<String, Failure> {
        self.lines.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => self.failed(&format!("said nothing for {patience:?}")),
            RecvTimeoutError::Disconnected => self.failed("ended too early"),
        })
    }

    /// What is wrong, and what the process said about it on its standard error.
    fn failed(&self, what: &str) -> Failure {
        let mut text = format!("{} {what}", self.name);
        while let Ok(line) = self.complaints.recv_timeout(MOMENT) {
            text.push_str("\n  ");
            text.push_str(&line);
        }
        text.into()
    }

    /// Lets the process end: closes its standard input.
    pub(crate) fn release(&mut self) {
        self.stdin = None;
    }

    /// Waits for the process to end by itself; returns the last line that it said, if any.
    pub(crate) fn end(mut self) -> Result<Option<String>, Failure> {
        self.release();
        let mut last = None;
        loop {
            match self.lines.recv_timeout(SOON) {
                Ok(line) => last = Some(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.failed(&format!("did not end within {SOON:?}")));
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
        // For a run that failed; a process that has ended is left alone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
