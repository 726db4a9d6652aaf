//! Runs a node from start to shutdown.

use crate::dispatch;
use crate::event_loop;
use crate::format::Format;
use crate::json_lines::JsonLines;
use crate::metrics;
use crate::options::Options;
use crate::output::Output;
use crate::peer_files::PeerFiles;
use crate::screen::{self, Screen};
use crate::terminal::{self, Terminal};
use crate::text_lines::TextLines;
use async_signal::{Signal, Signals};
use netmod_inet::{Builder, Events, InetEndpoint, StartError};
use smol::channel::{Receiver, RecvError, Sender, bounded};
use smol::future::{self, block_on};
use smol::stream::StreamExt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Why the program failed: its exit status and message.
pub(crate) struct Failure {
    pub(crate) status: u8,
    pub(crate) message: String,
}

impl Failure {
    /// An option or a peer file is invalid. A restart does not help.
    pub(crate) fn option(message: String) -> Failure {
        Failure { status: 2, message }
    }

    /// The node cannot listen. A later start may succeed.
    fn listen(message: String) -> Failure {
        Failure { status: 3, message }
    }

    /// A second signal interrupted the shutdown.
    fn interrupted() -> Failure {
        let message = "stopped by a second signal, before everything was handed on".to_owned();
        Failure { status: 4, message }
    }
}

/// A failure at run time.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure { status: 1, message: error.to_string() }
    }
}

