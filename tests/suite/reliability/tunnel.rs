//! A line that loses packets, which no TCP proxy can: a TUN device in a network of its own, and
//! a forwarder that delays what goes into it, loses some of it or swallows all.
//!
//! A connection from this machine to [`FAR`] reaches a listener on this machine: the forwarder
//! swaps the two addresses of each packet, and checksums do not change with that.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::ioctl::{Setter, ioctl, opcode};

use super::network::{in_own_network, ip};
use super::process::{part, skipped};

/// This machine.
pub(super) const NEAR: &str = "10.9.0.1";

/// What is reached through the tunnel.
pub(super) const FAR: &str = "10.9.0.2";

const DEVICE: &str = "/dev/net/tun";

/// Packets that are on their way at most; the next are lost, as in any router.
const MOST_UNDER_WAY: usize = 2_000;

/// What happens to packets.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    /// Time that each takes, so half of a round trip.
    pub(super) delay: Duration,
    /// How many of a hundred are lost.
    pub(super) loss: u32,
    /// Whether all are lost, both ways and without a word.
    pub(super) is_dead: bool,
}

/// A line through which all connections to [`FAR`] go.
pub(super) struct Tunnel {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    faults: Faults,
    random: fastrand::Rng,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    forwarded: u64,
    lost: u64,
}

/// Runs `body` with a tunnel, in a process and a network of its own, or reports why it cannot.
pub(super) fn through_tunnel(test: &str, seed: u64, body: impl FnOnce(Tunnel)) {
    let opened = OpenOptions::new().read(true).write(true).open(DEVICE);
    match (part(test), opened) {
        (None, Err(error)) => skipped(test, &format!("there is no {DEVICE} for it: {error}")),
        (_, opened) => in_own_network(test, || {
            body(Tunnel::over(opened.expect("the device that was there before"), seed));
        }),
    }
}

impl Tunnel {
    fn over(device: File, seed: u64) -> Tunnel {
        attach(&device, "tun0");
        ip(&format!("addr add {NEAR}/32 dev tun0"));
        ip("link set tun0 up mtu 1500");
        ip("route add 10.9.0.0/24 dev tun0");
        let state = State {
            faults: Faults::default(),
            random: fastrand::Rng::with_seed(seed),
            under_way: VecDeque::new(),
            forwarded: 0,
            lost: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), arrived: Condvar::new() });
        let (reader, writer) = (shared.clone(), shared.clone());
        let other = device.try_clone().expect("a descriptor");
        std::thread::spawn(move || reader.take_in(device));
        std::thread::spawn(move || writer.let_out(other));
        Tunnel { shared }
    }

    /// What happens to packets from now on.
    pub(super) fn set(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// Packets that were forwarded, and that were lost, so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.shared.state();
        (state.forwarded, state.lost)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn take_in(&self, mut device: File) {
        let mut buffer = [0; 2048];
        while let Ok(len) = device.read(&mut buffer) {
            let Some(packet) = sent_back(&buffer[..len]) else { continue };
            let mut state = self.state();
            let Faults { delay, loss, is_dead } = state.faults;
            let is_full = state.under_way.len() == MOST_UNDER_WAY;
            if is_dead || is_full || state.random.u32(..100) < loss {
                state.lost += 1;
                continue;
            }
            state.under_way.push_back((Instant::now() + delay, packet));
            self.arrived.notify_one();
        }
    }

    fn let_out(&self, mut device: File) {
        loop {
            let packet = self.next();
            // One that the kernel does not take is lost, as on any line.
            let _ = device.write(&packet);
        }
    }

    /// The next packet, once it is due. They stay in order.
    fn next(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let wait = match state.under_way.front() {
                None => Duration::MAX,
                Some((due, _)) => due.saturating_duration_since(now),
            };
            if wait.is_zero() {
                state.forwarded += 1;
                return state.under_way.pop_front().expect("the packet that is due").1;
            }
            let wait = wait.min(Duration::from_secs(3600));
            state = self.arrived.wait_timeout(state, wait).expect("no panic").0;
        }
    }
}

/// An IPv4 packet with its two addresses swapped.
fn sent_back(packet: &[u8]) -> Option<Vec<u8>> {
    let (from, to) = (packet.get(12..16)?, packet.get(16..20)?);
    let is_ipv4 = packet[0] >> 4 == 4;
    is_ipv4.then(|| [&packet[..12], to, from, &packet[20..]].concat())
}

/// Makes the opened device a new interface that carries IP packets and nothing else.
#[allow(unsafe_code)]
fn attach(device: &File, name: &str) {
    /// `IFF_TUN | IFF_NO_PI`.
    const FLAGS: u16 = 0x1001;
    const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&FLAGS.to_ne_bytes());
    // SAFETY: TUNSETIFF takes a `struct ifreq`: 16 bytes of name, then a union that has the flags
    // first, 40 bytes in all at most.
    let done = unsafe { ioctl(device, Setter::<TUNSETIFF, _>::new(request)) };
    done.expect("an interface for the device");
}
