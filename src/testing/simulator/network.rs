//! An in-memory network of hosts, with connections that behave like TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};

use crate::primitives::clock;
use crate::testing::simulator::simplex::Simplex;
use crate::transport::{Connect, ConnectFuture, Stream};

/// The number of a machine.
pub(crate) type Host = u16;

/// The port that every node listens on.
pub(crate) const PORT: u16 = 9000;

/// A second network that connects every host, under another address.
const OTHER_NETWORK: u8 = 11;

/// Times after which a kernel closes a connection to a dead remote, while it is idle or with data
/// in flight. As configured by this crate.
const KEEPALIVE: Duration = Duration::from_secs(60);
const USER_TIMEOUT: Duration = Duration::from_secs(180);

/// The address of a host, in the first or in the other network.
pub(crate) fn ip(host: Host, in_other_network: bool) -> IpAddr {
    let [high, low] = host.to_be_bytes();
    let network = if in_other_network { OTHER_NETWORK } else { OTHER_NETWORK - 1 };
    Ipv4Addr::new(network, 0, high, low).into()
}

fn host_at(addr: SocketAddr) -> Option<Host> {
    match addr.ip() {
        IpAddr::V4(ip) if addr.port() == PORT => {
            let [_, _, high, low] = ip.octets();
            Some(Host::from_be_bytes([high, low]))
        }
        _ => None,
    }
}

/// An accepted connection and its source address.
pub(crate) type Accepted = (Arc<dyn Stream>, SocketAddr);

/// Which hosts notice that a connection was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Both see a reset.
    Both,
    /// Only this host does; the other keeps a half-open connection.
    SeenBy(Host),
}

/// All hosts and their connections.
pub(crate) struct Network {
    state: Mutex<State>,
}

struct State {
    random: fastrand::Rng,
    /// One-way delay.
    latency: RangeInclusive<Duration>,
    listeners: BTreeMap<Host, Sender<Accepted>>,
    /// Partitioned pairs of hosts, lower number first.
    partitions: BTreeSet<(Host, Host)>,
    /// Bytes per second in each direction of a connection between slow pairs of hosts.
    rates: BTreeMap<(Host, Host), u32>,
    /// Hosts that are powered off.
    powered_off: BTreeSet<Host>,
    connections: BTreeMap<u64, Connection>,
    last_connection: u64,
    /// When connections were opened, since this was last drained.
    opened: Vec<Instant>,
}

struct Connection {
    hosts: [Host; 2],
    /// The direction that each end writes to.
    directions: [Simplex; 2],
    /// Whether each end was dropped, and whether it was lost without notice to the other.
    is_gone: [bool; 2],
    is_lost: [bool; 2],
}

impl Network {
    pub(crate) fn new(seed: u64, latency: RangeInclusive<Duration>) -> Arc<Network> {
        Arc::new(Network {
            state: Mutex::new(State {
                random: fastrand::Rng::with_seed(seed),
                latency,
                listeners: BTreeMap::new(),
                partitions: BTreeSet::new(),
                rates: BTreeMap::new(),
                powered_off: BTreeSet::new(),
                connections: BTreeMap::new(),
                last_connection: 0,
                opened: Vec::new(),
            }),
        })
    }

    /// Starts listening on a host.
    pub(crate) fn listen(&self, host: Host) -> Receiver<Accepted> {
        let (sender, receiver) = async_channel::unbounded();
        let before = self.lock().listeners.insert(host, sender);
        // Outside of the lock, since it may own connections.
        drop(before);
        receiver
    }

    /// Stops listening: later connections to the host are refused.
    pub(crate) fn stop_listening(&self, host: Host) {
        let listener = self.lock().listeners.remove(&host);
        drop(listener);
    }

    /// Partitions two hosts. Data in flight is delayed, not lost, since TCP retransmits it.
    pub(crate) fn partition(&self, one: Host, other: Host) {
        let mut state = self.lock();
        state.partitions.insert(pair(one, other));
        state.stall(|hosts| pair(hosts[0], hosts[1]) == pair(one, other));
    }

    /// Heals a partition.
    pub(crate) fn heal(&self, one: Host, other: Host) {
        let mut state = self.lock();
        state.partitions.remove(&pair(one, other));
        state.release_stalled();
    }

    /// Limits the rate between two hosts, in bytes per second. `None`: it is not limited.
    pub(crate) fn set_rate(&self, one: Host, other: Host, rate: Option<u32>) {
        let rates = &mut self.lock().rates;
        match rate {
            Some(rate) => rates.insert(pair(one, other), rate),
            None => rates.remove(&pair(one, other)),
        };
    }

    /// Powers a host off: its connections are lost, without notice to the remotes.
    pub(crate) fn power_off(&self, host: Host) {
        let mut state = self.lock();
        state.powered_off.insert(host);
        for connection in state.connections.values_mut() {
            for side in 0..2 {
                if connection.hosts[side] == host {
                    connection.lose(side);
                }
            }
        }
        state.stall(|hosts| hosts.contains(&host));
    }

