//! The peers: endpoints of this process, half of which the node dials.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use netmod_inet::{Event, Frame, InetEndpoint, StartError};

use crate::bench_util::child::Failure;

/// Peers that every other version of the peer file leaves out.
const OPTIONAL_PEERS: usize = 10;

/// Time for the address of a dropped endpoint to become free.
const REBIND_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Crowd {
    members: Vec<Member>,
    /// The address of the node.
    node: String,
    links: Arc<AtomicUsize>,
    adds: u64,
    reloads: u64,
}

struct Member {
    /// The address it listens on, if the node dials it.
    addr: Option<String>,
    endpoint: Option<InetEndpoint>,
}

impl Crowd {
    /// Creates the peers, all of them offline.
    pub(crate) fn new(count: usize) -> Result<Crowd, Failure> {
        let mut members = Vec::new();
        for number in 0..count {
            // Distinct addresses, so that an outgoing connection cannot take the port of an offline
            // peer.
            let addr =
                (number % 2 == 0).then(|| format!("127.1.{}.{}:0", number / 200, number % 200 + 1));
            let addr = addr.map(|addr| std::net::TcpListener::bind(addr)?.local_addr());
            let addr = addr.transpose()?.map(|addr| addr.to_string());
            members.push(Member { addr, endpoint: None });
        }
        let (links, adds) = (Arc::default(), (count as u64).div_ceil(2));
        Ok(Crowd { members, node: String::new(), links, adds, reloads: 0 })
    }

    /// The content of the peer file, `without` some of the peers or with all.
    pub(crate) fn listed(&self, without: bool) -> String {
        let addrs: Vec<&str> =
            self.members.iter().filter_map(|member| member.addr.as_deref()).collect();
        addrs[if without { OPTIONAL_PEERS } else { 0 }..].join("\n")
    }

    pub(crate) fn record_reload(&mut self, adds: bool) {
        self.reloads += 1;
        self.adds += if adds { OPTIONAL_PEERS as u64 } else { 0 };
    }

    pub(crate) fn reloads(&self) -> u64 {
        self.reloads
    }

    /// How often a peer was added to the node.
    pub(crate) fn adds(&self) -> u64 {
        self.adds
    }

    /// Links of all peers so far.
    pub(crate) fn links(&self) -> u64 {
        self.links.load(Ordering::Relaxed) as u64
    }

    pub(crate) fn set_node(&mut self, node: &str) {
        self.node = node.to_owned();
    }

    /// Starts a random peer, or stops it if it is online.
    pub(crate) fn toggle_one(&mut self) -> Result<(), Failure> {
        let at = fastrand::usize(..self.members.len());
        let member = &mut self.members[at];
        match member.endpoint.take() {
            Some(endpoint) if fastrand::bool() => {
                smol::spawn(async move { endpoint.shutdown().await }).detach();
            }
            Some(_) => {}
            None => {
                let endpoint = smol::block_on(start(member.addr.as_deref(), &self.node))?;
                smol::spawn(count(endpoint.events(), self.links.clone())).detach();
                member.endpoint = Some(endpoint);
            }
        }
        Ok(())
    }

    /// Sends a frame from a random peer, if it is online.
    pub(crate) fn send_frame(&self) {
        let at = fastrand::usize(..self.members.len());
        let Some(endpoint) = &self.members[at].endpoint else { return };
        let frame = Frame::builder(8, endpoint.router_id()).payload(vec![7; 1_024]).build();
        // It may have no link at the moment.
        let _ = frame.map(|frame| endpoint.send_all(frame));
    }

    /// Stops all peers.
    pub(crate) fn stop_all(&mut self) {
        for member in &mut self.members {
            if let Some(endpoint) = member.endpoint.take() {
                smol::block_on(endpoint.shutdown());
            }
        }
    }
}

/// Starts an endpoint that listens on `addr`, or else dials the node.
async fn start(addr: Option<&str>, node: &str) -> Result<InetEndpoint, Failure> {
    let Some(addr) = addr else {
        let endpoint = InetEndpoint::builder().start().await?;
        endpoint.add_peers([node]).await?;
        return Ok(endpoint);
    };
    let end = Instant::now() + REBIND_TIMEOUT;
    loop {
        match InetEndpoint::start(addr).await {
            Err(StartError::Bind { .. }) if Instant::now() < end => {
                smol::Timer::after(Duration::from_millis(10)).await;
            }
            started => return Ok(started?),
        }
    }
}

/// Counts the links of an endpoint until it stops.
async fn count(events: netmod_inet::Events, links: Arc<AtomicUsize>) {
    while let Ok(event) = events.next().await {
        if matches!(event, Event::Up { .. }) {
            links.fetch_add(1, Ordering::Relaxed);
        }
    }
}
