//! Scenarios with two nodes.

use super::*;
use network::Cut;

/// Round-trip time of a network without jitter.
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// Upper bound on any transition that is not delayed on purpose.
const TIMEOUT: Duration = Duration::from_secs(90);

fn without_jitter(seed: u64) -> World {
    World::new(seed, ROUND_TRIP / 2..=ROUND_TRIP / 2)
}

fn with_jitter(seed: u64) -> World {
    World::new(seed, MS..=80 * MS)
}

/// Whether each node has exactly one peer, whose link is up.
fn is_settled(nodes: [&Node; 2]) -> bool {
    nodes.iter().all(|node| node.endpoint.peers().len() == 1 && node.up().len() == 1)
}

fn count_ups(node: &Node) -> usize {
    node.drain_events().iter().filter(|event| matches!(event, Event::Up { .. })).count()
}

/// Asserts that two settled nodes stay settled.
fn stays_settled(world: &mut World, nodes: [&Node; 2]) {
    let _ = nodes.map(Node::drain_events);
    world.run_for(90 * SECOND);
    assert!(is_settled(nodes), "not settled any more");
    let events = nodes.map(Node::drain_events);
    let is_flap = |event: &Event| matches!(event, Event::Up { .. } | Event::Down { .. });
    assert!(!events.iter().flatten().any(is_flap), "it flaps: {events:#?}");
    assert_eq!(world.network.connections(), 1);
}

/// Two nodes that dialed each other at about the same time, and settled.
fn mutual_dial(world: &mut World) -> ([Node; 2], [Target; 2]) {
    let nodes = [world.start(1), world.start(2)];
    let first = world.random.usize(..2);
    let mut targets = [Target::default(); 2];
    targets[first] = nodes[first].dial(nodes[1 - first].addr());
    world.run_for_up_to(200 * MS);
    targets[1 - first] = nodes[1 - first].dial(nodes[first].addr());
    world.run_for(SECOND);
    world.run_until("one peer", TIMEOUT, || is_settled([&nodes[0], &nodes[1]]));
    (nodes, targets)
}

/// Asserts that the node received exactly the frames below `up_to`, in order.
fn assert_arrived(node: &Node, up_to: u64) {
    assert!(node.numbers().into_iter().eq(0..up_to), "{:?} of {up_to}", node.numbers());
}

#[test]
fn a_mutual_dial_settles_within_two_round_trips_of_the_second_handshake() {
    let mut worst = Duration::ZERO;
    for seed in seeds(100) {
        let mut world = without_jitter(seed);
        let (one, other) = (world.start(1), world.start(2));
        let head_start = world.random.u32(..=4 * ROUND_TRIP.as_millis() as u32);
        one.dial(other.addr());
        world.run_for(head_start * MS);
        other.dial(one.addr());
        let mut ups = [0; 2];
        let mut both_up = None;
        let start = world.start;
        world.run_until("one peer", TIMEOUT, || {
            ups[0] += count_ups(&one);
            ups[1] += count_ups(&other);
            if ups == [2, 2] {
                both_up.get_or_insert(clock::since(start));
            }
            both_up.is_some() && is_settled([&one, &other])
        });
        worst = worst.max(world.now() - both_up.unwrap_or_default());
        stays_settled(&mut world, [&one, &other]);
    }
    println!("settled {worst:?} after the second handshake at the latest");
    assert!(worst <= 2 * ROUND_TRIP, "{worst:?}");
}

#[test]
fn frames_sent_during_a_partition_arrive_after_it_heals() {
    for seed in seeds(40) {
        let mut world = with_jitter(seed);
        let ([one, other], [to_other, to_one]) = mutual_dial(&mut world);
        one.send(to_other, 0..100);
        other.send(to_one, 0..100);
        world.run_for_up_to(100 * MS);
        world.network.partition(1, 2);
        world.run_for_up_to(90_000 * MS);
        one.send(to_other, 100..200);
        other.send(to_one, 100..200);
        world.run_for_up_to(90_000 * MS);
        world.network.heal(1, 2);
        world.run_until("frames", TIMEOUT, || {
            is_settled([&one, &other])
                && [&one, &other].iter().all(|node| node.numbers().len() >= 200)
        });
        assert_arrived(&one, 200);
        assert_arrived(&other, 200);
        world.run_for(5 * SECOND);
        stays_settled(&mut world, [&one, &other]);
    }
}

