//! Property test: whatever happens to two nodes, no accepted frame is lost, duplicated or
//! reordered.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use network::Cut;

const HOSTS: [Host; 2] = [1, 2];

/// Maximum number of steps in a case. They often follow before the previous one has taken effect.
const STEPS: usize = 60;
const STEP_INTERVALS: [Duration; 3] =
    [Duration::from_millis(30), Duration::from_millis(300), Duration::from_secs(4)];

/// One instance of a node, as seen by its router.
struct Instance {
    number: u64,
    /// `None` once it has crashed.
    node: Option<Node>,
    /// Addresses that it dials.
    dials: Vec<String>,
    instance_id: InstanceId,
    arrived: Arc<Mutex<Vec<(Target, Frame)>>>,
    /// Accepted frames by target, and those that were returned.
    accepted: BTreeMap<Target, Vec<u64>>,
    returned: Vec<u64>,
    sent: u64,
}

impl Instance {
    fn send(&mut self, random: &mut fastrand::Rng) {
        let Some(node) = &self.node else { return };
        // Retired targets are aliases of live ones.
        let target = random.u16(..4).into();
        for _ in 0..random.u32(1..20) {
            self.sent += 1;
            let number = (self.number << 32) | self.sent;
            if node.endpoint.try_send(target, frame(number)).is_ok() {
                self.accepted.entry(target).or_default().push(number);
            }
        }
    }

    fn take_unconfirmed(&mut self) {
        let Some(node) = &self.node else { return };
        let frames = (0..100).flat_map(|target| node.endpoint.take_unconfirmed(target.into()));
        self.returned.extend(frames.map(|frame| number(&frame)));
    }
}

/// Both hosts, and all instances of their nodes.
struct Case {
    world: World,
    limits: Limits,
    /// By host; the last instance is the current one.
    instances: [Vec<Instance>; 2],
    last_instance: u64,
}

impl Case {
    fn new(seed: u64) -> Case {
        let mut world = World::new(seed, MS..=60 * MS);
        let is_mutual = world.random.bool();
        let has_two_addresses = world.random.u8(..3) == 0;
        world.slowness = MS * world.random.u32(..10);
        let limits = Limits {
            inbound_bytes: world.random.usize(256..400) << 10,
            queue_frames: world.random.usize(10..200),
            resume_window: SECOND * world.random.u32(1..120),
            ..Limits::default()
        };
        let mut case = Case { world, limits, instances: Default::default(), last_instance: 0 };
        let mut dials = [vec![addr_of(HOSTS[1])], Vec::new()];
        if has_two_addresses {
            dials[0].push(format!("{}:{PORT}", ip(HOSTS[1], true)));
        }
        if is_mutual {
            dials[1].push(addr_of(HOSTS[0]));
        }
        for (at, dials) in dials.into_iter().enumerate() {
            let instance_id = case.world.new_instance();
            case.start(at, dials, instance_id);
        }
        case
    }

    fn start(&mut self, at: usize, dials: Vec<String>, instance_id: InstanceId) {
        let node = self.world.start_as(HOSTS[at], instance_id, self.limits.clone());
        for addr in &dials {
            node.dial(addr);
        }
        self.last_instance += 1;
        self.instances[at].push(Instance {
            number: self.last_instance,
            arrived: node.arrived.clone(),
            node: Some(node),
            dials,
            instance_id,
            accepted: BTreeMap::new(),
            returned: Vec::new(),
            sent: 0,
        });
    }

    fn current(&mut self, at: usize) -> &mut Instance {
        self.instances[at].last_mut().expect("every host has an instance")
    }

    fn step(&mut self) {
        let [one, other] = HOSTS;
        let at = self.world.random.usize(..2);
        let network = self.world.network.clone();
        match self.world.random.u8(..20) {
            0..8 => {
                let mut random = self.world.random.fork();
                self.current(at).send(&mut random);
            }
            8 | 9 => network.cut(one, other, Cut::Both),
            10 | 11 => network.cut(one, other, Cut::SeenBy(HOSTS[at])),
            12 => network.partition(one, other),
            13 | 14 => network.heal(one, other),
            15 => self.current(at).take_unconfirmed(),
            16 => self.kick(at),
            17 => self.remove(at),
            18 if self.world.random.bool() => self.crash(at),
            _ => self.restart(at),
        }
    }

    fn kick(&mut self, at: usize) {
        if let Some(node) = &self.current(at).node {
            node.endpoint.kick(None).expect("there need be none");
        }
    }

