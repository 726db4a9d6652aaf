//! Mistakes of the caller: each has an error of its own, and a frame comes back with it.

use std::collections::HashSet;
use std::net::TcpListener;

use netmod_inet::{Closed, Frame, FrameError, Id, InetEndpoint, SendErrorKind, StartError, Target};

use crate::addresses::own_addr;
use crate::scripted::{CROSS, LIMITED_RECEIVING, LIMITED_SENDING, STANDARD, carrier, numbered};
use crate::subject::{Node, parsed, quick, within};

/// Both ways to send refuse this frame for this reason, and both give it back.
fn refuses(endpoint: &InetEndpoint, target: Target, body: &[u8], reason: SendErrorKind) {
    let refused = endpoint.try_send(target, parsed(body)).expect_err("try_send takes it");
    assert_eq!(refused.reason(), reason);
    assert!(refused.frame().as_bytes() == body, "try_send gave another frame back");
    let refused = within("refusal", endpoint.send(target, parsed(body)));
    let refused = refused.expect_err("send takes it");
    assert_eq!(refused.reason(), reason);
    assert_eq!(refused.to_string(), reason.to_string());
    assert!(refused.into_frame().as_bytes() == body, "send gave another frame back");
}

#[test]
fn modes_of_the_netmod_are_refused_on_every_link() {
    let mut node = Node::listening();
    for peer_type in [STANDARD, CROSS, LIMITED_RECEIVING] {
        let (mut peer, target) = node.accept_plain(peer_type, 3);
        for modes in 32..=63 {
            refuses(&node.endpoint, target, &carrier(modes, 3, b"x"), SendErrorKind::Reserved);
        }
        // Nothing of them was written: the next frame is the first.
        for modes in [31, 64] {
            node.try_send(target, &carrier(modes, 3, b"x"));
            assert_eq!(peer.read_frame(), carrier(modes, 3, b"x"));
        }
    }
}

#[test]
fn a_flood_of_reserved_modes_goes_nowhere() {
    let mut node = Node::listening();
    let (mut peer, target) = node.accept_plain(STANDARD, 3);
    let body = carrier(32, 3, b"x");
    let refused = node.endpoint.send_all(parsed(&body)).expect_err("reserved");
    assert_eq!(refused.reason(), SendErrorKind::Reserved);
    assert_eq!(refused.into_frame().as_bytes(), body);
    let refused = node.endpoint.send_all_except(parsed(&body), &[target]).expect_err("reserved");
    assert_eq!(refused.reason(), SendErrorKind::Reserved);
    node.try_send(target, &numbered(1, 9));
    assert_eq!(peer.read_frame(), numbered(1, 9));
}

#[test]
fn frames_over_the_limit_are_refused() {
    let mut limits = quick();
    limits.frame_bytes = 1000;
    let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
    let mut node = Node::built(builder);
    let (mut peer, target) = node.accept_plain(STANDARD, 3);
    refuses(&node.endpoint, target, &carrier(8, 3, &[1; 960]), SendErrorKind::TooLarge);
    let largest = carrier(8, 3, &[1; 959]);
    assert_eq!(largest.len(), 1000);
    node.try_send(target, &largest);
    assert_eq!(peer.read_frame(), largest);
}

#[test]
fn no_frame_is_larger_than_the_format_allows() {
    let build = |size| Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![0; size]).build();
    assert_eq!(build(65_535).expect("the largest payload").payload().len(), 65_535);
    assert_eq!(build(65_536), Err(FrameError::PayloadTooLong(65_536)));
    let too_long = Frame::parse([carrier(8, 3, &[1; 65_535]), vec![0; 193]].concat());
    assert_eq!(too_long, Err(FrameError::TooLong(65_769)));
}

#[test]
fn wrong_targets_are_refused() {
    let mut node = Node::listening();
    let (peer, target) = node.accept_plain(STANDARD, 3);
    for wrong in [u16::from(target).wrapping_add(1), u16::MAX].map(Target::from) {
        refuses(&node.endpoint, wrong, &numbered(1, 9), SendErrorKind::UnknownTarget);
        assert_eq!(within("removal", node.endpoint.remove_peer(wrong)).expect_err("none").0, wrong);
        assert_eq!(node.endpoint.kick(Some(wrong)).expect_err("none").0, wrong);
        assert!(node.endpoint.take_unconfirmed(wrong).is_empty());
    }
    drop(peer);
    node.removed(target);
    refuses(&node.endpoint, target, &numbered(1, 9), SendErrorKind::UnknownTarget);
}

