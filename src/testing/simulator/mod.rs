//! Deterministic simulation of whole nodes on one thread, with an in-memory network and a manual
//! clock.
//!
//! The nodes are real: endpoint, sessions, peers and their queues. Only sockets, clock, executor
//! and random numbers are replaced. A run is determined by its seed, and its real time depends on
//! the number of events, not on the simulated time.

mod executor;
mod network;
mod property;
mod simplex;
mod thundering_herd;
mod two_nodes;

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_lite::future;

use crate::config::SystemResolver;
use crate::endpoint::builder::open;
use crate::primitives::clock;
use crate::proto::{Bits, Id};
use crate::session::handle_stream;
use crate::shared::{SharedConfig, TaskRef};
use crate::testing::kit::manual_clock::Clock;
use crate::{
    AcceptPolicy, Event, Events, Frame, InetEndpoint, Limits, PeerInfo, PeerState, Target,
};

use executor::{Executor, Group};
use network::{Dialer, Host, Network, PORT, ip};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The seeds of a test: `count` fixed ones, unless the environment overrides them.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let given = |name: &str| std::env::var(name).ok()?.parse().ok();
    let first: u64 = given("NETMOD_INET_SEED").unwrap_or(0);
    first..first + given("NETMOD_INET_CASES").unwrap_or(count)
}

/// The simulated world: network, executor and clock.
struct World {
    seed: u64,
    random: fastrand::Rng,
    network: Arc<Network>,
    // Dropped before the clock, which its tasks access when they are dropped.
    executor: Executor,
    clock: Clock,
    start: Instant,
    boots: Cell<u64>,
    /// Time that a router spends on each frame.
    slowness: Duration,
}

/// A running instance of a node.
struct Node {
    host: Host,
    endpoint: InetEndpoint,
    events: Events,
    /// Frames that its router received.
    arrived: Arc<Mutex<Vec<(Target, Frame)>>>,
    group: Group,
}

impl World {
    fn new(seed: u64, latency: RangeInclusive<Duration>) -> World {
        let clock = Clock::install();
        fastrand::seed(seed);
        World {
            seed,
            random: fastrand::Rng::with_seed(seed ^ 0x5eed),
            network: Network::new(seed ^ 0xcab1e, latency),
            executor: Executor::new(seed ^ 0x7a5c5),
            clock,
            start: clock::now(),
            boots: Cell::new(0),
            slowness: Duration::ZERO,
        }
    }

    /// Generates a fresh instance id, which randomly sorts above or below others.
    fn new_boot(&self) -> Bits {
        self.boots.set(self.boots.get() + 1);
        let mut boot = [0; 16];
        boot[0] = fastrand::u8(..);
        boot[8..].copy_from_slice(&self.boots.get().to_be_bytes());
        boot
    }

    /// Starts a listening node as a new instance.
    fn start(&mut self, host: Host) -> Node {
        let boot = self.new_boot();
        self.start_as(host, boot, Limits::default())
    }

    fn start_as(&mut self, host: Host, boot: Bits, limits: Limits) -> Node {
        let group = self.executor.group();
        let mut id = [0; 32];
        id[..2].copy_from_slice(&host.to_be_bytes());
        let (endpoint, running) = open(
            SharedConfig {
                id: Id::from_bytes(id),
                instance_id: boot,
                limits,
                frames_follow_id: false,
                resolver: Box::new(SystemResolver::default()),
                connector: Box::new(Dialer { network: self.network.clone(), host }),
                policy: AcceptPolicy::all(),
                #[cfg(feature = "noise")]
                encryption: self.encryption(host),
                spawner: Box::new(group.clone()),
            },
            &[],
        );
        self.listen(host, &running);
        let arrived = Arc::new(Mutex::new(Vec::new()));
        running.spawn(hand_out(endpoint.clone(), arrived.clone(), self.slowness));
        Node { host, events: endpoint.events(), endpoint, arrived, group }
    }

