//! The peers. Each has its own endpoint, since links between the same two endpoints are merged.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use netmod_inet::{Builder, Event, Frame, InetEndpoint, Limits};

use crate::bench_util::child::Failure;
use crate::{STALLED, STEP_TIMEOUT};

/// Executes commands until the end of standard input.
pub(crate) fn run() -> Result<(), Failure> {
    let (report, latencies) = channel();
    let (mut node, mut peers, mut stalled) = (String::new(), Vec::new(), None);
    println!("ready");
    for line in io::stdin().lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["dial", port, count] => {
                node = format!("127.0.0.1:{port}");
                for _ in 0..count.parse()? {
                    let peer = dial(InetEndpoint::builder(), &node)?;
                    smol::spawn(take(peer.clone(), report.clone())).detach();
                    peers.push(peer);
                }
                println!("done");
            }
            ["stall"] => {
                stalled = Some(dial(never_reads(), &node)?);
                println!("done");
            }
            ["leave"] => {
                if let Some(stalled) = stalled.take() {
                    smol::block_on(stalled.shutdown());
                }
                println!("done");
            }
            ["ages", count] => {
                let ages = ages(&latencies, count.parse()?)?;
                let [p50, p99] = [50, 99].map(|part| ages[ages.len() * part / 100].as_nanos());
                println!("done {p50} {p99}");
            }
            _ => return Err(format!("there is no command \"{line}\"").into()),
        }
    }
    Ok(())
}

/// A peer whose link to the node is up.
fn dial(builder: Builder, node: &str) -> Result<InetEndpoint, Failure> {
    smol::block_on(async {
        let endpoint = builder.start().await?;
        let events = endpoint.events();
        endpoint.add_peers([node]).await?;
        while !matches!(events.next().await?, Event::Up { .. }) {}
        Ok(endpoint)
    })
}

/// A peer with a small receive window that never reads.
fn never_reads() -> Builder {
    let mut limits = Limits::default();
    limits.inbound_bytes = 256 << 10;
    limits.drain_timeout = Duration::ZERO;
    InetEndpoint::builder().router_id(STALLED).limits(limits)
}

/// Receives frames and reports their age.
async fn take(peer: InetEndpoint, report: Sender<Duration>) {
    while let Ok((_, frame)) = peer.next().await {
        if let Some(age) = age(&frame) {
            let _ = report.send(age);
        }
    }
}

fn age(frame: &Frame) -> Option<Duration> {
    let sent = Duration::from_nanos(u64::from_be_bytes(*frame.payload().first_chunk()?));
    Some(SystemTime::UNIX_EPOCH.elapsed().ok()?.saturating_sub(sent))
}

/// The ages of `count` frames, sorted. Waits for all of them.
fn ages(latencies: &Receiver<Duration>, count: usize) -> Result<Vec<Duration>, Failure> {
    let mut ages = Vec::with_capacity(count);
    while ages.len() < count {
        let missing = |_| format!("only {} of {count} frames arrived", ages.len());
        let age = latencies.recv_timeout(STEP_TIMEOUT).map_err(missing)?;
        ages.push(age);
    }
    ages.sort_unstable();
    Ok(ages)
}
