//! A claimed id or a kick has links probed, for a while and at a low cost.

use std::net::TcpStream;
use std::time::Duration;

use netmod_inet::{InetEndpoint, PeerType};
use rustix::net::sockopt;

use crate::scripted::{PlainListener, PlainPeer, STANDARD};
use crate::subject::{Node, quick};

const CLAIMED: u8 = 0xC1;

/// The timeouts of a socket: user timeout in milliseconds, quiet time before the first
/// probe, time between probes, probes.
type Keepalive = (u32, Duration, Duration, u32);

fn keepalive(stream: &TcpStream) -> Keepalive {
    let get = || {
        Ok((
            sockopt::tcp_user_timeout(stream)?,
            sockopt::tcp_keepidle(stream)?,
            sockopt::tcp_keepintvl(stream)?,
            sockopt::tcp_keepcnt(stream)?,
        ))
    };
    get().map_err(|error: rustix::io::Errno| error).expect("options of a socket")
}

/// A listening node with links that all claim one id, over streams of which the test keeps a copy.
struct Links {
    node: Node,
    near: Vec<TcpStream>,
    far: Vec<PlainPeer>,
}

fn links(count: usize) -> Links {
    let listener = PlainListener::bind();
    let connect = || TcpStream::connect(("127.0.0.1", listener.port())).expect("a connection");
    let near: Vec<_> = (0..count).map(|_| connect()).collect();
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(quick());
    let builder = near.iter().fold(builder, |builder, stream| {
        builder.stream(stream.try_clone().expect("a copy"), PeerType::Standard)
    });
    let mut node = Node::built(builder);
    let far = near.iter().map(|_| listener.answer(STANDARD, CLAIMED)).collect();
    for _ in &near {
        node.up();
    }
    Links { node, near, far }
}

impl Links {
    fn probing(&self) -> usize {
        self.near.iter().filter(|stream| keepalive(stream).0 == 0).count()
    }

    /// Waits until no link is probed any more; the keepalive is then the configured one.
    fn wait_until_restored(&self) {
        self.node.until("end of the probes", |_| self.probing() == 0);
        let limits = self.node.endpoint.limits();
        let millis = u32::try_from(limits.user_timeout.as_millis()).expect("some minutes");
        for stream in &self.near {
            let (user_timeout, idle, interval, _) = keepalive(stream);
            assert_eq!((user_timeout, idle), (millis, limits.keepalive));
            assert!(interval > Duration::from_secs(1), "{interval:?}");
        }
    }
}

#[test]
fn a_claimed_id_shortens_the_keepalive_for_a_while_only() {
    let mut links = links(1);
    links.wait_until_restored();
    let _claimant = links.node.accept_plain(STANDARD, CLAIMED);
    assert_eq!(links.probing(), 1, "it is not probed");
    links.wait_until_restored();
    assert!(links.far[0].poll(Duration::from_millis(1)).is_none(), "the link is still there");
}

#[test]
fn a_kick_shortens_the_keepalive_for_a_while_only() {
    let links = links(3);
    links.wait_until_restored();
    links.node.endpoint.kick(None).expect("all peers");
    assert_eq!(links.probing(), 3, "it is not probed");
    links.wait_until_restored();
}

#[test]
fn a_crowd_that_claims_one_id_has_few_links_probed() {
    let mut links = links(20);
    // They claimed it of each other as they came up.
    links.wait_until_restored();
    let _claimants: Vec<_> = (0..20).map(|_| links.node.accept_plain(STANDARD, CLAIMED)).collect();
    let probing = links.probing();
    assert!((1..=4).contains(&probing), "{probing} links were probed");
}