    /// With `NETMOD_INET_ENCRYPTED` in the environment all nodes require encryption. Each host has
    /// its own key.
    #[cfg(feature = "noise")]
    fn encryption(&self, host: Host) -> Option<crate::Encryption> {
        std::env::var_os("NETMOD_INET_ENCRYPTED")?;
        let mut key = [7; 32];
        key[..2].copy_from_slice(&host.to_be_bytes());
        Some(crate::Encryption::new(crate::KeyPair::from_bytes(key)).required())
    }

    fn listen(&self, host: Host, running: &Arc<TaskRef>) {
        let incoming = self.network.listen(host);
        let task = running.clone();
        running.spawn(async move {
            let accepting = async {
                while let Ok((stream, addr)) = incoming.recv().await {
                    if task.admits_addr(addr) {
                        task.spawn(handle_stream(task.clone(), stream, addr));
                    }
                }
            };
            future::or(accepting, task.stopping()).await;
        });
    }

    /// Crashes a node. Its host closes its connections, unless it was powered off before.
    fn crash(&mut self, node: Node) {
        self.network.stop_listening(node.host);
        self.executor.end(&node.group);
        // Frames that it had accepted by then.
        while let Ok(Some(frame)) = node.endpoint.try_next() {
            node.arrived.lock().unwrap().push(frame);
        }
    }

    fn now(&self) -> Duration {
        clock::since(self.start)
    }

    /// Advances the clock by `time`.
    fn run_for(&mut self, time: Duration) {
        let until = clock::now() + time;
        self.executor.run();
        while let Some(next) = self.clock.next().filter(|next| *next <= until) {
            self.clock.advance(next.saturating_duration_since(clock::now()));
            self.executor.run();
        }
        self.clock.advance(until.saturating_duration_since(clock::now()));
        self.executor.run();
    }

    /// Advances the clock by a random time of at most `longest`.
    fn run_for_up_to(&mut self, longest: Duration) {
        let time = longest.mul_f64(self.random.f64());
        self.run_for(time);
    }

    /// Advances the clock in small steps until a condition holds, and returns the time that it
    /// took.
    fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut is_so: impl FnMut() -> bool,
    ) -> Duration {
        let start = self.now();
        loop {
            self.executor.run();
            if is_so() {
                return self.now() - start;
            }
            assert!(self.now() - start < limit, "no {what} within {limit:?}");
            self.run_for(MS);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("NETMOD_INET_SEED={} NETMOD_INET_CASES=1", self.seed);
        }
    }
}

/// Simulates a router that spends `slowness` on each frame.
async fn hand_out(
    endpoint: InetEndpoint,
    arrived: Arc<Mutex<Vec<(Target, Frame)>>>,
    slowness: Duration,
) {
    while let Ok(frame) = endpoint.next().await {
        arrived.lock().unwrap().push(frame);
        clock::after(slowness).await;
    }
}

impl Node {
    /// Sends frames with these numbers.
    fn send(&self, target: Target, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.endpoint.try_send(target, frame(number)).expect("there is room");
        }
    }

    /// The numbers of the frames that its router received.
    fn numbers(&self) -> Vec<u64> {
        self.arrived.lock().unwrap().iter().map(|(_, frame)| number(frame)).collect()
    }

    /// The address at which other nodes dial it.
    fn addr(&self) -> String {
        addr_of(self.host)
    }

    /// Dials another node.
    fn dial(&self, addr: impl std::fmt::Display) -> Target {
        future::block_on(self.endpoint.add_peers([addr])).expect("the address is right")[0]
    }

    /// The peers whose links are up.
    fn up(&self) -> Vec<PeerInfo> {
        let peers = self.endpoint.peers().into_iter();
        peers.filter(|peer| peer.state == PeerState::Up).collect()
    }

    /// Drains the events since the last call.
    fn told(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_next().ok().flatten()).collect()
    }
}

/// Builds a frame whose payload is its number.
fn frame(number: u64) -> Frame {
    let id = Id::from_bytes([8; 32]);
    Frame::builder(8, id).payload(number.to_be_bytes().to_vec()).build().expect("a small frame")
}

fn number(frame: &Frame) -> u64 {
    u64::from_be_bytes(frame.payload().try_into().expect("a frame of this simulator"))
}

fn addr_of(host: Host) -> String {
    format!("{}:{PORT}", ip(host, false))
}
