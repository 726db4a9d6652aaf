//! Throw-away identities, which come and go.

use std::net::Ipv4Addr;
use std::time::Duration;

use netmod_inet::{InetEndpoint, Limits, PeerState, Target};

use super::stranger::{INSTANCE, Link};
use crate::reliability::figures::resident;
use crate::resume::proxy::{Break, Proxy};
use crate::scripted::{number_of, numbered};
use crate::subject::{Node, quick};

/// The default of `resume_peers`, and some more.
const CHURN: usize = 300;

/// A link that stood this long, and carried a frame, was of use.
const OF_USE: Duration = Duration::from_millis(1_100);

/// A node, and a neighbour that comes back only on demand.
struct Away {
    node: Node,
    neighbour: Node,
    target: Target,
    proxy: Proxy,
}

impl Away {
    /// The link has carried a frame, and stood for a moment.
    fn linked() -> Away {
        let mut node = Node::started(InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()));
        let proxy = Proxy::to(node.port());
        let mut limits = quick();
        limits.redial_first = Duration::from_secs(8760 * 3600);
        limits.redial_cap = limits.redial_first;
        let mut neighbour = Node::started(InetEndpoint::builder().limits(limits));
        neighbour.add(&proxy.address());
        neighbour.up();
        let (target, _, _) = node.up();
        neighbour.try_send(0.into(), &numbered(0, 10));
        assert_eq!(node.next().0, target);
        node.until("link that stood", |endpoint| {
            endpoint.peer(target).is_some_and(|peer| peer.since > OF_USE)
        });
        Away { node, neighbour, target, proxy }
    }

    /// Cuts the link, lets others come and go meanwhile, and fails unless the session resumes.
    fn resumes_after(mut self, churn: impl FnOnce(&Node)) {
        self.proxy.cut(Break::Close);
        self.node.down(self.target);
        self.neighbour.down(0.into());
        for number in 0..3 {
            self.node.try_send(self.target, &numbered(number, 10));
        }
        churn(&self.node);
        self.node.until("end of the others", |endpoint| {
            let peers = endpoint.peers();
            peers.len() <= Limits::default().resume_peers
                && peers.iter().all(|peer| peer.state != PeerState::Up)
        });
        self.neighbour.endpoint.kick(None).expect("peers");
        self.neighbour.up();
        for number in 0..3 {
            assert_eq!(number_of(self.neighbour.next().1.as_bytes()), number);
        }
        assert_eq!(self.node.info(self.target).links, 2);
    }
}

/// The instance id of a throw-away identity.
fn instance(number: usize) -> [u8; 16] {
    let mut instance = INSTANCE;
    instance[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    instance
}

/// Regression: 257 throw-away identities ended the session of a neighbour that was away.
#[test]
fn identities_of_another_network_end_no_session() {
    Away::linked().resumes_after(|node| {
        for number in 0..CHURN {
            let mut link = Link::from(Ipv4Addr::new(127, 0, 1, 1), node.port(), instance(number));
            link.wire.send(&numbered(9, 10));
            link.wait_processed();
            node.next();
        }
    });
}

#[test]
fn identities_that_carried_nothing_end_no_session_at_the_same_address() {
    Away::linked().resumes_after(|node| {
        for number in 0..CHURN {
            Link::from(Ipv4Addr::LOCALHOST, node.port(), instance(number)).wait_processed();
        }
    });
}

#[test]
#[ignore = "takes half a minute, and measures the whole process: run it by hand"]
fn memory_is_flat_over_a_hundred_thousand_identities() {
    let node = Node::started(InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()));
    let mut figures = Vec::new();
    for number in 0..100_000usize {
        // Of 200 networks in turn.
        let source = Ipv4Addr::new(127, 0, (number % 200) as u8 + 1, 1);
        let mut link = Link::from(source, node.port(), instance(number));
        link.wait_processed();
        link.reset();
        if number % 10_000 == 9_999 {
            let peers = node.endpoint.peers().len();
            let resident = resident().unwrap_or(0) >> 10;
            println!("{}: {peers} peers, {resident} KiB resident", number + 1);
            figures.push(resident);
            assert!(peers <= Limits::default().resume_peers + 100, "{peers} peers");
        }
    }
    assert!(figures[9] <= figures[1] + 4096, "{figures:?} KiB");
}