    /// Powers a host on.
    pub(crate) fn power_on(&self, host: Host) {
        let mut state = self.lock();
        state.powered_off.remove(&host);
        state.release_stalled();
    }

    /// Cuts all connections between two hosts.
    pub(crate) fn cut(&self, one: Host, other: Host, how: Cut) {
        let mut state = self.lock();
        let State { random, latency, connections, .. } = &mut *state;
        for connection in connections.values_mut() {
            if pair(connection.hosts[0], connection.hosts[1]) != pair(one, other) {
                continue;
            }
            for side in 0..2 {
                match how {
                    Cut::SeenBy(host) if connection.hosts[side] != host => {
                        connection.lose(1 - side);
                    }
                    _ => connection.directions[1 - side]
                        .fail(clock::now() + one_way(random, latency)),
                }
            }
        }
    }

    /// Number of connections of which both ends are open.
    pub(crate) fn connections(&self) -> usize {
        self.lock().connections.values().filter(|open| open.is_gone == [false; 2]).count()
    }

    /// Drains the times at which connections were opened since the last call.
    pub(crate) fn take_opened(&self) -> Vec<Instant> {
        std::mem::take(&mut self.lock().opened)
    }

    fn latency(&self) -> Duration {
        let State { random, latency, .. } = &mut *self.lock();
        one_way(random, latency)
    }

    /// Handles a SYN. `None`: there is no reply.
    fn syn(self: &Arc<Self>, from: Host, addr: SocketAddr) -> Option<io::Result<Socket>> {
        let mut state = self.lock();
        let to = host_at(addr)?;
        if state.is_unreachable([from, to]) {
            return None;
        }
        let Some(listener) = state.listeners.get(&to).cloned() else {
            return Some(Err(io::ErrorKind::ConnectionRefused.into()));
        };
        state.last_connection += 1;
        let number = state.last_connection;
        let connection = Connection {
            hosts: [from, to],
            directions: Default::default(),
            is_gone: [false; 2],
            is_lost: [false; 2],
        };
        state.connections.insert(number, connection);
        state.opened.push(clock::now());
        drop(state);
        let [dialer, accepted] = [0, 1].map(|side| Socket { network: self.clone(), number, side });
        let is_other_network = addr.ip() != ip(to, false);
        let source = SocketAddr::new(ip(from, is_other_network), 50_000 + (number % 10_000) as u16);
        // If the listener was dropped just now, the connection is closed at once.
        let _ = listener.try_send((Arc::new(accepted), source));
        Some(Ok(dialer))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn pair(one: Host, other: Host) -> (Host, Host) {
    (one.min(other), one.max(other))
}

fn one_way(random: &mut fastrand::Rng, latency: &RangeInclusive<Duration>) -> Duration {
    let [low, high] = [latency.start(), latency.end()].map(|time| time.as_micros() as u64);
    Duration::from_micros(random.u64(low..=high))
}

impl State {
    fn is_unreachable(&self, hosts: [Host; 2]) -> bool {
        self.partitions.contains(&pair(hosts[0], hosts[1]))
            || hosts.iter().any(|host| self.powered_off.contains(host))
    }

    /// Delays the data in flight on the selected connections until `release_stalled`.
    fn stall(&mut self, which: impl Fn([Host; 2]) -> bool) {
        for connection in self.connections.values_mut().filter(|open| which(open.hosts)) {
            connection.directions.iter_mut().for_each(Simplex::stall);
        }
    }

    /// Releases delayed data on the connections between reachable hosts.
    fn release_stalled(&mut self) {
        let numbers: Vec<u64> = self.connections.keys().copied().collect();
        for number in numbers {
            let latency = one_way(&mut self.random, &self.latency);
            let is_unreachable = self.is_unreachable(self.connections[&number].hosts);
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            if is_unreachable {
                continue;
            }
            for side in 0..2 {
                let was_stalled =
                    connection.directions[side].release_stalled(clock::now() + latency);
                // Retransmitted data reaches a host that does not know the connection, sooner or
                // later, and draws a reset.
                let draws_reset = connection.is_gone[1 - side]
                    || (connection.is_lost[1 - side] && self.random.bool());
                if was_stalled && draws_reset {
                    connection.directions[1 - side].fail(clock::now() + 2 * latency);
                }
            }
        }
    }

    /// Arrival time of data that is sent now. `None`: it is delayed indefinitely.
    fn arrival(&mut self, hosts: [Host; 2]) -> Option<Instant> {
        let latency = one_way(&mut self.random, &self.latency);
        (!self.is_unreachable(hosts)).then(|| clock::now() + latency)
    }
}

/// Connects from one host.
pub(crate) struct Dialer {
    pub(crate) network: Arc<Network>,
    pub(crate) host: Host,
}

impl Connect for Dialer {
    fn connect(&self, addr: SocketAddr) -> ConnectFuture {
        let (network, host) = (self.network.clone(), self.host);
        Box::pin(async move {
            let mut retransmit_after = Duration::from_secs(1);
            loop {
                clock::after(network.latency()).await;
                if let Some(reply) = network.syn(host, addr) {
                    clock::after(network.latency()).await;
                    return reply.map(|end| Arc::new(end) as Arc<dyn Stream>);
                }
                clock::after(retransmit_after).await;
                retransmit_after *= 2;
            }
        })
    }
}

/// One socket of a connection.
struct Socket {
    network: Arc<Network>,
    number: u64,
    side: usize,
}

impl Socket {
    /// Accesses the connection. `f` also gets the arrival time of anything that this end writes
    /// now.
    fn with<T>(&self, f: impl FnOnce(&mut Connection, Option<Instant>) -> T) -> T {
        let mut state = self.network.lock();
        let hosts = state.connections[&self.number].hosts;
        let arrival = state.arrival(hosts);
        f(state.connections.get_mut(&self.number).expect("an end is left"), arrival)
    }

    fn rate(&self) -> Option<u32> {
        let state = self.network.lock();
        let [one, other] = state.connections[&self.number].hosts;
        state.rates.get(&pair(one, other)).copied()
    }

    fn incoming<T>(&self, f: impl FnOnce(&mut Simplex) -> T) -> T {
        self.with(|connection, _| f(&mut connection.directions[1 - self.side]))
    }
}

impl Stream for Socket {
    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.incoming(|direction| direction.read(buffer))
    }

    fn try_write(&self, slices: &[IoSlice<'_>], _ends_record: bool) -> io::Result<usize> {
        let rate = self.rate();
        self.with(|connection, arrival| {
            let [outgoing, incoming] = connection.between(self.side);
            if incoming.has_failed() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let was_empty = outgoing.is_empty();
            let written = outgoing.write(slices, arrival, rate)?;
            let other = 1 - self.side;
            // A host that does not know the connection replies with a reset. Only the first segment
            // draws one: with unacknowledged data in flight nothing new is transmitted.
            let is_unknown = connection.is_gone[other] || connection.is_lost[other];
            if let (true, true, Some(arrival)) = (is_unknown, was_empty, arrival) {
                let reset_at = arrival + arrival.duration_since(clock::now());
                connection.directions[other].fail(reset_at);
            }
            Ok(written)
        })
    }

    fn end_turn(&self) {}

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.incoming(|direction| direction.poll_readable(cx))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|connection, _| {
            let [outgoing, incoming] = connection.between(self.side);
            match incoming.has_failed() {
                true => Poll::Ready(Ok(())),
                false => outgoing.poll_writable(cx),
            }
        })
    }

