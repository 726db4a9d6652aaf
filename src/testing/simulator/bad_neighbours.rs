//! Bad neighbours beside good ones, by class of misdeed: the good ones do not notice, and memory
//! stays within its bounds.
//!
//! A node dials one good neighbour and is dialed by another one. Both exchange frames with its
//! router at a steady rate, while strangers of other networks do what they can.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::DownReason;
use flows::{Flow, GOOD, GOOD_PAYLOAD, Sender, SharedFlow};
use memory::{Usage, assert_released};
use network::Cut;
use strangers::{Misdeed, Stranger};

const VICTIM: Host = 1;
const DIALED: Host = 2;
const ACCEPTED: Host = 3;
const NEWCOMER: Host = 4;

/// The first strangers of two networks. The good neighbours are in another one.
const STRANGERS: [Host; 2] = [0x0101, 0x0201];

/// Bytes that the router of the victim handles per second.
const ROUTER_RATE: usize = 8 << 20;

/// The router handles frames for this long before it waits.
const ROUTER_SLICE: Duration = MS;

/// What a stranger takes in one turn, before the frame that exceeds it.
const STRANGER_TURN: usize = 16 << 10;

/// One read of a stranger, which may begin while strangers may hold one more byte. The frames in it
/// cost more than their length.
const READ: usize = 80 << 10;

/// How long a link that was cut takes to be restored.
const RESTORED: Duration = Duration::from_secs(4);

const STEP: Duration = Duration::from_millis(20);

/// What one class of strangers does, and how much of it.
struct Plan {
    misdeed: Misdeed,
    strangers: usize,
    time: Duration,
    /// The interval of each flow.
    period: Duration,
    /// Whether the link of the accepted neighbour is cut on the way.
    cuts: bool,
    limits: Limits,
}

impl Plan {
    fn new(misdeed: Misdeed, random: &mut fastrand::Rng) -> Plan {
        let limits = Limits {
            inbound_bytes: random.usize(512..4096) << 10,
            queue_bytes: 512 << 10,
            total_queue_bytes: 4 << 20,
            unconfirmed_bytes: 1 << 20,
            peers: 64,
            resume_peers: 8,
            redial_cap: SECOND / 2,
            ..Limits::default()
        };
        let plan = |strangers, seconds, millis: u32| Plan {
            misdeed,
            strangers,
            time: SECOND * seconds,
            period: MS * millis,
            cuts: false,
            limits,
        };
        match misdeed {
            // Longer than the time after which they are given up.
            Misdeed::NoAcknowledgements => plan(random.usize(8..20), 70, 50),
            Misdeed::HalfFrames => plan(random.usize(8..30), 70, 50),
            Misdeed::IdentityChurn => {
                let cuts = true;
                Plan { cuts, ..plan(random.usize(8..20), 10, 20) }
            }
            Misdeed::AliasGames => plan(random.usize(1..5), 10, 20),
            _ => plan(random.usize(4..12), 1, 10),
        }
    }

    /// The longest latency: the network, one turn of each neighbour at the router, and the frames of
    /// the flow itself that wait for the same. While its window is small, a neighbour uses half of it
    /// and then waits a round trip for credit.
    fn max_latency(&self, network: Duration, payload: usize) -> Duration {
        let largest = Frame::MAX_LEN - 65_535;
        let turns = self.strangers * (STRANGER_TURN + payload + largest);
        let own = 4 * (GOOD_PAYLOAD + largest);
        let router = (turns + own) as f64 / ROUTER_RATE as f64;
        3 * network + Duration::from_secs_f64(router) + 2 * ROUTER_SLICE
    }
}

struct Case {
    world: World,
    plan: Plan,
    victim: Node,
    good: [Node; 2],
    /// The targets of the good neighbours.
    targets: [Target; 2],
    /// To the victim, and from it.
    flows: [[SharedFlow; 2]; 2],
    is_over: Arc<AtomicBool>,
    max_latency: Duration,
    payload: usize,
    usage: Usage,
}

impl Case {
    fn new(seed: u64, misdeed: Misdeed) -> Case {
        let random = &mut fastrand::Rng::with_seed(seed);
        let latency = MS * random.u32(1..20);
        let mut world = World::new(seed, latency / 4..=latency);
        #[cfg(feature = "noise")]
        {
            world.is_plain = true;
        }
        let plan = Plan::new(misdeed, random);
        let payload = random.usize(500..5_000);
        let instance_id = world.new_instance();
        let victim = world.open(VICTIM, instance_id, plan.limits.clone());
        let good = [DIALED, ACCEPTED].map(|host| {
            let instance_id = world.new_instance();
            world.open(host, instance_id, plan.limits.clone())
        });
        let dialed = victim.dial(good[0].addr());
        good[1].dial(victim.addr());
        world.run_until("good neighbours", 60 * SECOND, || victim.up().len() == 2);
        let accepted = victim.up().into_iter().find(|peer| peer.target != dialed);
        let targets = [dialed, accepted.expect("two peers").target];
        let max_latency = plan.max_latency(latency, payload);
        let (flows, is_over) = Default::default();
        let usage = Usage::default();
        let mut case = Case {
            world,
            plan,
            victim,
            good,
            targets,
            flows,
            is_over,
            max_latency,
            payload,
            usage,
        };
        case.exchange(random);
        case
    }

