//! A node at work, from its start to its end.

use crate::arrivals::{Arrival, Arrivals};
use crate::json_lines::JsonLines;
use crate::metrics;
use crate::obey::obey;
use crate::options::Options;
use crate::output::{BLOCK, Output};
use crate::peer_files::PeerFiles;
use crate::readable::Readable;
use crate::report::Report;
use crate::screen::{self, Screen};
use crate::terminal::{self, Terminal};
use async_signal::{Signal, Signals};
use netmod_inet::{Builder, Event, Events, InetEndpoint, StartError};
use smol::channel::{Receiver, RecvError, Sender, bounded};
use smol::future::{self, block_on};
use smol::stream::StreamExt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// A failure to run, as the process reports it.
pub(crate) struct Failure {
    pub(crate) status: u8,
    pub(crate) message: String,
}

impl Failure {
    /// An option or a peer file cannot be used, and another start would not help.
    pub(crate) fn option(message: String) -> Failure {
        Failure { status: 2, message }
    }

    /// The node cannot listen; this may be over some time.
    fn listen(message: String) -> Failure {
        Failure { status: 3, message }
    }

    /// The node was stopped before everything was handed on.
    fn cut_short() -> Failure {
        let message = "stopped by a second signal, before everything was handed on".to_owned();
        Failure { status: 4, message }
    }
}

/// Something failed while the node ran.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure { status: 1, message: error.to_string() }
    }
}

/// Runs a node until it is told to stop.
pub(crate) fn run(mut options: Options) -> Result<(), Failure> {
    let (stopping, aside) = match options.peers.paths.is_empty() {
        true => (STOPPING, &ASIDE[..1]),
        false => (&STOPPING[..2], ASIDE),
    };
    let (signals, asides) = (Signals::new(stopping)?, Signals::new(aside)?);
    let listed = options.peers.read().map_err(Failure::option)?;
    let metrics = options.metrics.map(serve_metrics).transpose()?;
    let endpoint = start(&options)?;
    let events = endpoint.events();
    let mut peers = std::mem::take(&mut options.peers);
    let added = peers.start(&endpoint, listed);
    added.map_err(|error| Failure::option(format!("peers: {error}")))?;

    let (stop, stopped) = bounded(1);
    let (output, woken) = open_output(&options, stop.clone());
    let terminal = output.screen.as_ref().map(|_| Terminal::enter(&output));
    greet(&endpoint, &output, metrics.as_ref());
    let all_printed = print_arrivals(&endpoint, events, &output)?;
    show_screen(&endpoint, &output, woken)?;
    take_commands(&endpoint, &output, stop)?;
    hear_asides(asides, &endpoint, &output, peers)?;

    let stopping = async {
        let _ = future::or(stopped.recv(), signal(&signals)).await;
    };
    let serving = async {
        match &metrics {
            Some(server) => server.run(&endpoint, &output).await,
            None => future::pending().await,
        }
    };
    block_on(future::or(stopping, serving));
    drop(metrics);

    let orderly = async {
        endpoint.shutdown().await;
        let _ = all_printed.recv().await;
        output.close().await;
        Ok(())
    };
    let ended = block_on(future::or(orderly, cut_short(&output, &signals)));
    drop(terminal);
    ended?;
    match output.failure() {
        Some(error) => Err(Failure { status: 1, message: format!("standard output: {error}") }),
        None => Ok(()),
    }
}

fn serve_metrics(addr: SocketAddr) -> Result<metrics::Server, Failure> {
    if !addr.ip().to_canonical().is_loopback() {
        warn(&format!(
            "--metrics {addr} is not a loopback address: whoever reaches it sees who the peers are"
        ));
    }
    metrics::Server::bind(addr)
        .map_err(|error| Failure::listen(format!("--metrics: cannot listen on {addr}: {error}")))
}

