//! Reconnect storm: thousands of dialers of one listener, which goes down and comes back.

use super::*;

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
fn listener_limits() -> Limits {
    Limits { peers: 20_000, max_handshakes: 20_000, ..Limits::default() }
}

/// Limits of a node with one peer and no event subscriber.
fn dialer_limits() -> Limits {
    Limits { inbound_bytes: 256 << 10, events: 1, ..Limits::default() }
}

impl Herd {
    /// Creates a herd whose links are all up.
    fn new(seed: u64) -> Herd {
        let mut world = World::new(seed, 5 * MS..=50 * MS);
        let instance_id = world.new_instance();
        let listener = world.start_as(LISTENER, instance_id, listener_limits());
        let mut dialers = Vec::new();
        for host in 1..=size() {
            let instance_id = world.new_instance();
            let dialer = world.start_as(host, instance_id, dialer_limits());
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
    fn restart_listener(&mut self, limit: Duration) -> (Duration, f64) {
        let instance_id = self.world.new_instance();
        self.world.network.take_opened();
        let restarted = clock::now();
        self.listener = Some(self.world.start_as(LISTENER, instance_id, listener_limits()));
        let mut took = Duration::ZERO;
        while self.up() < self.dialers.len() {
            assert!(took < limit, "{} of {} are back", self.up(), self.dialers.len());
            self.world.run_for(SECOND / 2);
            took = clock::since(restarted);
        }
        let opened = self.world.network.take_opened();
        let busiest = (0..opened.len())
            .map(|at| opened.partition_point(|time| *time < opened[at] + SECOND) - at)
            .max();
        (took, busiest.unwrap_or(0) as f64 / self.dialers.len() as f64)
    }
}

#[test]
fn after_a_crash_reconnects_are_spread_out_and_within_the_cap() {
    let mut herd = Herd::new(1);
    let listener = herd.listener.take().unwrap();
    herd.world.crash(listener);
    herd.world.run_for(30 * SECOND);
    let cap = Limits::default().redial_cap + HANDSHAKE;
    let (took, share) = herd.restart_listener(cap);
    println!("all back after {took:?}, {:.1} % of them in one second at most", 100.0 * share);
    assert!(share <= 0.2, "{share}");
}

#[test]
fn after_an_announced_restart_reconnects_are_staggered() {
    let mut herd = Herd::new(2);
    let downtime = 30 * SECOND;
    let Node { endpoint, group, .. } = herd.listener.take().unwrap();
    group.spawn(Box::pin(async move { endpoint.shutdown_for(downtime).await }));
    herd.world.run_for(20 * SECOND);
    assert_eq!(herd.up(), 0);
    let (took, share) = herd.restart_listener(downtime + 40 * SECOND);
    println!("all back after {took:?}, {:.1} % of them in one second at most", 100.0 * share);
    assert!(share <= 0.05, "{share}");
}
