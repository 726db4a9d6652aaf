//! The program `netmod-node`, run as a user or a script would run it.

mod full_queue;
mod log;
pub(crate) mod metrics;
mod open_files;
mod peer_file;
pub(crate) mod screen;
mod watch;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;

use crate::addresses::own_addr;
use crate::runner;
use crate::scripted::{STANDARD, carrier, hex, numbered};
use crate::subject::TIMEOUT;

/// The program `netmod-node` of this build, or the one that the environment variable `NODE` names,
/// for instance one built for small boxes.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        std::env::var_os("NODE").unwrap_or_else(|| env!("CARGO_BIN_EXE_netmod-node").into()).into()
    })
}

/// A node. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    /// One that prints objects.
    pub(crate) fn start(args: &[&str]) -> Process {
        let mut command = runner::command(program());
        command.arg("--json").args(args).stdout(Stdio::piped());
        Process::run(command.stdin(Stdio::piped()))
    }

    /// One that prints lines.
    fn start_text(args: &[&str]) -> Process {
        let mut command = runner::command(program());
        command.args(args).stdout(Stdio::piped());
        Process::run(command.stdin(Stdio::piped()))
    }

    /// Of its standard output and its standard error, the one that is piped is read.
    pub(crate) fn run(command: &mut Command) -> Process {
        let mut child = command.spawn().expect("a process");
        let (sender, lines) = channel();
        let output: Box<dyn Read + Send> = match (child.stdout.take(), child.stderr.take()) {
            (Some(stdout), _) => Box::new(stdout),
            (None, stderr) => Box::new(stderr.expect("standard output or standard error")),
        };
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Process { stdin: child.stdin.take(), child, lines, seen: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a process that runs");
    }

    /// Stops the process, and waits until all its threads have stopped. SIGCONT continues it.
    fn stop(&self) {
        self.signal(Signal::STOP);
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let end = Instant::now() + TIMEOUT;
        let pid = Pid::from_child(&self.child);
        while waitid(WaitId::Pid(pid), options).expect("a child").is_none() {
            assert!(Instant::now() < end, "it did not stop");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The next line that contains all of `words`.
    pub(crate) fn wait_line(&mut self, words: &[&str]) -> String {
        let end = Instant::now() + TIMEOUT;
        loop {
            let line = self.line(end, &words.join("…"));
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }

    fn line(&mut self, end: Instant, what: &str) -> String {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(line) = self.lines.recv_timeout(left) else {
            panic!("no {what}; it printed only:\n{}", self.seen.join("\n"))
        };
        self.seen.push(line.clone());
        line
    }

    pub(crate) fn command(&mut self, command: &str) {
        let stdin = self.stdin.as_mut().expect("open standard input");
        writeln!(stdin, "{command}").expect("a process that listens");
    }

    /// The lines that were read so far.
    pub(crate) fn lines_so_far(&self) -> &[String] {
        &self.seen
    }

    /// The next object of this kind.
    pub(crate) fn wait(&mut self, event: &str) -> Value {
        self.wait_any(&[event])
    }

    /// The next object of one of these kinds.
    fn wait_any(&mut self, events: &[&str]) -> Value {
        let end = Instant::now() + TIMEOUT;
        loop {
            let line = self.line(end, &events.join(" or "));
            let object: Value = serde_json::from_str(&line).expect("an object on each line");
            if events.iter().any(|event| object["event"] == *event) {
                return object;
            }
        }
    }

    pub(crate) fn address(&mut self) -> String {
        let addr = self.wait("listening")["addr"].as_str().expect("an address").to_owned();
        assert!(!addr.ends_with(":0"), "{addr}");
        addr
    }

    /// Waits for the process to end by itself: its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let end = Instant::now() + TIMEOUT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("it did not end; it printed:\n{}", self.seen.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_processes_peer_and_exchange_frames() {
    let id = "ab".repeat(32);
    let mut alice = Process::start(&["--bind", "[::1]:0", "--id", &id]);
    let address = alice.address();
    let mut bob = Process::start(&["--bind", "127.0.0.1:0", "--peer", &address]);
    let up = bob.wait("up");
    assert_eq!((&up["id"], &up["addr"]), (&Value::from(id), &Value::from(address)));
    assert_eq!((&up["direction"], &up["type"]), (&"out".into(), &"standard".into()));
    let from_bob = alice.wait("up");
    assert_eq!(from_bob["direction"], "in");

    bob.command("send 0 hello alice");
    assert_eq!(bob.wait("sent")["target"], 0);
    let frame = alice.wait("frame");
    assert_eq!(frame["payload"], hex(b"hello alice"));
    assert_eq!((&frame["modes"], &frame["sender"]), (&8.into(), &from_bob["id"]));

    let any = numbered(7, 60_000);
    alice.command(&format!("flood-hex {}", hex(&any)));
    assert_eq!(bob.wait("frame")["frame"], hex(&any));
    for (command, reason) in [
        ("send 9 x", "no peer"),
        (&format!("send-hex 0 {}", hex(&carrier(40, 1, b""))), "reserved"),
        ("send-hex 0 0102", "no carrier frame"),
    ] {
        bob.command(command);
        let refused = bob.wait("refused");
        assert!(refused["reason"].as_str().expect("a reason").contains(reason), "{refused}");
    }
    bob.command("dance");
    bob.wait("error");
    bob.command("peers");
    let peer = bob.wait("peer");
    assert_eq!(peer["state"], "up");
    assert!(peer["send_rate"].is_number() && peer["receive_rate"].is_number(), "{peer}");
    assert_eq!(bob.wait("peers-end")["count"], 1);
    let end = Instant::now() + TIMEOUT;
    loop {
        bob.command("peers");
        match &bob.wait("peer")["round_trip_ms"] {
            Value::Number(_) => break,
            other => assert!(other.is_null() && Instant::now() < end, "{other}"),
        }
    }
    bob.command("quit");
    assert_eq!(bob.end(), Some(0));
    let down = alice.wait("down");
    assert!(down["reason"].as_str().expect("a reason").contains("shuts down"), "{down}");
}

/// The line of the help that pipes a command into a node does send its frame.
#[test]
fn the_piped_example_of_the_help_arrives() {
    let help = runner::command(program()).arg("--help").output().expect("a process").stdout;
    let help = String::from_utf8(help).expect("text");
    let line = help.lines().find_map(|line| line.trim().strip_prefix("echo '"));
    let (command, node) = line.expect("an example").split_once("' | netmod-node ").expect("a pipe");
    let mut alice = Process::start(&["--bind", "127.0.0.1:0"]);
    let address = alice.address() + "X";
    let args: Vec<_> =
        node.split(' ').map(|arg| if arg.contains(':') { &address } else { arg }).collect();
    let args: Vec<_> = args.into_iter().filter(|arg| *arg != "--json").collect();
    let mut bob = Process::start(&[&["--bind", "127.0.0.1:0"], &args[..]].concat());
    bob.command(command);
    bob.stdin = None;
    assert_eq!(alice.wait("frame")["payload"], hex(b"hello"));
}

#[test]
fn a_killed_node_is_missed_and_found_again() {
    let mut alice = Process::start(&["--bind", &own_addr().to_string()]);
    let address = alice.address();
    let mut bob = Process::start(&["--bind", "127.0.0.1:0", "--peer", &address]);
    bob.wait("up");
    drop(alice);
    assert!(bob.wait("down")["retry_ms"].is_number());
    assert!(bob.wait("attempt")["reason"].as_str().expect("a reason").contains("refused"));
    bob.command("send 0 for later");
    bob.wait("sent");
    let mut alice = Process::start(&["--bind", &address]);
    bob.command("kick");
    assert_eq!(bob.wait("up")["target"], 0);
    assert_eq!(alice.wait("frame")["payload"], hex(b"for later"));
}

#[test]
fn a_scripted_plain_peer_and_the_policy() {
    let mut node = Process::start(&["--bind", "127.0.0.1:0", "--deny", "127.0.0.2"]);
    let address: std::net::SocketAddr = node.address().parse().expect("an address");
    let mut peer = crate::scripted::PlainPeer::dial(address.port(), STANDARD, 5);
    assert_eq!(node.wait("up")["id"], "05".repeat(32));
    peer.send(&numbered(1, 10));
    assert_eq!(node.wait("frame")["frame"], hex(&numbered(1, 10)));
    node.command("peers");
    assert_eq!(node.wait("peer").get("round_trip_ms"), Some(&Value::Null));
    drop(peer);
    assert!(node.wait("down")["retry_ms"].is_null());
    let mut connection = crate::scripted::PlainPeer::connect(address.port());
    connection.write(&[0xFF; 64]);
    assert!(node.wait("dropped")["reason"].as_str().expect("a reason").contains("out of step"));
}

#[test]
fn bad_options_name_what_is_wrong() {
    for (args, named) in [
        (&["--bind", "nowhere"][..], "nowhere"),
        (&["--id", "12"], "12"),
        (&["--peer", "host"], "host"),
        (&["--limit", "speed=9"], "speed"),
        (&["--peer-file", "/nonexistent/peers"], "/nonexistent/peers"),
        (&["--dance"], "--dance"),
    ] {
        let output = runner::command(program()).args(args).stdin(Stdio::null()).output();
        let output = output.expect("a process");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(named), "{args:?}: {text}");
    }
}