#[test]
fn after_a_cut_both_redial_and_settle_on_one_link() {
    for seed in seeds(10) {
        let mut world = with_jitter(seed);
        let ([one, other], [to_other, to_one]) = mutual_dial(&mut world);
        for round in 0..20 {
            one.send(to_other, 10 * round..10 * round + 10);
            other.send(to_one, 10 * round..10 * round + 10);
            world.run_for_up_to(200 * MS);
            world.network.cut(1, 2, Cut::Both);
            // Longer than a reset is in flight.
            world.run_for(100 * MS);
            world.run_until("one link", TIMEOUT, || is_settled([&one, &other]));
        }
        world.run_for(5 * SECOND);
        assert_arrived(&one, 200);
        assert_arrived(&other, 200);
        stays_settled(&mut world, [&one, &other]);
    }
}

#[test]
fn two_addresses_of_one_node_merge_into_one_peer() {
    for seed in seeds(40) {
        let mut world = with_jitter(seed);
        let (one, other) = (world.start(1), world.start(2));
        let first = one.dial(other.addr());
        world.run_for_up_to(300 * MS);
        let second = one.dial(format!("{}:{PORT}", ip(2, true)));
        one.send(first, [0]);
        world.run_until("two links, then one", TIMEOUT, || {
            is_one_peer(&one, [first, second]) && is_settled([&one, &other])
        });
        one.send(first, [1]);
        one.send(second, [2]);
        world.run_for(5 * SECOND);
        assert_arrived(&other, 3);
        stays_settled(&mut world, [&one, &other]);
        world.network.cut(1, 2, Cut::Both);
        world.run_for(5 * SECOND);
        world.run_until("one link", TIMEOUT, || is_settled([&one, &other]));
        stays_settled(&mut world, [&one, &other]);
    }
}

#[test]
fn a_merged_peer_can_be_removed_and_added_again_immediately() {
    for seed in seeds(10) {
        let mut world = with_jitter(seed);
        let (one, other) = (world.start(1), world.start(2));
        let addrs = [other.addr(), format!("{}:{PORT}", ip(2, true))];
        let targets = addrs.each_ref().map(|addr| one.dial(addr));
        world.run_for(SECOND);
        world.run_until("one peer", TIMEOUT, || is_settled([&one, &other]));
        let either = targets[world.random.usize(..2)];
        future::block_on(one.endpoint.remove_peer(either)).unwrap();
        assert!(one.endpoint.peers().is_empty());
        for target in targets {
            assert!(one.endpoint.try_send(target, frame(0)).is_err());
        }
        let targets = addrs.map(|addr| one.dial(addr));
        one.send(targets[1], [0]);
        world.run_for(60 * SECOND);
        assert_arrived(&other, 1);
        stays_settled(&mut world, [&one, &other]);
    }
}

/// A router that excludes the source of a frame from a flood may name it by any target of the peer.
#[test]
fn a_flood_excludes_a_peer_by_any_of_its_targets() {
    let mut world = without_jitter(0);
    let (one, other) = (world.start(1), world.start(2));
    let addrs = [other.addr(), format!("{}:{PORT}", ip(2, true))];
    let targets = addrs.map(|addr| one.dial(addr));
    world.run_for(SECOND);
    world.run_until("one peer", TIMEOUT, || is_settled([&one, &other]));
    for target in targets {
        let report = one.endpoint.send_all_except(frame(0), &[target]).unwrap();
        assert_eq!(report, crate::FloodReport::default(), "{target}");
    }
}

/// A merged peer is known at every address that it was dialed at.
#[test]
fn a_merged_peer_is_known_at_all_of_its_addresses() {
    let mut world = without_jitter(0);
    let (one, other) = (world.start(1), world.start(2));
    let at_both = |host| [false, true].map(|is_other| format!("{}:{PORT}", ip(host, is_other)));
    at_both(2).iter().for_each(|addr| _ = one.dial(addr));
    world.run_for(SECOND);
    assert!(is_settled([&one, &other]));
    one.endpoint.set_accept_policy(AcceptPolicy::known());
    at_both(1).iter().for_each(|addr| _ = other.dial(addr));
    world.run_until("one peer", TIMEOUT, || is_settled([&one, &other]));
}

