//! The flooding node.

use std::io;
use std::thread;
use std::time::{Duration, SystemTime};

use netmod_inet::{
    Event, Events, Frame, InetEndpoint, Limits, PeerInfo, PeerState, SendErrorKind, Target,
};

use crate::STALLED;
use crate::bench_util::child::Failure;

/// Interval of floods.
const PACE: Duration = Duration::from_millis(5);

/// Interval of polling the peers.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Executes commands until the end of standard input.
pub(crate) fn run() -> Result<(), Failure> {
    let mut limits = Limits::default();
    // The deadline of filling a queue.
    limits.send_timeout = Duration::from_millis(100);
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
    let endpoint = smol::block_on(builder.start())?;
    let events = endpoint.events();
    println!("ready {}", endpoint.port().unwrap_or(0));
    for line in io::stdin().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("up", count) => up(&endpoint, count.parse()?),
            ("flood", count) => flood(&endpoint, count.parse()?)?,
            ("fill", _) => fill(&endpoint)?,
            ("forget", _) => forget(&endpoint, &events)?,
            _ => return Err(format!("there is no command \"{line}\"").into()),
        }
        println!("done");
    }
    smol::block_on(endpoint.shutdown());
    Ok(())
}

/// Waits until `count` peers are up. Dialers may see a link up before the node does.
fn up(endpoint: &InetEndpoint, count: usize) {
    let is_up = |peer: &PeerInfo| peer.state == PeerState::Up;
    while endpoint.peers().iter().filter(|peer| is_up(peer)).count() < count {
        thread::sleep(POLL_INTERVAL);
    }
}

/// Floods `count` frames. Only the queue of the stalled peer may refuse them.
fn flood(endpoint: &InetEndpoint, count: u64) -> Result<(), Failure> {
    let stalled = stalled(endpoint);
    for _ in 0..count {
        thread::sleep(PACE);
        let report = endpoint.send_all(frame(endpoint, 1024)?)?;
        let refused = report.refused.iter().find(|(target, _)| Some(*target) != stalled);
        if let Some((target, refusal)) = refused {
            return Err(format!("target {target}: {refusal}").into());
        }
    }
    Ok(())
}

/// Fills the queue of the stalled peer until it refuses even the smallest frame.
fn fill(endpoint: &InetEndpoint) -> Result<(), Failure> {
    // The dialer may see the link up before the node does.
    let target = loop {
        match stalled(endpoint) {
            Some(target) => break target,
            None => thread::sleep(POLL_INTERVAL),
        }
    };
    for size in [32_000, 1024, 16] {
        loop {
            match smol::block_on(endpoint.send(target, frame(endpoint, size)?)) {
                Ok(()) => {}
                Err(refused) if refused.reason() == SendErrorKind::TimedOut => break,
                Err(refused) => return Err(refused.into()),
            }
        }
    }
    Ok(())
}

/// Waits until the stalled peer is gone, and discards its unconfirmed frames.
fn forget(endpoint: &InetEndpoint, events: &Events) -> Result<(), Failure> {
    loop {
        if let Event::Unconfirmed { target, .. } = smol::block_on(events.next())? {
            drop(endpoint.take_unconfirmed(target));
            return Ok(());
        }
    }
}

fn stalled(endpoint: &InetEndpoint) -> Option<Target> {
    let peers = endpoint.peers();
    peers.iter().find(|peer| peer.id == Some(STALLED)).map(|peer| peer.target)
}

/// A frame with a timestamp.
fn frame(endpoint: &InetEndpoint, size: usize) -> Result<Frame, Failure> {
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_nanos() as u64;
    let mut payload = now.to_be_bytes().to_vec();
    payload.resize(size, 0);
    Ok(Frame::builder(8, endpoint.router_id()).payload(payload).build()?)
}
