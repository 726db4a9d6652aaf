//! One of the two measured processes: endpoints, a receiving task for each, and a main thread that
//! blocks on standard input.
//!
//! The listener has one endpoint. The dialer has one per link, since links between the same two
//! endpoints are merged.

use std::future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use netmod_inet::{AcceptPolicy, Frame, InetEndpoint, Limits, PeerState};
use smol::Executor;

use super::child::Failure;
use super::links::{Links, Role};

/// Interval of polling while a command waits. An idle process does not poll.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Time after which a command fails.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Executes commands until the end of standard input.
pub(crate) fn run(role: Role, links: &Links) -> Result<(), Failure> {
    let member = Member::start(role, links)?;
    println!("ready {}", member.endpoints.iter().find_map(InetEndpoint::port).unwrap_or(0));
    for line in io::stdin().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("dial", port) => member.dial(port.parse()?)?,
            ("up", _) => member.wait_for(|| member.links_up() == member.links)?,
            ("flood", payload) => member.flood(payload.parse()?)?,
            ("received", count) => {
                let count: usize = count.parse()?;
                member.wait_for(|| member.received.load(Ordering::Relaxed) == count)?;
            }
            ("send", _) => member.send()?,
            _ => return Err(format!("there is no command \"{line}\"").into()),
        }
        println!("done");
    }
    for endpoint in &member.endpoints {
        smol::block_on(endpoint.shutdown());
    }
    Ok(())
}

struct Member {
    endpoints: Vec<InetEndpoint>,
    links: usize,
    /// Frames received.
    received: Arc<AtomicUsize>,
}

impl Member {
    fn start(role: Role, links: &Links) -> Result<Member, Failure> {
        let Links { count: links, own } = *links;
        let mut limits = Limits::default();
        // All links come from one address at the same time. An eighth of the places is for nodes with
        // a listed key.
        limits.peers = (links + links / 7 + 1).min(20_000);
        (limits.max_handshakes, limits.max_handshakes_per_addr) = (links, links);
        let policy = AcceptPolicy::none().allow("127.0.0.0/8".parse()?);
        let executor = own.then(drive).transpose()?;
        let received = Arc::new(AtomicUsize::new(0));
        let count = if role == Role::Dialer { links } else { 1 };
        let mut endpoints = Vec::new();
        for _ in 0..count {
            let builder = InetEndpoint::builder().limits(limits.clone()).accept(policy.clone());
            let builder = match role {
                Role::Dialer => builder,
                Role::Listener => builder.bind("127.0.0.1:0"),
            };
            let builder = match executor {
                Some(executor) => builder.spawner(executor),
                None => builder,
            };
            let endpoint = smol::block_on(builder.start())?;
            let router = route(endpoint.clone(), received.clone());
            match executor {
                Some(executor) => executor.spawn(router).detach(),
                None => smol::spawn(router).detach(),
            }
            endpoints.push(endpoint);
        }
        Ok(Member { endpoints, links, received })
    }

    /// Dials the listener, once from each endpoint.
    fn dial(&self, port: u16) -> Result<(), Failure> {
        for endpoint in &self.endpoints {
            smol::block_on(endpoint.add_peers([format!("127.0.0.1:{port}")]))?;
        }
        Ok(())
    }

    fn links_up(&self) -> usize {
        let peers = self.endpoints.iter().flat_map(InetEndpoint::peers);
        peers.filter(|peer| peer.state == PeerState::Up).count()
    }

    fn wait_for(&self, is_done: impl Fn() -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + TIMEOUT;
        while !is_done() {
            if Instant::now() > deadline {
                let received = self.received.load(Ordering::Relaxed);
                let up = self.links_up();
                return Err(format!("after {TIMEOUT:?}: {up} links up, {received} frames").into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Sends a frame over each link.
    fn flood(&self, payload: usize) -> Result<(), Failure> {
        for endpoint in &self.endpoints {
            let report = endpoint.send_all(frame(endpoint, payload)?)?;
            if let Some((target, refusal)) = report.refused.first() {
                return Err(format!("target {target}: {refusal}").into());
            }
        }
        Ok(())
    }

    /// Sends a frame over one link.
    fn send(&self) -> Result<(), Failure> {
        let endpoint = self.endpoints.first().ok_or("there is no endpoint")?;
        let target = endpoint.peers().first().ok_or("there is no link")?.target;
        Ok(endpoint.try_send(target, frame(endpoint, 64)?)?)
    }
}

fn frame(from: &InetEndpoint, payload: usize) -> Result<Frame, Failure> {
    Ok(Frame::builder(8, from.router_id()).payload(vec![7; payload]).build()?)
}

/// Counts received frames.
async fn route(endpoint: InetEndpoint, received: Arc<AtomicUsize>) {
    while endpoint.next().await.is_ok() {
        received.fetch_add(1, Ordering::Relaxed);
    }
}

/// An executor driven by a dedicated thread until the process ends.
fn drive() -> io::Result<&'static Executor<'static>> {
    let executor: &'static Executor<'static> = Box::leak(Box::default());
    std::thread::Builder::new()
        .name("driver".to_owned())
        .spawn(|| smol::block_on(executor.run(future::pending::<()>())))?;
    Ok(executor)
}