    fn close_write(&self) {
        self.with(|connection, arrival| connection.directions[self.side].end(arrival));
    }

    fn has_pending_write(&self) -> bool {
        false
    }

    fn activity(&self) -> u32 {
        0
    }

    fn force_keepalive_verdict(&self) {}

    fn start_keepalive_probe(&self) -> bool {
        self.with(|connection, arrival| {
            let other = 1 - self.side;
            let is_unknown = connection.is_gone[other] || connection.is_lost[other];
            // The kernel does not send keepalive probes while data is in flight.
            if is_unknown && connection.directions[self.side].is_empty() {
                let seconds = if arrival.is_some() { 1 } else { 3 };
                connection.directions[other].fail(clock::now() + Duration::from_secs(seconds));
            }
        });
        true
    }

    fn restore_keepalive(&self) {}

    fn abort(&self) {
        self.with(|connection, arrival| {
            let [outgoing, incoming] = connection.between(self.side);
            outgoing.end(arrival);
            incoming.shut();
        });
    }
}

impl Connection {
    /// Drops one end without notice. The remote's kernel detects it by its timeouts.
    fn lose(&mut self, side: usize) {
        self.is_lost[side] = true;
        let timeout = if self.directions[1 - side].is_empty() { KEEPALIVE } else { USER_TIMEOUT };
        self.directions[side].fail(clock::now() + timeout);
    }

    /// The outgoing and the incoming direction of one end.
    fn between(&mut self, side: usize) -> [&mut Simplex; 2] {
        let [one, other] = &mut self.directions;
        if side == 0 { [one, other] } else { [other, one] }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.with(|connection, arrival| {
            let is_lost = connection.is_lost[self.side];
            let [outgoing, incoming] = connection.between(self.side);
            if !is_lost {
                // Closing a socket with unread input sends a reset.
                match (incoming.is_empty(), arrival) {
                    (false, Some(arrival)) => outgoing.fail(arrival),
                    _ => outgoing.end(arrival),
                }
            }
            incoming.shut();
            connection.is_gone[self.side] = true;
        });
        let mut state = self.network.lock();
        if state.connections[&self.number].is_gone == [true; 2] {
            state.connections.remove(&self.number);
        }
    }
}
