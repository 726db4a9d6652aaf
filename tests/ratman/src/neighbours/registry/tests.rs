//! Claims on names, by the changes that an endpoint reports.

use std::net::SocketAddr;

use netmod_inet::{Id, Origin, PublicKey};

use super::*;
use crate::returned::MAX_AGE;

/// A registry beside an endpoint without peers.
struct Fixture {
    endpoint: InetEndpoint,
    registry: Registry,
    now: Instant,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::remembering(16)
    }

    /// A registry that remembers the names of `last_names` peers that ended.
    fn remembering(last_names: usize) -> Fixture {
        let endpoint = smol::block_on(InetEndpoint::builder().start()).expect("no socket");
        Fixture { endpoint, registry: Registry::new(last_names), now: Instant::now() }
    }

    fn up(&mut self, target: u16, id: [u8; 32], key: Option<u8>, origin: Origin) {
        let key = key.map(|key| PublicKey::from_bytes([key; 32]));
        let addr = SocketAddr::from(([192, 0, 2, 1], target));
        let claim = Claim::new(Id::from_bytes(id), key, Some(addr), origin);
        self.registry.on_up(&self.endpoint, target.into(), claim, self.now);
    }

    fn accepted(&mut self, target: u16, id: u8) {
        self.up(target, [id; 32], None, Origin::Accepted);
    }

    fn down(&mut self, target: u16, reason: DownReason) {
        self.registry.on_down(&self.endpoint, target.into(), &reason, self.now);
    }

    fn merged(&mut self, kept: u16, retired: u16) {
        self.registry.on_merged(&self.endpoint, kept.into(), retired.into(), self.now);
    }

    fn removed(&mut self, target: u16) {
        self.registry.on_removed(&self.endpoint, target.into(), self.now);
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        for target in self.registry.links.overdue(self.now) {
            self.registry.on_claim_timeout(&self.endpoint, target, self.now);
        }
        self.registry.names.expire(self.now, &mut self.registry.report);
    }

    fn name(&self, target: u16) -> Option<Ident32> {
        self.registry.links.name(target.into())
    }

    fn last_name(&self, target: u16) -> Ident32 {
        self.registry.last_name(target.into())
    }

    /// Whether a peer has a name that is not this one.
    fn has_other_name(&self, target: u16, than: Ident32) -> bool {
        self.name(target).is_some_and(|name| name != than)
    }
}

fn id(byte: u8) -> Ident32 {
    Ident32::from([byte; 32])
}

/// An id that repeats two bytes.
fn numbered(number: u16) -> [u8; 32] {
    std::array::from_fn(|at| number.to_be_bytes()[at % 2])
}

#[test]
fn a_holder_without_a_link_loses_its_name_at_once() {
    let mut fixture = Fixture::new();
    fixture.accepted(0, 1);
    fixture.down(0, DownReason::Closed);
    fixture.accepted(1, 1);
    assert_eq!((fixture.name(0), fixture.name(1)), (None, Some(id(1))));
    fixture.accepted(0, 1);
    let names = (fixture.name(0), fixture.name(1));
    assert_eq!(names, (None, Some(id(1))), "the holder has a live link");
    fixture.advance(CLAIM_TIMEOUT);
    assert!(fixture.has_other_name(0, id(1)));
}

#[test]
fn a_name_that_belongs_to_a_key_goes_to_no_other() {
    let mut fixture = Fixture::new();
    fixture.up(0, [1; 32], Some(7), Origin::Accepted);
    fixture.up(1, [1; 32], Some(7), Origin::Accepted);
    let names = (fixture.name(0), fixture.name(1));
    assert_eq!(names, (Some(id(1)), Some(id(1))), "the key proves it");
    fixture.removed(0);
    fixture.removed(1);
    fixture.accepted(2, 1);
    fixture.up(3, [1; 32], Some(8), Origin::Dialed);
    assert!(fixture.has_other_name(2, id(1)) && fixture.has_other_name(3, id(1)));
    fixture.up(4, [1; 32], Some(7), Origin::Accepted);
    assert_eq!(fixture.name(4), Some(id(1)));
}

#[test]
fn peers_that_merged_have_the_name_of_the_one_that_had_it() {
    for kept in [0, 1] {
        let mut fixture = Fixture::new();
        fixture.accepted(0, 1);
        fixture.accepted(1, 1);
        assert_eq!(fixture.name(1), None);
        // In the order of the endpoint: the retired link ends first.
        fixture.down(1 - kept, DownReason::Replaced);
        fixture.merged(kept, 1 - kept);
        assert_eq!(fixture.name(kept), Some(id(1)));
        assert_eq!(fixture.last_name(1 - kept), id(1));
        assert_eq!(fixture.registry.names.holders(&id(1)).collect::<Vec<_>>(), [kept.into()]);
    }
}

#[test]
fn two_links_that_merge_do_not_take_the_name_of_its_holder() {
    let mut fixture = Fixture::new();
    for target in 0..3 {
        fixture.accepted(target, 1);
    }
    fixture.merged(1, 2);
    assert_eq!([0, 1, 2].map(|target| fixture.name(target)), [Some(id(1)), None, None]);
    fixture.advance(CLAIM_TIMEOUT);
    assert!(fixture.has_other_name(1, id(1)));
}

#[test]
fn a_key_keeps_its_id_while_many_peers_come_and_go() {
    let mut fixture = Fixture::new();
    fixture.up(0, [1; 32], Some(7), Origin::Accepted);
    fixture.removed(0);
    for number in 0..2_000 {
        fixture.up(9, numbered(number), None, Origin::Accepted);
        fixture.removed(9);
    }
    fixture.accepted(1, 1);
    assert!(fixture.has_other_name(1, id(1)));
}

#[test]
fn a_sender_that_ended_is_known_by_its_last_name() {
    let mut fixture = Fixture::new();
    for (target, byte) in [(0, 1), (1, 2), (0, 3)] {
        fixture.accepted(target, byte);
        fixture.removed(target);
    }
    assert_eq!(fixture.last_name(0), id(3));
    assert_eq!(fixture.last_name(1), id(2));
    let unknown = [7, 8].map(|target| fixture.last_name(target));
    assert_ne!(unknown[0], unknown[1], "random names");
}

#[test]
fn peers_that_come_and_go_leave_a_bounded_number_of_names() {
    let mut fixture = Fixture::remembering(4);
    for number in 0..3_000 {
        let target = number % 8;
        fixture.up(target, numbered(number), None, Origin::Accepted);
        assert!(fixture.name(target).is_some());
        fixture.removed(target);
    }
    assert_eq!(fixture.registry.links.iter().count(), 0);
    assert_eq!(fixture.registry.known_targets().count(), 4);
    assert_eq!(fixture.registry.names.iter().count(), 1024);
    fixture.advance(MAX_AGE + Duration::from_secs(1));
    assert_eq!(fixture.registry.names.iter().count(), 0);
}

#[test]
fn a_random_name_ends_the_wait_for_a_decision() {
    let mut fixture = Fixture::new();
    fixture.accepted(0, 1);
    fixture.accepted(1, 1);
    assert_eq!(fixture.registry.links.undecided(), [1.into()]);
    fixture.registry.assign_random_name(1.into());
    assert!(fixture.has_other_name(1, id(1)));
    assert!(fixture.registry.links.undecided().is_empty());
}