    /// Removes a peer and, if it is dialed, adds it again.
    fn remove(&mut self, at: usize) {
        let target = self.world.random.u16(..3).into();
        let instance = self.current(at);
        let Some(node) = &instance.node else { return };
        if future::block_on(node.endpoint.remove_peer(target)).is_ok() {
            for addr in &instance.dials {
                // Refused if the address already is that of a peer.
                let _ = future::block_on(node.endpoint.add_peers([addr]));
            }
        }
    }

    fn crash(&mut self, at: usize) {
        if let Some(node) = self.current(at).node.take() {
            if self.world.random.bool() {
                self.world.network.power_off(HOSTS[at]);
            }
            self.world.crash(node);
        }
    }

    /// Restarts the node of a host if it is down.
    fn restart(&mut self, at: usize) {
        if self.current(at).node.is_some() {
            return;
        }
        self.world.network.power_on(HOSTS[at]);
        let dials = self.current(at).dials.clone();
        // Sometimes as a clone with the same instance id.
        let instance_id = match self.world.random.u8(..4) {
            0 => self.current(at).instance_id,
            _ => self.world.new_instance(),
        };
        self.start(at, dials, instance_id);
    }

    /// Repairs everything, for long enough that all waits for a peer time out.
    fn finish(&mut self) {
        self.world.network.heal(HOSTS[0], HOSTS[1]);
        (0..2).for_each(|at| self.restart(at));
        self.world.run_for(300 * SECOND);
        (0..2).for_each(|at| self.current(at).take_unconfirmed());
    }

    fn check(&mut self, totals: &mut Totals) {
        for at in 0..2 {
            // A frame that the remote node accepted counts as arrived, even if that crashed before
            // its router took it: `World::crash` drains it.
            let arrived: Vec<u64> =
                self.instances[1 - at].iter().flat_map(Instance::arrived).collect();
            self.instances[at].iter().for_each(|instance| instance.check(&arrived, totals));
            let Some(node) = &self.current(at).node else { continue };
            let peers = node.endpoint.peers();
            assert!(peers.iter().all(|peer| peer.queued_frames == 0), "{peers:#?}");
            assert_eq!(peers.len(), 1, "{peers:#?}");
        }
        assert_eq!(self.world.network.connections(), 1);
    }
}

/// Event counts of all cases.
#[derive(Debug, Default)]
struct Totals {
    instances: usize,
    crashes: usize,
    accepted: usize,
    arrived: usize,
    returned: usize,
    lost_in_crashes: usize,
}

impl Instance {
    /// The numbers of the frames that its router received.
    fn arrived(&self) -> Vec<u64> {
        self.arrived.lock().unwrap().iter().map(|(_, frame)| number(frame)).collect()
    }

    /// Checks that each accepted frame arrived once and in order, or was returned. If this
    /// instance crashed, frames that did not arrive may be lost.
    fn check(&self, arrived: &[u64], totals: &mut Totals) {
        let has_crashed = self.node.is_none();
        let returned: BTreeSet<u64> = self.returned.iter().copied().collect();
        assert_eq!(returned.len(), self.returned.len(), "a frame was returned twice");
        for (target, accepted) in &self.accepted {
            let accepted: BTreeSet<u64> = accepted.iter().copied().collect();
            let arrived: Vec<u64> =
                arrived.iter().filter(|number| accepted.contains(number)).copied().collect();
            let is_in_order = arrived.is_sorted_by(|one, next| one < next);
            assert!(is_in_order, "duplicated or reordered: {target} {arrived:x?}");
            let arrived: BTreeSet<u64> = arrived.into_iter().collect();
            let missing = accepted.iter().filter(|number| !arrived.contains(number));
            let lost = missing.filter(|number| !returned.contains(number)).count();
            assert!(has_crashed || lost == 0, "{lost} of those to {target} are lost");
            totals.accepted += accepted.len();
            totals.arrived += arrived.len();
            totals.lost_in_crashes += lost;
        }
        totals.instances += 1;
        totals.crashes += usize::from(has_crashed);
        totals.returned += returned.len();
    }
}

/// The guarantee of the crate between two of its nodes: under any interleaving of sends, cuts,
/// partitions, crashes, resumes and merges each accepted frame is delivered once and in order, or
/// returned.
#[test]
fn every_accepted_frame_arrives_once_and_in_order_or_is_returned() {
    let mut totals = Totals::default();
    for seed in seeds(200) {
        let mut case = Case::new(seed);
        for _ in 0..STEPS {
            let interval = STEP_INTERVALS[case.world.random.usize(..STEP_INTERVALS.len())];
            case.world.run_for_up_to(interval);
            case.step();
        }
        case.finish();
        case.check(&mut totals);
    }
    println!("none duplicated, none reordered: {totals:?}");
}
