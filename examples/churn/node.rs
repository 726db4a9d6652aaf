//! The node process: its log, its metrics, and its resource usage.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::bench_util::child::Failure;
use crate::bench_util::memory::Memory;
use crate::options::Options;

/// Time limit of each step.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The hint for a missing program.
const BUILD: &str = "`cargo build --release --features node` builds it";

/// Log lines, counted by kind.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    pub(crate) up: u64,
    pub(crate) down: u64,
    /// The `down` lines with a retry time.
    pub(crate) retried: u64,
    pub(crate) not_reached: u64,
    pub(crate) ended: u64,
    pub(crate) reloads: u64,
    pub(crate) dropped: u64,
    pub(crate) other: u64,
    pub(crate) last_other: String,
}

/// The final metrics, and the peak values of the run.
#[derive(Default)]
pub(crate) struct Links {
    pub(crate) ups: u64,
    pub(crate) downs: u64,
    pub(crate) attempts: u64,
    pub(crate) removed: u64,
    pub(crate) dropped: u64,
    pub(crate) files: usize,
    pub(crate) most_files: usize,
    pub(crate) most_links: u64,
}

pub(crate) struct Node {
    child: Child,
    peer_file: PathBuf,
    pub(crate) address: String,
    metrics: String,
    lines: Arc<Mutex<Lines>>,
    peak: (usize, u64),
}

impl Node {
    pub(crate) fn start(options: &Options, listed: &str) -> Result<Node, Failure> {
        let program = options.node.clone().or_else(of_this_build).ok_or("no netmod-node")?;
        let name = format!("netmod-inet-{}-churn", std::process::id());
        let peer_file = std::env::temp_dir().join(name);
        fs::write(&peer_file, listed)?;
        let mut child = Command::new(&program)
            .args(["--bind", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--quiet"])
            .args(["--limit", "redial_cap=2s", "--limit", "resume_window=4s", "--peer-file"])
            .arg(&peer_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}; {BUILD}", program.display()))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let lines = Arc::<Mutex<Lines>>::default();
        let (sender, first_lines) = channel();
        let log = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(line) = log.lock().unwrap_or_else(PoisonError::into_inner).take(line) {
                    let _ = sender.send(line);
                }
            }
        });
        let address = wait_for_line(&first_lines, "listening on ")?;
        let metrics = wait_for_line(&first_lines, "metrics on http://")?.replace("/metrics", "");
        Ok(Node { child, peer_file, address, metrics, lines, peak: (0, 0) })
    }

    /// Replaces the peer file and has the node reload it.
    pub(crate) fn reload(&self, listed: &str) -> Result<(), Failure> {
        fs::write(&self.peer_file, listed)?;
        kill_process(Pid::from_child(&self.child), Signal::HUP)?;
        Ok(())
    }

    pub(crate) fn lines(&self) -> Lines {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn memory(&self) -> Memory {
        Memory::of(self.child.id(), "VmRSS")
    }

    /// Open file descriptors.
    pub(crate) fn files(&self) -> Result<usize, Failure> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    pub(crate) fn cpu_seconds(&self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat has another form")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(ticks.sum::<Result<u64, _>>()? as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Samples the numbers of descriptors and links.
    pub(crate) fn sample(&mut self) -> Result<(), Failure> {
        let links = value(&self.scrape()?, "netmod_inet_peers{state=\"up\"}")?;
        self.peak = (self.peak.0.max(self.files()?), self.peak.1.max(links));
        Ok(())
    }

    /// Waits until there are no links, at peak `files` descriptors are open, and the log has caught
    /// up with the metrics and `reloads`.
    pub(crate) fn settle(&self, files: usize, reloads: u64) -> Result<Links, Failure> {
        let end = Instant::now() + TIMEOUT;
        loop {
            let text = self.scrape()?;
            let event =
                |kind| value(&text, &format!("netmod_inet_events_total{{event=\"{kind}\"}}"));
            let links = Links {
                ups: event("up")?,
                downs: event("down")?,
                attempts: event("attempt")?,
                removed: event("removed")?,
                dropped: event("dropped")?,
                files: self.files()?,
                most_files: self.peak.0,
                most_links: self.peak.1,
            };
            let lines = self.lines();
            let is_over = value(&text, "netmod_inet_peers{state=\"up\"}")? == 0
                && links.files <= files
                && (lines.up, lines.down, lines.reloads) == (links.ups, links.downs, reloads);
            if is_over || Instant::now() > end {
                if event("missed")? + event("other")? > 0 {
                    eprintln!("{text}");
                }
                return match links.files <= files {
                    true => Ok(links),
                    false => {
                        Err(format!("{} descriptors are open, of {files}", links.files).into())
                    }
                };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fetches the metrics.
    fn scrape(&self) -> Result<String, Failure> {
        let mut stream = TcpStream::connect(&self.metrics)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Shuts the node down with `quit`.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        if let Some(mut stdin) = self.child.stdin.take() {
            stdin.write_all(b"quit\n")?;
        }
        match self.child.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("the node ended with {status}").into()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.peer_file);
    }
}

impl Lines {
    /// Counts a line, or returns it if it belongs to the start of the log.
    fn take(&mut self, line: String) -> Option<String> {
        let is = |what: &str| line.starts_with("peer ") && line.contains(what);
        let count = match () {
            () if is(" up: ") => &mut self.up,
            () if is(" down: ") => {
                self.retried += u64::from(line.contains("next try"));
                &mut self.down
            }
            () if is(" not reached at ") => &mut self.not_reached,
            () if is(" ended") => &mut self.ended,
            () if line.starts_with("peer files: ") => &mut self.reloads,
            () if line.starts_with("dropped ") => &mut self.dropped,
            () if line.contains(" on ") || line.starts_with("router id ") => return Some(line),
            () => {
                self.last_other = line;
                &mut self.other
            }
        };
        *count += 1;
        None
    }
}

/// `netmod-node` in the target directory of this example.
fn of_this_build() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.with_file_name("netmod-node"))
}

fn wait_for_line(first_lines: &Receiver<String>, start: &str) -> Result<String, Failure> {
    loop {
        let line = first_lines
            .recv_timeout(TIMEOUT)
            .map_err(|_| format!("the node never printed {start}"))?;
        if let Some(rest) = line.strip_prefix(start) {
            return Ok(rest.to_owned());
        }
    }
}

/// The value of a metric.
fn value(text: &str, name: &str) -> Result<u64, Failure> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.ok_or_else(|| format!("there is no {name}"))?.trim().parse()?)
}
