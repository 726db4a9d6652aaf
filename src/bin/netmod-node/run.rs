//! Runs a node from start to shutdown.

use crate::dispatch;
use crate::event_loop;
use crate::failure::{self, Failure};
use crate::format::Format;
use crate::json_lines::JsonLines;
use crate::metrics;
use crate::open_files;
use crate::options::Options;
use crate::output::Output;
use crate::peer_files::PeerFiles;
use crate::screen::Screen;
use crate::signals;
use crate::start;
use crate::terminal;
use crate::text_lines::TextLines;
use crate::watch::{self, AlternateScreen};
use async_signal::Signals;
use netmod_inet::{Events, InetEndpoint};
use smol::channel::{Receiver, Sender, bounded};
use smol::future::{self, block_on};
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Runs a node until `quit` or a signal.
pub(crate) fn run(mut options: Options) -> Result<(), Failure> {
    let (termination, other) = signals::subscribe(!options.peers.paths.is_empty())?;
    let listed = options.peers.read().map_err(Failure::option)?;
    let metrics = options.metrics.map(bind_metrics).transpose()?;
    // The endpoint takes the limit at its start into account.
    let raised_limit = open_files::raise_limit();
    spawn("endpoint", start::run_executor)?;
    let endpoint = start::start(&options)?;
    let events = endpoint.events();
    let mut peers = std::mem::take(&mut options.peers);
    let added = peers.add_all(&endpoint, listed);
    added.map_err(|error| Failure::option(format!("peers: {error}")))?;

    let (stop, stopped) = bounded(1);
    let (output, redraws) = open_output(&options, stop.clone());
    let alternate_screen = output.screen.as_ref().map(|_| AlternateScreen::enter(&output));
    print_startup(&endpoint, &output, metrics.as_ref(), raised_limit);
    let all_printed = spawn_event_loop(&endpoint, events, &output)?;
    spawn_screen(&endpoint, &output, redraws)?;
    spawn_command_reader(&endpoint, &output, stop)?;
    spawn_signal_handler(other, &endpoint, &output, peers)?;

    let stopping = async {
        let _ = stopped.recv().await;
    };
    let stopping = future::or(stopping, signals::next(&termination));
    block_on(future::or(stopping, serve_metrics(metrics, &endpoint, &output)));
    let ended = block_on(shut_down(&endpoint, &output, &all_printed, &termination));
    drop(alternate_screen);
    ended?;
    match output.failure() {
        Some(error) => Err(Failure::runtime(format!("standard output: {error}"))),
        None => Ok(()),
    }
}

fn bind_metrics(addr: SocketAddr) -> Result<metrics::Server, Failure> {
    if !addr.ip().to_canonical().is_loopback() {
        failure::print(&format!(
            "warning: --metrics {addr} is not a loopback address: hosts that can reach it can list \
             the peers"
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
        failure::print(
            "warning: --watch: standard output is no terminal, so lines are printed instead of a \
             table",
        );
    }
    let (screen, redraws) = is_shown.then(Screen::new).unzip();
    let prints_frames = !options.quiet && !is_shown;
    (Arc::new(Output::new(format, screen, options.time, prints_frames, stop)), redraws)
}

fn print_startup(
    endpoint: &InetEndpoint,
    output: &Output,
    metrics: Option<&metrics::Server>,
    raised_limit: Option<String>,
) {
    let mut lines = Vec::new();
    output.format.listening(&mut lines, endpoint);
    if let Some(addr) = metrics.and_then(|server| server.addr().ok()) {
        output.format.serving_metrics(&mut lines, addr);
    }
    if let Some(line) = raised_limit {
        output.format.info(&mut lines, &line);
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
            Some(screen) if terminal::has_keys() => watch::read_keys(screen),
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
    spawn("screen", move || block_on(watch::show(&endpoint, &output, redraws)))
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

/// Handles the signals that do not stop a node, on a thread of its own: it may block.
fn spawn_signal_handler(
    signals: Signals,
    endpoint: &InetEndpoint,
    output: &Arc<Output>,
    peers: PeerFiles,
) -> io::Result<()> {
    if output.screen.is_none() && peers.paths.is_empty() {
        return Ok(());
    }
    let (endpoint, output) = (endpoint.clone(), output.clone());
    spawn("signals", move || signals::handle(signals, &endpoint, &output, peers))
}

/// Serves metrics, if they are enabled. Closes the listener when it is dropped.
async fn serve_metrics(server: Option<metrics::Server>, endpoint: &InetEndpoint, output: &Output) {
    match &server {
        Some(server) => server.run(endpoint, output).await,
        None => future::pending().await,
    }
}

/// Sends and prints everything that is queued, unless [`give_up`] returns first.
async fn shut_down(
    endpoint: &InetEndpoint,
    output: &Output,
    all_printed: &Receiver<()>,
    termination: &Signals,
) -> Result<(), Failure> {
    let orderly = async {
        endpoint.shutdown().await;
        let _ = all_printed.recv().await;
        output.close().await;
        Ok(())
    };
    future::or(orderly, give_up(output, termination)).await
}

/// Returns when the shutdown is to be abandoned: on a second signal, or if the output stalls.
async fn give_up(output: &Output, termination: &Signals) -> Result<(), Failure> {
    let stalled = async {
        output.stalled().await;
        Ok(())
    };
    let second_signal = async {
        let started = Instant::now();
        while started.elapsed() < signals::DEBOUNCE {
            signals::next(termination).await;
        }
        Err(Failure::interrupted())
    };
    future::or(stalled, second_signal).await
}