#[test]
fn the_wrong_way_is_refused() {
    let mut node = Node::listening();
    let (_peer, target) = node.accept_plain(LIMITED_SENDING, 3);
    refuses(&node.endpoint, target, &numbered(1, 9), SendErrorKind::WrongDirection);
}

#[test]
fn a_closed_endpoint_refuses_everything() {
    let mut node = Node::listening();
    let (mut peer, target) = node.accept_plain(STANDARD, 3);
    within("shutdown", node.endpoint.shutdown());
    peer.expect_end();
    refuses(&node.endpoint, target, &numbered(1, 9), SendErrorKind::Closed);
    let flooded = node.endpoint.send_all(parsed(&numbered(1, 9)));
    assert_eq!(flooded.expect_err("closed").reason(), SendErrorKind::Closed);
    assert_eq!(within("next", node.endpoint.next()), Err(Closed));
    assert_eq!(node.endpoint.try_next(), Err(Closed));
    let added = within("add_peers", node.endpoint.add_peers(["127.0.0.1:1"]));
    assert_eq!(added, Err(netmod_inet::AddPeersError::Closed));
    within("second shutdown", node.endpoint.shutdown());
}

#[test]
fn the_refusals_read_differently() {
    let all = [
        SendErrorKind::UnknownTarget,
        SendErrorKind::Full,
        SendErrorKind::TimedOut,
        SendErrorKind::EndpointFull,
        SendErrorKind::TooLarge,
        SendErrorKind::Reserved,
        SendErrorKind::WrongDirection,
        SendErrorKind::LinkDown,
        SendErrorKind::Closed,
    ];
    let texts: HashSet<_> = all.iter().map(SendErrorKind::to_string).collect();
    assert_eq!(texts.len(), all.len());
}

#[test]
fn a_taken_bind_address_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("its address");
    let error = within("start", InetEndpoint::start(addr.to_string())).expect_err("it is taken");
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    assert!(!error.is_ipv6_unavailable());
    match error {
        StartError::Bind { addr: named, source } => {
            assert_eq!(named, addr);
            assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
        }
        other => panic!("{other:?}"),
    }
}

/// What was opened before the address that is taken is closed again.
#[test]
fn a_failed_start_leaves_nothing_open() {
    let addr = own_addr().to_string();
    let builder = InetEndpoint::builder().bind(&addr).bind(&addr);
    let error = within("start", builder.start()).expect_err("twice the same");
    assert!(error.to_string().contains(&addr), "{error}");
    within("start", InetEndpoint::start(&addr)).expect("a free port");
}

#[test]
fn a_limit_out_of_bounds_is_named() {
    for (name, value) in [
        ("handshake_bytes", "255"),
        ("handshake_bytes", &usize::MAX.to_string()),
        ("user_timeout", "600h"),
        ("redial_first", "0s"),
    ] {
        let mut limits = quick();
        limits.set(name, value).expect("a value");
        let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
        let error = within("start", builder.start()).expect_err(name);
        assert!(matches!(error, StartError::Limits(_)), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn limits_at_their_bounds_work() {
    let mut limits = quick();
    for (name, value) in
        [("handshake_bytes", "128k"), ("user_timeout", "500h"), ("keepalive", "9h")]
    {
        limits.set(name, value).expect("a value");
    }
    let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    node.serves("the largest limits");
    let mut limits = quick();
    limits.handshake_bytes = 256;
    let mut dialer = Node::built(InetEndpoint::builder().limits(limits));
    dialer.add(&format!("127.0.0.1:{}", node.port()));
    dialer.up();
}

#[test]
fn a_bind_address_that_is_none_is_named() {
    for text in ["", "9000", "localhost", "[::]", "1.2.3.4:x", "[::]:65536"] {
        let error = within("start", InetEndpoint::start(text)).expect_err(text);
        assert!(matches!(&error, StartError::Address(named) if named == text), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// Bytes of the caller, whose drop calls the endpoint.
struct OwnedBytes(Vec<u8>, InetEndpoint);

impl AsRef<[u8]> for OwnedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for OwnedBytes {
    fn drop(&mut self) {
        self.1.take_unconfirmed(0.into());
    }
}

#[test]
fn the_drop_of_returned_bytes_may_call_the_endpoint() {
    let mut limits = quick();
    limits.unconfirmed_bytes = 0;
    let mut node = Node::built(InetEndpoint::builder().limits(limits));
    let target = node.add("127.0.0.1:1");
    let bytes = OwnedBytes(carrier(8, 1, &[7; 5000]), node.endpoint.clone());
    let frame = Frame::parse(bytes::Bytes::from_owner(bytes)).expect("a valid frame");
    node.endpoint.try_send(target, frame).expect("room for a frame");
    node.remove(target);
    node.removed(target);
}
