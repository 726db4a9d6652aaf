//! Reconnect storm: thousands of dialers of one listener, which goes down and comes back.

use super::*;
use crate::Spawn;

/// The host that all others dial.
const LISTENER: Host = 0;

/// Number of dialers; the environment may override it. Ten thousand take minutes in a debug build,
/// since the listener scans all its peers for each new one. The back-off schedule alone is tested
/// with that number in its own unit tests.
fn size() -> u16 {
    std::env::var("NETMOD_INET_HERD").ok().and_then(|size| size.parse().ok()).unwrap_or(1_000)
}

/// Maximum time from the last retry to an established link: a handshake.
const HANDSHAKE: Duration = Duration::from_secs(1);

struct Herd {
    world: World,
    /// `None` while it is down.
    listener: Option<Node>,
    dialers: Vec<Node>,
}

/// Limits that admit all dialers.
fn roomy() -> Limits {
    Limits { peers: 20_000, max_handshakes: 20_000, ..Limits::default() }
}

/// Limits of a node with one peer and no event subscriber.
fn narrow() -> Limits {
    Limits { inbound_frames: 1, events: 1, ..Limits::default() }
}

impl Herd {
    /// Creates a herd whose links are all up.
    fn new(seed: u64) -> Herd {
        let mut world = World::new(seed, 5 * MS..=50 * MS);
        let boot = world.new_boot();
        let listener = world.start_as(LISTENER, boot, roomy());
        let mut dialers = Vec::new();
        for host in 1..=size() {
            let boot = world.new_boot();
            let dialer = world.start_as(host, boot, narrow());
            dialer.dial(listener.addr());
            dialers.push(dialer);
        }
        world.run_for(20 * SECOND);
        let herd = Herd { world, listener: Some(listener), dialers };
        assert_eq!(herd.up(), herd.dialers.len());
        herd
    }

    fn up(&self) -> usize {
        self.dialers.iter().filter(|dialer| dialer.up().len() == 1).count()
    }

    /// Restarts the listener. Returns the time until all links are up, and the largest share of the
    /// herd that connected within any one second.
    fn come_back(&mut self, limit: Duration) -> (Duration, f64) {
        let boot = self.world.new_boot();
        self.world.network.take_opened();
        let back = clock::now();
        self.listener = Some(self.world.start_as(LISTENER, boot, roomy()));
        let mut took = Duration::ZERO;
        while self.up() < self.dialers.len() {
            assert!(took < limit, "{} of {} are back", self.up(), self.dialers.len());
            self.world.run_for(SECOND / 2);
            took = clock::since(back);
        }
        let opened = self.world.network.take_opened();
        let most = (0..opened.len())
            .map(|at| opened.partition_point(|time| *time < opened[at] + SECOND) - at)
            .max();
        (took, most.unwrap_or(0) as f64 / self.dialers.len() as f64)
    }
}

#[test]
fn a_herd_comes_back_spread_out_and_within_the_cap_after_a_crash() {
    let mut herd = Herd::new(1);
    let listener = herd.listener.take().unwrap();
    herd.world.crash(listener);
    herd.world.run_for(30 * SECOND);
    let cap = Limits::default().redial_cap + HANDSHAKE;
    let (took, share) = herd.come_back(cap);
    println!("all back after {took:?}, {:.1} % of them in one second at most", 100.0 * share);
    assert!(share <= 0.2, "{share}");
}

#[test]
fn a_herd_comes_back_one_by_one_after_a_restart_that_was_announced() {
    let mut herd = Herd::new(2);
    let away = 30 * SECOND;
    let Node { endpoint, group, .. } = herd.listener.take().unwrap();
    group.spawn(Box::pin(async move { endpoint.shutdown_for(away).await }));
    herd.world.run_for(20 * SECOND);
    assert_eq!(herd.up(), 0);
    let (took, share) = herd.come_back(away + 40 * SECOND);
    println!("all back after {took:?}, {:.1} % of them in one second at most", 100.0 * share);
    assert!(share <= 0.05, "{share}");
}
