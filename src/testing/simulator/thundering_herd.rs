//! Thousands of nodes that dial one, which goes away and comes back.

use super::*;
use crate::Spawn;

/// The node that all others dial.
const LISTENER: Host = 0;

/// How many there are, or what the environment says. The whole ten thousand take minutes in a debug
/// build, for the listener looks through all its peers when one comes; the schedule alone is tested
/// with them beside it.
fn size() -> u16 {
    std::env::var("NETMOD_INET_HERD").ok().and_then(|size| size.parse().ok()).unwrap_or(1_000)
}

/// Longest time from the last retry to a link: a handshake.
const HANDSHAKE: Duration = Duration::from_secs(1);

struct Herd {
    world: World,
    /// `None`: it is away.
    listener: Option<Node>,
    dialers: Vec<Node>,
}

/// Bounds that let everybody in.
fn roomy() -> Limits {
    Limits { peers: 20_000, max_handshakes: 20_000, ..Limits::default() }
}

/// Bounds of a node that has one peer and nobody who listens for events.
fn narrow() -> Limits {
    Limits { inbound_frames: 1, events: 1, ..Limits::default() }
}

impl Herd {
    /// All are up.
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

    /// The listener is there again. The time until all are back, and the most of the herd that
    /// connected within any second, as a share of all.
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