/// Where lines go, and what has the screen be drawn anew.
fn open_output(options: &Options, stop: Sender<()>) -> (Arc<Output>, Option<Receiver<()>>) {
    let report: Box<dyn Report> = match options.json {
        true => Box::new(JsonLines),
        false => Box::<Readable>::default(),
    };
    let is_shown = options.watch && io::stdout().is_terminal();
    if options.watch && !is_shown {
        warn("--watch: standard output is no terminal, so lines are printed instead of a table");
    }
    let (screen, woken) = is_shown.then(Screen::new).unzip();
    let prints_frames = !options.quiet && !is_shown;
    (Arc::new(Output::new(report, screen, options.time, prints_frames, stop)), woken)
}

fn warn(message: &str) {
    // Not with `eprintln`, which panics when nobody reads.
    let _ = writeln!(io::stderr(), "netmod-node: warning: {message}");
}

/// The signals that stop a node; the last only where there is no peer file.
const STOPPING: &[Signal] = &[Signal::Int, Signal::Term, Signal::Hup];

/// The signals that do not: to draw on a terminal of another size, and to read the peer files again.
const ASIDE: &[Signal] = &[Signal::Winch, Signal::Hup];

/// A signal that comes twice in this time is meant once: a terminal or `timeout` may send it to
/// the process and to its group.
const TWICE: Duration = Duration::from_millis(500);

fn start(options: &Options) -> Result<InetEndpoint, Failure> {
    let mut binds: Vec<&str> = options.binds.iter().map(String::as_str).collect();
    if binds.is_empty() {
        binds.push("[::]:9000");
    }
    loop {
        let error = match block_on(build(options, &binds).start()) {
            Ok(endpoint) => return Ok(endpoint),
            Err(error) => error,
        };
        // Only a machine without IPv6 is a reason for the second choice. A port that is taken is
        // not: nobody would find a node beside the one that has it.
        if options.binds.is_empty() && error.is_ipv6_unavailable() {
            binds = vec!["0.0.0.0:9000"];
            continue;
        }
        let (status, option) = match error {
            StartError::Address(_) => (2, "--bind: "),
            StartError::Limits(_) => (2, "--limit: "),
            StartError::Bind { .. } => (3, ""),
            _ => (1, ""),
        };
        return Err(Failure { status, message: format!("{option}{error}") });
    }
}

fn build(options: &Options, binds: &[&str]) -> Builder {
    let (limits, policy) = (options.limits.clone(), options.accept.clone());
    let mut builder = InetEndpoint::builder().limits(limits).accept(policy);
    if let Some(id) = options.id {
        builder = builder.router_id(id);
    }
    #[cfg(feature = "noise")]
    if let Some(encryption) = &options.encryption {
        builder = builder.encrypt(encryption.clone());
    }
    binds.iter().fold(builder, |builder, bind| builder.bind(bind))
}

fn greet(endpoint: &InetEndpoint, output: &Output, metrics: Option<&metrics::Server>) {
    let mut lines = Vec::new();
    output.report.started(&mut lines, endpoint);
    if let Some(addr) = metrics.and_then(|server| server.addr().ok()) {
        output.report.serving(&mut lines, addr);
    }
    if output.screen.is_none() && io::stdin().is_terminal() {
        output.report.note(&mut lines, "type help for a list of commands");
    }
    output.print(&lines);
}

/// Reads standard input on a thread of its own, for a terminal may keep a reader waiting for ever.
fn take_commands(
    endpoint: &InetEndpoint,
    output: &Arc<Output>,
    stop: Sender<()>,
) -> io::Result<()> {
    let (endpoint, output) = (endpoint.clone(), output.clone());
    let task = move || {
        let is_over = match &output.screen {
            Some(screen) if terminal::has_keys() => terminal::read_keys(screen),
            _ => obey(&endpoint, &output),
        };
        if is_over {
            let _ = stop.try_send(());
        }
    };
    spawn("commands", task)
}

/// Draws the screen, if there is one, on a thread of its own.
fn show_screen(
    endpoint: &InetEndpoint,
    output: &Arc<Output>,
    woken: Option<Receiver<()>>,
) -> io::Result<()> {
    let Some(woken) = woken else { return Ok(()) };
    let (endpoint, output) = (endpoint.clone(), output.clone());
    spawn("screen", move || block_on(screen::show(&endpoint, &output, woken)))
}

