//! Addresses that no other test is given.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ephemeral ports, which systems assign to port 0 and to outbound connections.
const FIRST: u16 = 10_000;
const PORTS: u16 = 20_000;

/// Places of the range that lie between the first ports of two processes.
const PER_PROCESS: u32 = 97;

/// An address of the loopback at which nobody listens, and which stays free for the test that asked:
/// a port that the system chose may be another test's as soon as it is closed.
pub(crate) fn own_addr() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id().wrapping_mul(PER_PROCESS) % u32::from(PORTS);
    let first = u16::try_from(first).expect("less than the ports");
    let is_free = |addr: &SocketAddr| TcpListener::bind(addr).is_ok();
    let mut candidates = (0..PORTS).map(|_| {
        let place =
            (u32::from(first) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(PORTS);
        let port = FIRST + u16::try_from(place).expect("less than the ports");
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    });
    candidates.find(is_free).expect("a free port")
}