/// Unknown peers may be numerous, and each is resumable for a while.
#[test]
fn disconnected_inbound_peers_evict_no_configured_peer() {
    let mut world = without_jitter(0);
    let limits = Limits { resume_peers: 1, ..Limits::default() };
    let instance_id = world.new_instance();
    let (one, other) = (world.start_as(1, instance_id, limits), world.start(2));
    other.dial(one.addr());
    world.run_for(SECOND);
    // One disconnect beforehand, which is recorded.
    world.network.cut(1, 2, Cut::Both);
    world.run_for(5 * SECOND);
    one.dial(other.addr());
    world.run_for(5 * SECOND);
    assert!(is_settled([&one, &other]));
    world.network.partition(1, 2);
    world.network.cut(1, 2, Cut::Both);
    world.run_for(30 * SECOND);
    let newcomer = world.start(3);
    newcomer.dial(one.addr());
    world.run_for(SECOND);
    world.network.power_off(3);
    world.network.cut(1, 3, Cut::Both);
    world.run_for(300 * SECOND);
    assert_eq!(one.endpoint.peers().len(), 1, "{:#?}", one.drain_events());
    world.network.heal(1, 2);
    world.run_until("one link", TIMEOUT, || is_settled([&one, &other]));
}

/// Links break as soon as they are up, no matter which node dials.
#[test]
fn mutual_dials_back_off_while_their_links_break_immediately() {
    let mut world = without_jitter(0);
    let (nodes, _) = mutual_dial(&mut world);
    world.network.take_opened();
    let mut opened = 0;
    let start = world.now();
    while world.now() - start < 3600 * SECOND {
        if nodes.iter().any(|node| !node.up().is_empty()) {
            world.network.cut(1, 2, Cut::Both);
        }
        world.run_for(5 * MS);
        opened += world.network.take_opened().len();
    }
    assert!(opened < 2 * 200, "{opened} dials in an hour");
}

/// An instance id is only a claim, as an id is.
#[test]
fn false_claims_of_an_instance_id_do_not_prevent_a_merge() {
    for seed in seeds(5) {
        let mut world = with_jitter(seed);
        let instances = [world.new_instance(), world.new_instance()];
        let [one, other] = [(1, instances[0]), (2, instances[1])]
            .map(|(host, instance_id)| world.start_as(host, instance_id, Limits::default()));
        let claimants: Vec<Node> = (0..20)
            .flat_map(|number| {
                [(3 + number, instances[1], one.addr()), (103 + number, instances[0], other.addr())]
            })
            .map(|(host, instance_id, addr)| {
                let claimant = world.start_as(host, instance_id, Limits::default());
                claimant.dial(addr);
                claimant
            })
            .collect();
        world.run_for(SECOND);
        one.dial(other.addr());
        other.dial(one.addr());
        for node in [&one, &other] {
            let is_merge = |event: &Event| matches!(event, Event::Merged { .. });
            world.run_until("merge", TIMEOUT, || node.drain_events().iter().any(is_merge));
        }
        world.run_for(SECOND);
        assert_eq!([&one, &other].map(|node| node.up().len()), [1 + claimants.len() / 2; 2]);
    }
}

/// Whether two targets of a node name the same peer.
fn is_one_peer(node: &Node, targets: [Target; 2]) -> bool {
    node.endpoint.peers().iter().filter(|peer| targets.contains(&peer.target)).count() == 1
}

/// A dialer that lost power returns as a new instance while the listener still has its old link.
#[test]
fn a_link_is_replaced_within_3_s_of_the_restart_of_its_dialer() {
    for seed in seeds(40) {
        let mut world = with_jitter(seed);
        let listener = world.start(1);
        // A restored virtual machine has the same instance id, but not its session state.
        let instance_id = world.new_instance();
        let dialer = world.start_as(2, instance_id, Limits::default());
        dialer.dial(listener.addr());
        world.run_until("link", TIMEOUT, || is_settled([&listener, &dialer]));
        let old = listener.up()[0].target;
        world.network.power_off(2);
        world.crash(dialer);
        let has_unacked = world.random.bool();
        listener.send(old, (0..5).filter(|_| has_unacked));
        world.run_for_up_to(10_000 * MS);
        world.network.power_on(2);
        let instance_id = if world.random.bool() { world.new_instance() } else { instance_id };
        let dialer = world.start_as(2, instance_id, Limits::default());
        dialer.dial(listener.addr());
        let took = world.run_until("new link alone", TIMEOUT, || {
            dialer.up().len() == 1 && listener.up().len() == 1 && listener.up()[0].target != old
        });
        assert!(took < 3 * SECOND + 500 * MS, "it took {took:?}");
        // The old peer is resumable for this long. After that its undelivered frames are handed
        // back.
        world.run_for(130 * SECOND);
        assert_eq!(listener.endpoint.take_unconfirmed(old).len(), if has_unacked { 5 } else { 0 });
        assert!(dialer.numbers().is_empty());
        stays_settled(&mut world, [&listener, &dialer]);
    }
}

