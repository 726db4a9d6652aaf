//! The peers: endpoints in this process, half of which the node dials.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use netmod_inet::{Event, Frame, InetEndpoint, StartError};

use crate::bench_util::child::Failure;

/// Peers that the peer file has only every other time.
const CHANGING: usize = 10;

/// Time until the address of an endpoint that was dropped is free.
const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Crowd {
    members: Vec<Member>,
    /// Where the node listens.
    node: String,
    links: Arc<AtomicUsize>,
    adds: u64,
    reloads: u64,
}

struct Member {
    /// Where it listens, if the node dials it.
    addr: Option<String>,
    endpoint: Option<InetEndpoint>,
}

impl Crowd {
    /// Nobody is there yet.
    pub(crate) fn new(count: usize) -> Result<Crowd, Failure> {
        let mut members = Vec::new();
        for number in 0..count {
            // Addresses of their own, so that no connection takes the port of one that is away.
            let addr =
                (number % 2 == 0).then(|| format!("127.1.{}.{}:0", number / 200, number % 200 + 1));
            let addr = addr.map(|addr| std::net::TcpListener::bind(addr)?.local_addr());
            let addr = addr.transpose()?.map(|addr| addr.to_string());
            members.push(Member { addr, endpoint: None });
        }
        let (links, adds) = (Arc::default(), (count as u64).div_ceil(2));
        Ok(Crowd { members, node: String::new(), links, adds, reloads: 0 })
    }

    /// The peer file, with or without some of the peers.
    pub(crate) fn listed(&self, without: bool) -> String {
        let addrs: Vec<&str> =
            self.members.iter().filter_map(|member| member.addr.as_deref()).collect();
        addrs[if without { CHANGING } else { 0 }..].join("\n")
    }

    pub(crate) fn note_reload(&mut self, adds: bool) {
        self.reloads += 1;
        self.adds += if adds { CHANGING as u64 } else { 0 };
    }

    pub(crate) fn reloads(&self) -> u64 {
        self.reloads
    }

    /// How often the node was told to dial a peer.
    pub(crate) fn adds(&self) -> u64 {
        self.adds
    }

    /// Links that the peers had, in all.
    pub(crate) fn links(&self) -> u64 {
        self.links.load(Ordering::Relaxed) as u64
    }

    pub(crate) fn know(&mut self, node: &str) {
        self.node = node.to_owned();
    }

    /// Has a peer come that is away, or go that is there.
    pub(crate) fn change_one(&mut self) -> Result<(), Failure> {
        let at = fastrand::usize(..self.members.len());
        let member = &mut self.members[at];
        match member.endpoint.take() {
            Some(endpoint) if fastrand::bool() => {
                smol::spawn(async move { endpoint.shutdown().await }).detach();
            }
            Some(_) => {}
            None => {
                let endpoint = smol::block_on(come(member.addr.as_deref(), &self.node))?;
                smol::spawn(count(endpoint.events(), self.links.clone())).detach();
                member.endpoint = Some(endpoint);
            }
        }
        Ok(())
    }

    /// Has a peer that is there send a frame.
    pub(crate) fn say_something(&self) {
        let at = fastrand::usize(..self.members.len());
        let Some(endpoint) = &self.members[at].endpoint else { return };
        let frame = Frame::builder(8, endpoint.router_id()).payload(vec![7; 1_024]).build();
        // It may have no link just now.
        let _ = frame.map(|frame| endpoint.send_all(frame));
    }

    /// Has everybody go.
    pub(crate) fn leave(&mut self) {
        for member in &mut self.members {
            if let Some(endpoint) = member.endpoint.take() {
                smol::block_on(endpoint.shutdown());
            }
        }
    }
}

/// An endpoint that listens at `addr`, or dials the node.
async fn come(addr: Option<&str>, node: &str) -> Result<InetEndpoint, Failure> {
    let Some(addr) = addr else {
        let endpoint = InetEndpoint::builder().start().await?;
        endpoint.add_peers([node]).await?;
        return Ok(endpoint);
    };
    let end = Instant::now() + SOON;
    loop {
        match InetEndpoint::start(addr).await {
            Err(StartError::Bind { .. }) if Instant::now() < end => {
                smol::Timer::after(Duration::from_millis(10)).await;
            }
            started => return Ok(started?),
        }
    }
}

/// Counts the links of an endpoint until it is gone.
async fn count(events: netmod_inet::Events, links: Arc<AtomicUsize>) {
    while let Ok(event) = events.next().await {
        if matches!(event, Event::Up { .. }) {
            links.fetch_add(1, Ordering::Relaxed);
        }
    }
}
