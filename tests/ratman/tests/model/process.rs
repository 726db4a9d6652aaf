//! A node as its test sees it: a process that takes commands and writes lines.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::node::ARGUMENTS;

/// Without any progress for so long, a test has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Lines of a node that a failed test shows.
const SHOWN: usize = 30;

/// A node in a process of its own. Dropping it kills the process.
pub(crate) struct Node {
    pub(crate) id: u8,
    driver: &'static str,
    /// The address that it listens on, also after a restart.
    pub(crate) addr: String,
    process: Process,
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Line>,
    /// Lines that were read and nobody has waited for yet.
    unclaimed: Vec<Line>,
    /// The last lines, for a failed test.
    last: Vec<String>,
}

/// A line, and when it was read.
#[derive(Clone)]
struct Line(Instant, String);

/// What the router of a node has counted.
#[derive(Debug)]
pub(crate) struct Figures(HashMap<String, String>);

impl Node {
    /// A node with the driver under test.
    pub(crate) fn start(id: u8) -> Node {
        Node::with_driver("ours", id)
    }

    /// A node with a model of Ratman's own driver.
    pub(crate) fn start_plain(id: u8) -> Node {
        Node::with_driver("plain", id)
    }

    /// The same, with one that tears frames.
    pub(crate) fn start_tearing(id: u8) -> Node {
        Node::with_driver("tearing", id)
    }

    fn with_driver(driver: &'static str, id: u8) -> Node {
        let mut process = Process::start(driver, id, "127.0.0.1:0");
        let addr = process.wait("listening ").1;
        Node { id, driver, addr, process }
    }

    /// Ends the process as SIGKILL does.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`kill`](Node::kill), with its id and its address. Lines of the former
    /// process are forgotten.
    pub(crate) fn restart(&mut self) {
        self.process = Process::start(self.driver, self.id, &self.addr);
        self.process.wait("listening ");
    }

    pub(crate) fn command(&mut self, command: &str) {
        writeln!(self.process.stdin, "{command}").expect("a process that reads");
    }

    pub(crate) fn peer(&mut self, other: &Node) {
        self.command(&format!("peer {}", other.addr));
    }

    /// Waits for the next line that begins so. Returns what follows, and when it was read.
    pub(crate) fn wait(&mut self, beginning: &str) -> (Instant, String) {
        self.process.wait(beginning)
    }

    /// Waits until there is a route to another router, which this one has not waited for yet.
    pub(crate) fn wait_for_route(&mut self, to: &Node) {
        self.wait(&format!("route {} by ", to.id));
    }

    /// What the router has counted up to now.
    pub(crate) fn figures(&mut self) -> Figures {
        self.command("figures");
        let (_, line) = self.wait("figures ");
        let pairs = line.split(' ').map(|pair| pair.split_once('=').expect("name=value"));
        Figures(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Figures {
    /// A number; 0 for what has not occurred yet.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |value| value.parse().expect("a number"))
    }

    /// The names by which neighbours were known.
    pub(crate) fn neighbours(&self) -> &str {
        &self.0["neighbours"]
    }

    /// Fails if a frame was lost or an announcement came home.
    pub(crate) fn assert_clean(&self) {
        let errors =
            ["came_home", "unroutable", "not_forwarded", "refused", "not_flooded", "corrupt"];
        let found: Vec<_> = errors.iter().filter(|name| self.count(name) > 0).collect();
        assert!(found.is_empty(), "{found:?} in {self:?}");
    }
}

impl Process {
    fn start(driver: &str, id: u8, bind: &str) -> Process {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--exact", "node_process", "--nocapture", "--test-threads=1"]);
        command.env(ARGUMENTS, format!("{driver} {id} {bind}"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let stdin = child.stdin.take().expect("standard input");
        let stdout = BufReader::new(child.stdout.take().expect("standard output"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(Line(Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Process { child, stdin, lines, unclaimed: Vec::new(), last: Vec::new() }
    }

    fn wait(&mut self, beginning: &str) -> (Instant, String) {
        let is_it = |line: &Line| line.1.starts_with(beginning);
        let mut deadline = Instant::now() + DEADLINE;
        let Line(at, line) = match self.unclaimed.iter().position(is_it) {
            Some(at) => self.unclaimed.remove(at),
            None => loop {
                let line = self.read(deadline, beginning);
                if is_it(&line) {
                    break line;
                }
                match line.1.starts_with("progress ") {
                    true => deadline = Instant::now() + DEADLINE,
                    false => self.unclaimed.push(line),
                }
            },
        };
        (at, line[beginning.len()..].to_owned())
    }

    fn read(&mut self, deadline: Instant, what: &str) -> Line {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = self.lines.recv_timeout(left) else { panic!("no line `{what}`") };
        if self.last.len() == SHOWN {
            self.last.remove(0);
        }
        self.last.push(line.1.clone());
        line
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process.kill();
        if std::thread::panicking() {
            let rest = self.process.lines.try_iter().map(|line| line.1);
            let lines: Vec<_> = self.process.last.iter().cloned().chain(rest).collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN)..];
            eprintln!("node {} ({}):\n  {}", self.id, self.driver, shown.join("\n  "));
        }
    }
}