    /// Starts the routers and the flows between good neighbours and the victim.
    fn exchange(&mut self, random: &mut fastrand::Rng) {
        let (start, [to, from]) = (self.world.start, self.flows.clone());
        let (endpoint, targets) = (self.victim.endpoint.clone(), self.targets);
        self.victim.spawn(run_victim(endpoint, targets, to.clone(), start));
        for (at, node) in self.good.iter().enumerate() {
            let (endpoint, flow) = (node.endpoint.clone(), from[at].clone());
            node.spawn(async move {
                while let Ok((_, frame)) = endpoint.next().await {
                    if frame.modes() == GOOD {
                        flow.lock().unwrap().arrive(&frame, clock::since(start));
                    }
                }
            });
            let victim = node.endpoint.peers()[0].target;
            let send = |node: &Node, target, flow: &SharedFlow, is_granted| Sender {
                endpoint: node.endpoint.clone(),
                target,
                flow: flow.clone(),
                is_granted,
                period: self.plan.period,
                is_over: self.is_over.clone(),
                start,
            };
            node.spawn(send(node, victim, &to[at], true).run(random.fork()));
            // An accepted neighbour is a stranger too, and has no reserve.
            let sender = send(&self.victim, self.targets[at], &from[at], at == 0);
            self.victim.spawn(sender.run(random.fork()));
        }
    }

    fn run(mut self) -> Case {
        // The good neighbours alone.
        self.run_for(SECOND / 2);
        let strangers = self.world.executor.group();
        let mut nodes = Vec::new();
        for number in 0..self.plan.strangers {
            let host = STRANGERS[number % 2] + (number / 2) as Host;
            if self.plan.misdeed == Misdeed::WithinCredit {
                nodes.push(self.start_busy_node(host));
                continue;
            }
            let stranger = Stranger {
                dialer: Dialer { network: self.world.network.clone(), host },
                victim: VICTIM,
                random: self.world.random.fork(),
                payload: self.payload,
            };
            strangers.spawn(Box::pin(stranger.run(self.plan.misdeed)));
        }
        if self.plan.misdeed == Misdeed::NoAcknowledgements {
            let (endpoint, targets) = (self.victim.endpoint.clone(), self.targets);
            strangers.spawn(Box::pin(flood_strangers(endpoint, targets)));
        }
        if self.plan.cuts {
            self.run_for(self.plan.time / 2);
            self.cut_accepted();
        }
        self.run_for(self.plan.time);
        self.check_newcomer();
        self.world.executor.end(&strangers);
        nodes.into_iter().for_each(|node| self.world.crash(node));
        self.is_over.store(true, Ordering::Relaxed);
        self.run_for(3 * SECOND);
        self.check();
        self
    }

    /// Starts a node that sends to the victim as much as it can.
    fn start_busy_node(&mut self, host: Host) -> Node {
        let instance_id = self.world.new_instance();
        let node = self.world.open(host, instance_id, self.plan.limits.clone());
        let (endpoint, target) = (node.endpoint.clone(), node.dial(self.victim.addr()));
        let frame = Frame::builder(8, Id::from_bytes([8; 32])).payload(vec![7; self.payload]);
        let frame = frame.build().expect("a frame");
        node.spawn(async move { while endpoint.send(target, frame.clone()).await.is_ok() {} });
        node
    }

    /// Checks that another neighbour gets in, while the strangers go on.
    fn check_newcomer(&mut self) {
        let newcomer = self.world.start(NEWCOMER);
        newcomer.dial(self.victim.addr());
        self.run_for(SECOND);
        assert_eq!(newcomer.up().len(), 1, "{:#?}", newcomer.endpoint.peers());
        self.world.crash(newcomer);
    }

    /// Takes the link of the accepted neighbour down for a while. Its session resumes.
    fn cut_accepted(&mut self) {
        let now = self.world.now();
        for flow in self.flows.iter().map(|flows| &flows[1]) {
            flow.lock().unwrap().outage = Some([now.saturating_sub(SECOND), now + RESTORED]);
        }
        self.world.network.partition(VICTIM, ACCEPTED);
        self.world.network.cut(VICTIM, ACCEPTED, Cut::Both);
        self.run_for(SECOND);
        self.world.network.heal(VICTIM, ACCEPTED);
    }

    fn run_for(&mut self, time: Duration) {
        let until = clock::now() + time;
        while clock::now() < until {
            self.world.run_for(STEP);
            let shared = self.victim.shared();
            let usage = Usage::of(&shared, READ);
            let limit = self.plan.limits.inbound_bytes / 2 + (self.plan.strangers + 1) * READ;
            assert!(usage.strangers <= limit, "{usage:?}: strangers hold more than {limit}");
            self.usage = self.usage.max(usage);
            let peers = shared.peers().len();
            assert!(peers <= self.plan.limits.peers + 1, "{peers} peers");
        }
    }