/// One end sees its link break, the other does not.
#[test]
fn a_half_open_link_is_replaced_by_one_of_the_same_instance() {
    for seed in seeds(40) {
        let mut world = with_jitter(seed);
        let ([one, other], [to_other, to_one]) = mutual_dial(&mut world);
        let targets = [&one, &other].map(|node| node.endpoint.peers()[0].target);
        one.send(to_other, 0..20);
        other.send(to_one, 0..20);
        world.run_for_up_to(100 * MS);
        let seen_by = world.random.u16(1..=2);
        world.network.cut(1, 2, Cut::SeenBy(seen_by));
        one.send(to_other, 20..40);
        other.send(to_one, 20..40);
        world.run_for(100 * MS);
        let took = world.run_until("frames over the new link", TIMEOUT, || {
            [&one, &other].iter().all(|node| node.numbers().len() >= 40)
        });
        assert!(took < 3 * SECOND, "it took {took:?}");
        assert_arrived(&one, 40);
        assert_arrived(&other, 40);
        assert_eq!([&one, &other].map(|node| node.endpoint.peers()[0].target), targets);
        world.run_for(5 * SECOND);
        stays_settled(&mut world, [&one, &other]);
    }
}

#[test]
fn rates_match_a_known_load() {
    let mut world = with_jitter(0);
    let ([one, other], [to_other, _]) = mutual_dial(&mut world);
    let bytes_each = {
        one.send(to_other, [0]);
        world.run_for(SECOND);
        one.up()[0].bytes_sent
    };
    let mut number = 1;
    for _ in 0..200 {
        one.send(to_other, number..number + 50);
        number += 50;
        world.run_for(100 * MS);
    }
    let expected = 500 * bytes_each;
    let rates = [one.up()[0].send_rate, other.up()[0].receive_rate];
    assert!(
        rates.iter().all(|rate| rate.abs_diff(expected) < expected / 20),
        "{rates:?} {expected}"
    );
    assert_eq!([one.up()[0].receive_rate, other.up()[0].send_rate], [0, 0]);
    world.run_for(60 * SECOND);
    assert_eq!([one.up()[0].send_rate, other.up()[0].receive_rate], [0, 0]);
}

#[test]
fn a_shutdown_right_after_a_merge_does_not_wait_for_the_retired_link() {
    for seed in seeds(20) {
        let mut world = with_jitter(seed);
        let ([one, other], _) = mutual_dial(&mut world);
        let endpoint = one.endpoint.clone();
        one.group.spawn(Box::pin(async move { endpoint.shutdown().await }));
        let took = world.run_until("end", TIMEOUT, || one.endpoint.is_closed());
        assert!(took < SECOND, "{took:?}");
        drop(other);
    }
}

/// Regression: handshakes at the same time promised the same memory to each peer. All but one got a
/// smaller window than the credit that they had been given, and half of that was never used up.
#[test]
fn peers_that_are_dialed_at_the_same_time_send_on() {
    const FRAMES: u64 = 3_000;
    let mut world = World::new(0, 5 * MS..=5 * MS);
    let limits = Limits { inbound_bytes: 256 << 10, ..Limits::default() };
    let instance_id = world.new_instance();
    let dialer = world.start_as(1, instance_id, limits);
    let listeners = [2, 3, 4].map(|host| world.start(host));
    listeners.iter().for_each(|listener| _ = dialer.dial(listener.addr()));
    world.run_for(SECOND);
    for listener in &listeners {
        listener.send(listener.up()[0].target, 0..FRAMES);
    }
    world.run_for(10 * SECOND);
    assert_eq!(dialer.numbers().len() as u64, 3 * FRAMES);
}