/// Runs a node until `quit` or a signal.
pub(crate) fn run(mut options: Options) -> Result<(), Failure> {
    let (termination, other) = match options.peers.paths.is_empty() {
        true => (TERMINATION_SIGNALS, &OTHER_SIGNALS[..1]),
        false => (&TERMINATION_SIGNALS[..2], OTHER_SIGNALS),
    };
    let (termination, other) = (Signals::new(termination)?, Signals::new(other)?);
    let listed = options.peers.read().map_err(Failure::option)?;
    let metrics = options.metrics.map(serve_metrics).transpose()?;
    let endpoint = start(&options)?;
    let events = endpoint.events();
    let mut peers = std::mem::take(&mut options.peers);
    let added = peers.start(&endpoint, listed);
    added.map_err(|error| Failure::option(format!("peers: {error}")))?;

    let (stop, stopped) = bounded(1);
    let (output, redraws) = open_output(&options, stop.clone());
    let terminal = output.screen.as_ref().map(|_| Terminal::enter(&output));
    print_startup(&endpoint, &output, metrics.as_ref());
    let all_printed = spawn_event_loop(&endpoint, events, &output)?;
    spawn_screen(&endpoint, &output, redraws)?;
    spawn_command_reader(&endpoint, &output, stop)?;
    spawn_signal_handler(other, &endpoint, &output, peers)?;

    let stopping = async {
        let _ = future::or(stopped.recv(), next_signal(&termination)).await;
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
    let ended = block_on(future::or(orderly, give_up(&output, &termination)));
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

/// Opens the output, and the channel of redraw requests if there is a screen.
fn open_output(options: &Options, stop: Sender<()>) -> (Arc<Output>, Option<Receiver<()>>) {
    let format: Box<dyn Format> = match options.json {
        true => Box::new(JsonLines),
        false => Box::<TextLines>::default(),
    };
    let is_shown = options.watch && io::stdout().is_terminal();
    if options.watch && !is_shown {
        warn("--watch: standard output is no terminal, so lines are printed instead of a table");
    }
    let (screen, redraws) = is_shown.then(Screen::new).unzip();
    let prints_frames = !options.quiet && !is_shown;
    (Arc::new(Output::new(format, screen, options.time, prints_frames, stop)), redraws)
}

fn warn(message: &str) {
    // `eprintln` panics if standard error is closed.
    let _ = writeln!(io::stderr(), "netmod-node: warning: {message}");
}

/// The signals that stop a node. With a peer file SIGHUP reloads it instead.
const TERMINATION_SIGNALS: &[Signal] = &[Signal::Int, Signal::Term, Signal::Hup];

/// The signals that do not: SIGWINCH redraws the screen, SIGHUP reloads the peer files.
const OTHER_SIGNALS: &[Signal] = &[Signal::Winch, Signal::Hup];

/// Signals within this time count as one: a terminal or `timeout` may signal both the process and
/// its group.
const SIGNAL_DEBOUNCE: Duration = Duration::from_millis(500);

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
        // Fall back to IPv4 only where IPv6 is unavailable. If the port is in use, starting on
        // IPv4 would hide it.
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

fn print_startup(endpoint: &InetEndpoint, output: &Output, metrics: Option<&metrics::Server>) {
    let mut lines = Vec::new();
    output.format.listening(&mut lines, endpoint);
    if let Some(addr) = metrics.and_then(|server| server.addr().ok()) {
        output.format.serving_metrics(&mut lines, addr);
    }
    if output.screen.is_none() && io::stdin().is_terminal() {
        output.format.info(&mut lines, "type help for a list of commands");
    }
    output.print(&lines);
}

/// Handles standard input on a thread of its own: a read may block forever.
fn spawn_command_reader(
    endpoint: &InetEndpoint,
    output: &Arc<Output>,
    stop: Sender<()>,
) -> io::Result<()> {
    let (endpoint, output) = (endpoint.clone(), output.clone());
    let task = move || {
        let should_quit = match &output.screen {
            Some(screen) if terminal::has_keys() => terminal::read_keys(screen),
            _ => dispatch::run(&endpoint, &output),
        };
        if should_quit {
            let _ = stop.try_send(());
        }
    };
    spawn("commands", task)
}

/// Draws the screen, if there is one, on a thread of its own.
fn spawn_screen(
    endpoint: &InetEndpoint,
    output: &Arc<Output>,
    redraws: Option<Receiver<()>>,
) -> io::Result<()> {
    let Some(redraws) = redraws else { return Ok(()) };
    let (endpoint, output) = (endpoint.clone(), output.clone());
    spawn("screen", move || block_on(screen::show(&endpoint, &output, redraws)))
}

fn spawn(name: &str, task: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // Boxed, so that the code that starts a thread is instantiated once.
    let task: Box<dyn FnOnce() + Send> = Box::new(task);
    thread::Builder::new().name(name.to_owned()).spawn(task).map(drop)
}

/// Prints events and frames on a thread of its own: a write to standard output may block forever.
/// The channel closes once the endpoint has shut down and everything is printed.
fn spawn_event_loop(
    endpoint: &InetEndpoint,
    events: Events,
    output: &Arc<Output>,
) -> io::Result<Receiver<()>> {
    let (endpoint, output) = (endpoint.clone(), output.clone());
    let (printing, all_printed) = bounded(1);
    let task = move || {
        let _printing = printing;
        block_on(event_loop::run(&endpoint, events, &output));
    };
    spawn("events", task)?;
    Ok(all_printed)
}

async fn next_signal(mut signals: &Signals) -> Result<(), RecvError> {
    while !matches!(signals.next().await, Some(Ok(_))) {
        // The stream does not end. If it fails, `quit` still works.
        smol::Timer::after(SIGNAL_DEBOUNCE).await;
    }
    Ok(())
}

/// Handles the signals that do not stop a node, on a thread of its own: it reads files and prints,
/// which may block.
fn spawn_signal_handler(
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
        // The stream does not end. If it fails, the node goes on.
        while let Some(Ok(signal)) = block_on(signals.next()) {
            match signal {
                Signal::Hup => reload(&endpoint, &output, &mut peers),
                _ => output.screen.iter().for_each(Screen::request_redraw),
            }
        }
    };
    spawn("signals", task)
}

fn reload(endpoint: &InetEndpoint, output: &Output, peers: &mut PeerFiles) {
    let mut lines = Vec::new();
    match peers.reload(endpoint) {
        Ok(reload) => {
            output.format.reloaded(&mut lines, &reload);
            reload.errors.iter().for_each(|error| output.format.error(&mut lines, error));
        }
        Err(error) => output.format.error(&mut lines, &format!("{error}; no peer was changed")),
    }
    output.print(&lines);
}

/// Returns when the shutdown is to be abandoned: on a second signal, or if the output stalls.
async fn give_up(output: &Output, signals: &Signals) -> Result<(), Failure> {
    let stalled = async {
        output.stalled().await;
        Ok(())
    };
    let second_signal = async {
        let begun = Instant::now();
        while begun.elapsed() < SIGNAL_DEBOUNCE {
            let _ = next_signal(signals).await;
        }
        Err(Failure::interrupted())
    };
    future::or(stalled, second_signal).await
}