    fn check(&mut self) {
        for (direction, flows) in ["to", "from"].iter().zip(&self.flows) {
            for (name, flow) in ["dialed", "accepted"].iter().zip(flows) {
                let Flow { sent, arrived, worst, .. } = *flow.lock().unwrap();
                assert_eq!(arrived, sent, "{direction} the victim, {name}");
                assert!(sent > 100, "{sent} frames");
                let most = self.max_latency;
                assert!(worst <= most, "{direction} the victim, {name}: {worst:?} of {most:?}");
            }
        }
        for target in self.targets {
            let peer = self.victim.endpoint.peer(target).expect("a good neighbour");
            let cuts = u64::from(self.plan.cuts && target == self.targets[1]);
            assert_eq!((peer.state, peer.links), (PeerState::Up, 1 + cuts), "{peer:#?}");
        }
    }

    fn worst_latency(&self) -> Duration {
        let flows = self.flows.iter().flatten();
        flows.map(|flow| flow.lock().unwrap().worst).max().unwrap_or_default()
    }

    /// Checks that nothing is left once no stranger may resume.
    fn check_end(&mut self) {
        self.world.run_for(200 * SECOND);
        let shared = self.victim.shared();
        assert_eq!(shared.peers().len(), 2);
        assert_released(&shared);
    }
}

/// The router of the victim, which takes its time for each frame.
async fn run_victim(
    endpoint: InetEndpoint,
    targets: [Target; 2],
    flows: [SharedFlow; 2],
    start: Instant,
) {
    let mut busy = Duration::ZERO;
    while let Ok((from, frame)) = endpoint.next().await {
        if let Some(at) = targets.iter().position(|target| *target == from) {
            flows[at].lock().unwrap().arrive(&frame, clock::since(start));
        }
        busy += Duration::from_secs_f64(frame.len() as f64 / ROUTER_RATE as f64);
        if busy >= ROUTER_SLICE {
            clock::after(std::mem::take(&mut busy)).await;
        }
    }
}

/// Sends to all strangers as much as their queues take, to each and as floods.
async fn flood_strangers(endpoint: InetEndpoint, targets: [Target; 2]) {
    let frame = Frame::builder(8, Id::from_bytes([8; 32])).payload(vec![7; 8_000]);
    let frame = frame.build().expect("a frame");
    loop {
        let flood = endpoint.send_all_except(frame.clone(), &targets);
        flood.expect("room for the good neighbours");
        let strangers = endpoint.peers().into_iter().map(|peer| peer.target);
        for target in strangers.filter(|target| !targets.contains(target)) {
            // Refused in the end.
            let _ = endpoint.try_send(target, frame.clone());
        }
        clock::after(20 * MS).await;
    }
}

/// Runs a few cases of each of these. Returns why links went down.
fn run(misdeeds: &[Misdeed], cases: u64) -> Vec<DownReason> {
    let mut reasons = Vec::new();
    for misdeed in misdeeds {
        let (mut worst, mut usage) = (0.0, Usage::default());
        for seed in seeds(cases) {
            let mut case = Case::new(seed, *misdeed).run();
            worst = case.worst_latency().div_duration_f64(case.max_latency).max(worst);
            usage = usage.max(case.usage);
            for event in case.victim.drain_events() {
                if let Event::Down { reason, .. } = event {
                    reasons.push(reason);
                }
            }
            case.check_end();
        }
        println!("{misdeed:?}: {:.0} % of the maximum latency, {usage:?}", 100.0 * worst);
    }
    reasons
}

#[test]
fn floods_of_frames_that_the_router_is_never_handed() {
    use Misdeed::{Pings, PlainControl, ReservedModes, UnknownVersion};
    run(&[UnknownVersion, ReservedModes, PlainControl, Pings], 1);
}

#[test]
fn floods_of_ordinary_frames() {
    let reasons = run(&[Misdeed::PlainFlood, Misdeed::WithinCredit, Misdeed::BeyondCredit], 2);
    assert!(reasons.iter().any(|reason| matches!(reason, DownReason::CreditExceeded)));
}

#[test]
fn strangers_that_acknowledge_nothing() {
    let reasons = run(&[Misdeed::NoAcknowledgements], 2);
    let is_given_up = |reason: &DownReason| matches!(reason, DownReason::NoProgress(_));
    assert!(reasons.iter().any(is_given_up), "{reasons:?}");
}

#[test]
fn strangers_that_stop_inside_a_frame() {
    let reasons = run(&[Misdeed::HalfFrames], 2);
    let is_given_up = |reason: &DownReason| matches!(reason, DownReason::SlowFrame(_));
    assert!(reasons.iter().any(is_given_up), "{reasons:?}");
}

#[test]
fn strangers_that_change_their_identity() {
    run(&[Misdeed::IdentityChurn], 2);
}

#[test]
fn strangers_that_merge_with_themselves() {
    run(&[Misdeed::AliasGames], 2);
}
