//! When a peer is dialed again, and where.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use netmod_inet::{Event, InetEndpoint, Limits, Resolve, ResolveFuture, Target};

use crate::scripted::{PlainListener, STANDARD, carrier};
use crate::subject::{Node, TIMEOUT, quick};

/// Far longer than a test lasts.
const LONG: Duration = Duration::from_secs(3600);

fn built(change: impl FnOnce(&mut Limits)) -> Node {
    let mut limits = quick();
    change(&mut limits);
    Node::built(InetEndpoint::builder().limits(limits))
}

/// The refusal of a node of ours that is busy, and wants to be asked again after so long.
fn busy(retry_after: Duration) -> Vec<u8> {
    let millis = u32::try_from(retry_after.as_millis()).expect("less than seven weeks");
    let block = [&b"nmi\x01\0\x07\x09\x05\x01"[..], &millis.to_be_bytes()].concat();
    carrier(40, 7, &block)
}

/// How long the node waits when it was refused.
fn wait_after_refusal(node: &mut Node, listener: &PlainListener, asked: Duration) -> Duration {
    let mut peer = listener.accept();
    peer.read_frame();
    peer.send(&busy(asked));
    node.wait("attempt event", |event| match event {
        Event::Attempt { reason, retry, .. } => {
            assert!(reason.to_string().contains("refused"), "{reason}");
            *retry
        }
        _ => None,
    })
}

#[test]
fn a_short_retry_after_does_not_shorten_the_back_off() {
    let mut node = built(|limits| (limits.redial_first, limits.redial_cap) = (LONG, LONG));
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    for _ in 0..3 {
        let wait = wait_after_refusal(&mut node, &listener, Duration::from_millis(1));
        // It is drawn evenly from an hour, so all but never from its first 2 ms.
        assert!(wait > Duration::from_millis(2), "{wait:?}");
        node.endpoint.kick(Some(target)).expect("a peer");
    }
}

#[test]
fn a_long_retry_after_is_obeyed_up_to_ten_minutes() {
    let mut node = built(|_| {});
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    for (asked, obeyed) in [(300, 300), (600, 600), (86_400, 600)] {
        let wait = wait_after_refusal(&mut node, &listener, Duration::from_secs(asked));
        assert_eq!(wait, Duration::from_secs(obeyed));
        node.endpoint.kick(Some(target)).expect("a peer");
    }
}

#[test]
fn a_kick_cuts_a_hanging_dial_short() {
    let mut node = built(|limits| limits.handshake_timeout = 6 * TIMEOUT);
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let mut hanging = listener.accept();
    hanging.read_frame();
    node.endpoint.kick(Some(target)).expect("a peer");
    let _peer = listener.answer(STANDARD, 4);
    assert_eq!(node.up().0, target);
    hanging.expect_end();
}

/// A name with these addresses on the loopback.
struct Name(Vec<u16>);

impl Resolve for Name {
    fn resolve(&self, _: &str, _: u16) -> ResolveFuture {
        let addr = |port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let addrs = self.0.iter().map(addr).collect();
        Box::pin(async move { Ok(addrs) })
    }
}

/// A node that dials a name with these addresses.
fn dials(listeners: &[&PlainListener], handshake_timeout: Duration) -> (Node, Target) {
    let mut limits = quick();
    limits.handshake_timeout = handshake_timeout;
    let name = Name(listeners.iter().map(|listener| listener.port()).collect());
    let node = Node::built(InetEndpoint::builder().limits(limits).resolver(name));
    let target = node.add("mynas.example:9000");
    (node, target)
}

#[test]
fn an_address_that_stays_mute_does_not_hide_the_others() {
    let [mute, silent, good] = [(); 3].map(|()| PlainListener::bind());
    let (mut node, target) = dials(&[&mute, &silent, &good], Duration::from_millis(100));
    let _peer = good.answer(STANDARD, 4);
    assert_eq!(node.up().0, target);
}

#[test]
fn a_kick_dials_the_next_address() {
    let [mute, good] = [(); 2].map(|()| PlainListener::bind());
    let (mut node, target) = dials(&[&mute, &good], 6 * TIMEOUT);
    mute.accept().read_frame();
    node.endpoint.kick(Some(target)).expect("a peer");
    let _peer = good.answer(STANDARD, 4);
    assert_eq!(node.up().0, target);
}
