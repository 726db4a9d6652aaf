//! Where an endpoint listens: IPv4, IPv6, both on one port, sockets of the caller's.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use netmod_inet::{InetEndpoint, PeerType, StartError};

use crate::scripted::{PlainPeer, STANDARD};
use crate::subject::{Node, quick, within};

fn node(binds: &[&str]) -> Node {
    let builder = InetEndpoint::builder().limits(quick());
    Node::built(binds.iter().fold(builder, |builder, bind| builder.bind(bind)))
}

/// Whether somebody takes connections there.
fn answers(host: &str, port: u16) -> bool {
    TcpStream::connect((host, port)).is_ok()
}

/// A node that dials `address` gets through.
fn reaches(address: String) {
    let mut dialer = Node::dial_only();
    let target = dialer.add(&address);
    assert_eq!(dialer.up().0, target, "{address}");
}

#[test]
fn each_family_on_its_own() {
    let v4 = node(&["127.0.0.1:0"]);
    reaches(format!("127.0.0.1:{}", v4.port()));
    assert!(!answers("::1", v4.port()));
    let v6 = node(&["[::1]:0"]);
    reaches(format!("[::1]:{}", v6.port()));
    assert!(!answers("127.0.0.1", v6.port()));
}

#[test]
fn the_unspecified_ipv6_address_alone_takes_both_as_that_of_a_ratman_node_does() {
    let mut both = node(&["[::]:0"]);
    reaches(format!("[::1]:{}", both.port()));
    let (peer, target) = both.accept_plain(STANDARD, 7);
    let addr = both.info(target).addr.expect("an address");
    assert_eq!(addr, peer.addr());
    assert!(addr.is_ipv4(), "shown as what it is");
}

#[test]
fn both_families_share_a_port_in_either_order() {
    for binds in [["[::]:0", "0.0.0.0:0"], ["0.0.0.0:0", "[::]:0"], ["[::1]:0", "127.0.0.1:0"]] {
        let both = node(&binds);
        let addrs = both.endpoint.local_addrs();
        assert_eq!(addrs.len(), 2, "{binds:?}: {addrs:?}");
        assert_eq!(addrs[0].port(), addrs[1].port());
        assert_ne!(addrs[0].is_ipv4(), addrs[1].is_ipv4());
        reaches(format!("127.0.0.1:{}", both.port()));
        reaches(format!("[::1]:{}", both.port()));
    }
}

#[test]
fn several_addresses_each_with_its_real_port() {
    let several = node(&["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"]);
    let addrs = several.endpoint.local_addrs();
    assert_eq!(addrs.len(), 3);
    for addr in &addrs {
        assert_ne!(addr.port(), 0);
        reaches(addr.to_string());
    }
    assert_eq!(several.endpoint.port(), Some(addrs[0].port()));
}

#[test]
fn without_a_listener_there_is_no_port() {
    let alone = Node::dial_only();
    assert_eq!((alone.endpoint.port(), alone.endpoint.local_addrs()), (None, Vec::new()));
}

#[test]
fn the_port_in_the_hello_is_the_one_that_is_listened_on() {
    let node = node(&["127.0.0.1:0"]);
    let listener = crate::scripted::PlainListener::bind();
    node.add(&listener.addr(""));
    let mut dialer = listener.accept();
    let hello = dialer.read_frame();
    // Behind header (41), variant (4) and peer type (4), in little-endian.
    assert_eq!(hello[49..51], node.port().to_le_bytes());
}

#[test]
fn an_address_that_is_taken_or_malformed_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    let error = within("start", InetEndpoint::start(&addr)).expect_err("the port is taken");
    assert!(matches!(error, StartError::Bind { .. }) && error.to_string().contains(&addr));
    assert!(!error.is_ipv6_unavailable());
    for text in ["", "9000", "localhost:9000", "::1:9000"] {
        let error = within("start", InetEndpoint::start(text)).expect_err("no address");
        assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
    }
}

#[test]
fn a_listener_of_the_callers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr: SocketAddr = listener.local_addr().expect("an address");
    let mut node = Node::built(InetEndpoint::builder().listener(listener).limits(quick()));
    assert_eq!(node.endpoint.local_addrs(), [addr]);
    node.serves("a given listener");
}

#[test]
fn a_stream_of_the_callers_is_a_peer_as_long_as_it_lasts() {
    let listener = crate::scripted::PlainListener::bind();
    let stream = TcpStream::connect(("127.0.0.1", listener.port())).expect("a connection");
    let builder = InetEndpoint::builder().stream(stream, PeerType::Standard).limits(quick());
    let mut node = Node::built(builder);
    let mut far: PlainPeer = listener.answer(STANDARD, 5);
    node.until("link", |endpoint| endpoint.peers().first().is_some_and(|peer| peer.links == 1));
    let frame = crate::scripted::carrier(8, 5, b"over a given stream");
    far.send(&frame);
    node.expect_frames(0.into(), [&frame]);
    let peer = within("peer", node.endpoint.routes().get_peer_by_id(0.into()));
    let peer = Arc::downgrade(&peer.expect("it is up"));
    drop(far);
    node.removed(0.into());
    assert!(!within("peer", node.endpoint.routes().exists(0.into())));
    node.until("end of what was kept of the peer", |_| peer.upgrade().is_none());
    assert!(listener.stays_alone(std::time::Duration::from_millis(100)), "nobody dials it again");
}
