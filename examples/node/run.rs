//! A node at work, from its start to its end.

use crate::arrivals::{Arrival, Arrivals};
use crate::json_lines::JsonLines;
use crate::obey::obey;
use crate::options::Options;
use crate::output::{BLOCK, Output};
use crate::readable::Readable;
use crate::report::Report;
use async_signal::{Signal, Signals};
use netmod_inet::{Builder, Event, Events, InetEndpoint, StartError};
use smol::channel::{Receiver, RecvError, Sender, bounded};
use smol::future::{self, block_on};
use smol::stream::StreamExt;
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// A failure to run, as the process reports it.
pub(crate) struct Failure {
    pub(crate) status: u8,
    pub(crate) message: String,
}

impl Failure {
    /// An option cannot be used.
    pub(crate) fn option(message: impl Display) -> Failure {
        Failure { status: 2, message: message.to_string() }
    }

    fn start(message: impl Display) -> Failure {
        Failure { status: 1, message: message.to_string() }
    }
}

/// Runs a node until it is told to stop.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let report: &'static dyn Report = if options.json { &JsonLines } else { &Readable };
    let signals = Signals::new(STOPPING).map_err(Failure::start)?;
    let endpoint = start(&options).await?;
    let events = endpoint.events();
    let added = endpoint.add_peers(options.peers).await;
    added.map_err(|error| Failure::option(format!("peers: {error}")))?;
    let (stop, stopped) = bounded(1);
    let output = Arc::new(Output::new(report, stop.clone()));
    greet(&endpoint, &output);
    let all_printed = print_arrivals(&endpoint, events, &output).map_err(Failure::start)?;
    take_commands(&endpoint, &output, stop).map_err(Failure::start)?;

    let _ = future::or(stopped.recv(), signal(&signals)).await;
    let orderly = async {
        endpoint.shutdown().await;
        let _ = all_printed.recv().await;
        output.close().await;
        Ok(())
    };
    future::or(orderly, cut_short(&output, &signals)).await?;
    match output.failure() {
        Some(error) => Err(Failure::start(format!("standard output: {error}"))),
        None => Ok(()),
    }
}

/// The signals that stop a node.
#[cfg(unix)]
const STOPPING: [Signal; 2] = [Signal::Int, Signal::Term];
#[cfg(not(unix))]
const STOPPING: [Signal; 1] = [Signal::Int];

/// A signal that comes twice in this time is meant once: a terminal or `timeout` may send it to
/// the process and to its group.
const TWICE: Duration = Duration::from_millis(500);

async fn start(options: &Options) -> Result<InetEndpoint, Failure> {
    let mut binds: Vec<&str> = options.binds.iter().map(String::as_str).collect();
    if binds.is_empty() {
        binds.push("[::]:9000");
    }
    loop {
        let error = match build(options, &binds).start().await {
            Ok(endpoint) => return Ok(endpoint),
            Err(error) => error,
        };
        match error {
            // Only a machine without IPv6 is a reason for the second choice. A port that is taken
            // is not: nobody would find a node beside the one that has it.
            _ if options.binds.is_empty() && error.is_ipv6_unavailable() => {
                binds = vec!["0.0.0.0:9000"];
            }
            StartError::Address(_) => return Err(Failure::option(format!("--bind: {error}"))),
            StartError::Limits(_) => return Err(Failure::option(format!("--limit: {error}"))),
            _ => return Err(Failure::start(error)),
        }
    }
}

fn build(options: &Options, binds: &[&str]) -> Builder {
    let (limits, policy) = (options.limits.clone(), options.accept.clone());
    let mut builder = InetEndpoint::builder().limits(limits).accept(policy);
    if let Some(id) = options.id {
        builder = builder.router_id(id);
    }
    binds.iter().fold(builder, |builder, bind| builder.bind(bind))
}

fn greet(endpoint: &InetEndpoint, output: &Output) {
    let mut lines = Vec::new();
    output.report.started(&mut lines, endpoint);
    if io::stdin().is_terminal() {
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
    let obey = move || {
        if block_on(obey(&endpoint, &output)) {
            let _ = stop.try_send(());
        }
    };
    thread::Builder::new().name("commands".into()).spawn(obey).map(drop)
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
    thread::Builder::new().name("arrivals".into()).spawn(task)?;
    Ok(all_printed)
}

/// It blocks while it prints.
async fn print(mut arrivals: Arrivals<'_>, endpoint: &InetEndpoint, output: &Output) {
    let mut lines = Vec::new();
    while let Some(first) = arrivals.wait().await {
        let mut next = Some(first);
        while let Some(arrival) = next {
            describe(arrival, endpoint, output.report, &mut lines);
            next = if lines.len() < BLOCK { arrivals.take() } else { None };
        }
        output.print(&lines);
        lines.clear();
    }
}

fn describe(arrival: Arrival, endpoint: &InetEndpoint, report: &dyn Report, lines: &mut Vec<u8>) {
    match arrival {
        Arrival::Event(event) => {
            report.event(lines, &event);
            // Nothing here sends them again, so they need not be kept.
            if let Event::Unconfirmed { target, .. } = event {
                drop(endpoint.take_unconfirmed(target));
            }
        }
        Arrival::Frame(target, frame) => report.frame(lines, target, &frame),
    }
}

async fn signal(mut signals: &Signals) -> Result<(), RecvError> {
    while !matches!(signals.next().await, Some(Ok(_))) {
        // The stream has no end. Should it break all the same, `quit` still works.
        smol::Timer::after(TWICE).await;
    }
    Ok(())
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
        Err(Failure::start("stopped by a second signal, before everything was handed on"))
    };
    future::or(stalled, impatient).await
}