fn spawn(name: &str, task: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // In a box, so that the code that starts a thread is there once.
    let task: Box<dyn FnOnce() + Send> = Box::new(task);
    thread::Builder::new().name(name.to_owned()).spawn(task).map(drop)
}

/// Prints events and frames until the endpoint has shut down; the channel closes after the last.
/// It has a thread of its own, for standard output may keep a writer waiting for ever.
fn print_arrivals(
    endpoint: &InetEndpoint,
    events: Events,
    output: &Arc<Output>,
) -> io::Result<Receiver<()>> {
    let (endpoint, output) = (endpoint.clone(), output.clone());
    let (printing, all_printed) = bounded(1);
    let task = move || {
        let _printing = printing;
        block_on(print(Arrivals::new(&endpoint, events), &endpoint, &output));
    };
    spawn("arrivals", task)?;
    Ok(all_printed)
}

/// It blocks while it prints.
async fn print(mut arrivals: Arrivals<'_>, endpoint: &InetEndpoint, output: &Output) {
    let mut lines = Vec::new();
    while let Some(first) = arrivals.wait().await {
        let mut next = Some(first);
        while let Some(arrival) = next {
            describe(arrival, endpoint, output, &mut lines);
            next = if lines.len() < BLOCK { arrivals.take() } else { None };
        }
        output.print(&lines);
        lines.clear();
    }
}

fn describe(arrival: Arrival, endpoint: &InetEndpoint, output: &Output, lines: &mut Vec<u8>) {
    match arrival {
        Arrival::Event(event) => {
            output.tally.count(&event);
            output.screen.iter().for_each(|screen| screen.note(&event));
            output.report.event(lines, &event);
            // Nothing here sends them again, so they need not be kept.
            if let Event::Unconfirmed { target, .. } = event {
                drop(endpoint.take_unconfirmed(target));
            }
        }
        Arrival::Frame(target, frame) if output.prints_frames => {
            output.report.frame(lines, target, &frame);
        }
        Arrival::Frame(..) => {}
    }
}

async fn signal(mut signals: &Signals) -> Result<(), RecvError> {
    while !matches!(signals.next().await, Some(Ok(_))) {
        // The stream has no end. Should it break all the same, `quit` still works.
        smol::Timer::after(TWICE).await;
    }
    Ok(())
}

/// Does what the signals ask for that do not stop a node, on a thread of its own: files may be slow to
/// read, and what is printed may have to wait.
fn hear_asides(
    mut signals: Signals,
    endpoint: &InetEndpoint,
    output: &Arc<Output>,
    mut peers: PeerFiles,
) -> io::Result<()> {
    if output.screen.is_none() && peers.paths.is_empty() {
        return Ok(());
    }
    let (endpoint, output) = (endpoint.clone(), output.clone());
    let task = move || {
        // The stream has no end. Should it break all the same, the node goes on.
        while let Some(Ok(signal)) = block_on(signals.next()) {
            match signal {
                Signal::Hup => reload(&endpoint, &output, &mut peers),
                _ => output.screen.iter().for_each(Screen::wake),
            }
        }
    };
    spawn("signals", task)
}

fn reload(endpoint: &InetEndpoint, output: &Output, peers: &mut PeerFiles) {
    let mut lines = Vec::new();
    match peers.reload(endpoint) {
        Ok(reload) => {
            output.report.reloaded(&mut lines, &reload);
            reload.errors.iter().for_each(|error| output.report.error(&mut lines, error));
        }
        Err(error) => output.report.error(&mut lines, &format!("{error}; no peer was changed")),
    }
    output.print(&lines);
}

/// Ends the waiting for an orderly end.
async fn cut_short(output: &Output, signals: &Signals) -> Result<(), Failure> {
    let stalled = async {
        output.stalled().await;
        Ok(())
    };
    let impatient = async {
        let begun = Instant::now();
        while begun.elapsed() < TWICE {
            let _ = signal(signals).await;
        }
        Err(Failure::cut_short())
    };
    future::or(stalled, impatient).await
}
