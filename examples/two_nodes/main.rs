//! Two nodes in two processes peer over TCP, exchange frames in both directions, and resume after
//! their link is cut.
//!
//! Run with `cargo run --release --example two_nodes`. It takes a few seconds and uses free ports
//! of the loopback address only.
//!
//! This process is the network between the nodes: bob dials a relay here, which connects to alice
//! and can cut the connection.

use std::error::Error;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

mod member;
mod relay;

use relay::Relay;

/// Time limit of each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let done = match (args.next().as_deref(), args.next()) {
        (Some("--node"), peer) => smol::block_on(member::run(peer)),
        _ => run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenario.
fn run() -> Result<(), Failure> {
    let started = Instant::now();
    let (lines, output) = channel();
    let mut stage = Stage { started, output };
    stage.log("starting two nodes, each in a process of its own");
    let mut alice = Node::start("alice", None, lines.clone())?;
    let port: u16 = stage.wait("alice", "listens on port ")?.parse()?;
    let relay = Relay::start(port)?;
    let mut bob = Node::start("bob", Some(format!("127.0.0.1:{}", relay.port())), lines)?;
    stage.wait("bob", "listens on port ")?;
    stage.wait_both("link up")?;

    stage.exchange(&mut alice, &mut bob)?;
    stage.log("cutting the link");
    relay.cut();
    stage.wait_both("link up")?;
    stage.log("the link is back: bob dialed again by himself");
    stage.exchange(&mut alice, &mut bob)?;

    alice.send_line("quit")?;
    bob.send_line("quit")?;
    stage.wait_both("shut down")?;
    alice.end()?;
    bob.end()?;
    stage.log("done: every frame arrived once and in order");
    Ok(())
}

/// A line of output of a node.
struct Line {
    name: &'static str,
    text: String,
}

/// Receives the output of both nodes, and prints it with timestamps.
struct Stage {
    started: Instant,
    output: Receiver<Line>,
}

impl Stage {
    fn log(&self, text: &str) {
        println!("{:7.3} s  {text}", self.started.elapsed().as_secs_f64());
    }

    /// Waits for a line that begins with `start`. Returns the rest of it.
    fn wait(&mut self, name: &str, start: &str) -> Result<String, Failure> {
        self.wait_for(|line| (line.name == name).then(|| rest(line, start)).flatten(), start)
    }

    /// Waits for a line that begins with `start` from each node.
    fn wait_both(&mut self, start: &str) -> Result<(), Failure> {
        let mut missing = vec!["alice", "bob"];
        while !missing.is_empty() {
            let name = self.wait_for(|line| rest(line, start).map(|_| line.name), start)?;
            missing.retain(|other| *other != name);
        }
        Ok(())
    }

    fn wait_for<T>(
        &mut self,
        mut wanted: impl FnMut(&Line) -> Option<T>,
        what: &str,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + STEP_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.output.recv_timeout(left).map_err(|_| format!("no \"{what}\""))?;
            self.log(&format!("{:>5}: {}", line.name, line.text));
            if let Some(found) = wanted(&line) {
                return Ok(found);
            }
            if rest(&line, "failed").is_some() {
                return Err(line.text.into());
            }
        }
    }

    /// Has both nodes send their frames concurrently.
    fn exchange(&mut self, alice: &mut Node, bob: &mut Node) -> Result<(), Failure> {
        alice.send_line("exchange")?;
        bob.send_line("exchange")?;
        self.wait_both("exchanged")
    }
}

fn rest(line: &Line, start: &str) -> Option<String> {
    line.text.strip_prefix(start).map(str::to_owned)
}

/// A node process.
struct Node {
    child: Child,
    stdin: ChildStdin,
}

impl Node {
    fn start(
        name: &'static str,
        peer: Option<String>,
        lines: Sender<Line>,
    ) -> Result<Node, Failure> {
        let mut child = command(std::env::current_exe()?)
            .arg("--node")
            .args(peer)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        std::thread::spawn(move || {
            for text in BufReader::new(stdout).lines().map_while(Result::ok) {
                if lines.send(Line { name, text }).is_err() {
                    return;
                }
            }
        });
        Ok(Node { child, stdin })
    }

    fn send_line(&mut self, command: &str) -> Result<(), Failure> {
        writeln!(self.stdin, "{command}")?;
        Ok(self.stdin.flush()?)
    }

    /// Waits for the process to exit after its last line.
    fn end(&mut self) -> Result<(), Failure> {
        match self.child.wait()?.success() {
            true => Ok(()),
            false => Err("a node ended with an error".into()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // For a failed run. No effect if the process has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs a program of this build, under the emulator that `NETMOD_INET_RUNNER` names
/// if it is set.
fn command(program: impl AsRef<OsStr>) -> Command {
    match std::env::var_os("NETMOD_INET_RUNNER").filter(|runner| !runner.is_empty()) {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(program);
            command
        }
        None => Command::new(program),
    }
}
