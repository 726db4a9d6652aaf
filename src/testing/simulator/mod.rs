//! Deterministic simulation of whole nodes on one thread, with an in-memory network and a manual
//! clock.
//!
//! The nodes are real: endpoint, sessions, peers and their queues. Only sockets, clock, executor
//! and random numbers are replaced. A run is determined by its seed, and its real time depends on
//! the number of events, not on the simulated time.

mod bad_neighbours;
mod executor;
mod flows;
mod memory;
mod network;
mod property;
mod rings;
mod simplex;
mod strangers;
mod streams;
mod thundering_herd;
mod two_nodes;

use std::cell::Cell;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use futures_lite::future;

use crate::config::SystemResolver;
use crate::endpoint::open::open;
use crate::primitives::clock;
use crate::proto::{Id, InstanceId};
use crate::session::handle_stream;
use crate::shared::{SharedConfig, TaskRef};
use crate::testing::kit::manual_clock::Clock;
use crate::{
    AcceptPolicy, Event, Events, Frame, InetEndpoint, Limits, PeerInfo, PeerState, Spawn, Target,
};

use executor::{Executor, Group};
use network::{Dialer, Host, Network, PORT, ip};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The seeds of a test: `count` fixed ones, unless the environment overrides them.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let from_env = |name: &str| std::env::var(name).ok()?.parse().ok();
    let first: u64 = from_env("NETMOD_INET_SEED").unwrap_or(0);
    first..first + from_env("NETMOD_INET_CASES").unwrap_or(count)
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
    instances: Cell<u64>,
    /// Time that a router spends on each frame.
    slowness: Duration,
    /// Whether nodes never encrypt: some others are scripted, and cannot.
    #[cfg(feature = "noise")]
    is_plain: bool,
}

/// A running instance of a node.
struct Node {
    host: Host,
    endpoint: InetEndpoint,
    events: Events,
    /// Frames that its router received.
    arrived: Arc<Mutex<Vec<(Target, Frame)>>>,
    group: Group,
    running: Weak<TaskRef>,
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
            instances: Cell::new(0),
            slowness: Duration::ZERO,
            #[cfg(feature = "noise")]
            is_plain: false,
        }
    }

    /// Generates a fresh instance id, which randomly sorts above or below others.
    fn new_instance(&self) -> InstanceId {
        self.instances.set(self.instances.get() + 1);
        let mut bytes = [0; 16];
        bytes[0] = fastrand::u8(..);
        bytes[8..].copy_from_slice(&self.instances.get().to_be_bytes());
        bytes.into()
    }

    /// Starts a listening node as a new instance.
    fn start(&mut self, host: Host) -> Node {
        let instance_id = self.new_instance();
        self.start_as(host, instance_id, Limits::default())
    }

    fn start_as(&mut self, host: Host, instance_id: InstanceId, limits: Limits) -> Node {
        let node = self.open(host, instance_id, limits);
        let router = run_router(node.endpoint.clone(), node.arrived.clone(), self.slowness);
        node.spawn(router);
        node
    }

    /// Starts a listening node without a router.
    fn open(&mut self, host: Host, instance_id: InstanceId, limits: Limits) -> Node {
        let group = self.executor.group();
        let mut id = [0; 32];
        id[..2].copy_from_slice(&host.to_be_bytes());
        let (endpoint, running) = open(
            SharedConfig {
                id: Id::from_bytes(id),
                instance_id,
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
        let (arrived, events) = (Arc::default(), endpoint.events());
        Node { host, events, endpoint, arrived, group, running: Arc::downgrade(&running) }
    }

    /// With `NETMOD_INET_ENCRYPTED` in the environment all nodes require encryption. Each host has
    /// its own key.
    #[cfg(feature = "noise")]
    fn encryption(&self, host: Host) -> Option<crate::Encryption> {
        if self.is_plain {
            return None;
        }
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
        mut condition: impl FnMut() -> bool,
    ) -> Duration {
        let start = self.now();
        loop {
            self.executor.run();
            if condition() {
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
async fn run_router(
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
    /// Spawns a task that ends with the node.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.group.spawn(Box::pin(task));
    }

    /// What the tasks of the node share.
    fn shared(&self) -> Arc<TaskRef> {
        self.running.upgrade().expect("a running node")
    }

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
    fn drain_events(&self) -> Vec<Event> {
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
