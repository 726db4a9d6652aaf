//! Which links are encrypted, and which may be plain.

use netmod_inet::{AddPeersError, AttemptError, DropReason, Encryption, GoodbyeReason};
use netmod_inet::{HandshakeError, InetEndpoint, NotEncrypting};

use super::{at, dialer, encryption, exchange, listener, public};
use crate::scripted::{PlainListener, PlainPeer, STANDARD, hello, prefixed};
use crate::subject::{Node, quick, within};

/// How an endpoint can ask for encryption.
fn demands(number: u8) -> [Encryption; 3] {
    let secret = netmod_inet::NetworkSecret::from_bytes([9; 32]);
    let [a, b, c] = [(); 3].map(|()| encryption(number));
    [a.required(), b.allow(public(77)), c.network_secret(secret)]
}

#[test]
fn both_ends_show_each_others_key() {
    let mut far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let to_far = near.add(&at(&far, &[]));
    near.up();
    let (to_near, _, _) = far.up();
    assert_eq!(near.info(to_far).key, Some(public(1)));
    assert_eq!(far.info(to_near).key, Some(public(2)));
    exchange(&near, to_far, &far, to_near);
}

#[test]
fn a_plain_peer_is_welcome_where_nothing_asks_for_more_and_is_shown_as_such() {
    let mut node = listener(1, encryption(1));
    let (peer, target) = node.accept_plain(STANDARD, 5);
    assert_eq!(node.info(target).key, None);
    drop(peer);
    let plain = PlainListener::bind();
    let target = node.add(&plain.addr(""));
    let _peer = plain.answer(STANDARD, 6);
    node.wait("the peer that was dialed", |event| match event {
        netmod_inet::Event::Up { target: up, key, .. } if *up == target => Some(*key),
        _ => None,
    });
    assert_eq!(node.info(target).key, None);
}

/// A node of this crate without a key is plain as well.
#[test]
fn a_node_without_a_key_has_plain_links() {
    let mut far = listener(1, encryption(1));
    let mut near = Node::started(InetEndpoint::builder().limits(quick()));
    let to_far = near.add(&at(&far, &[]));
    near.up();
    let (to_near, _, _) = far.up();
    assert_eq!((near.info(to_far).key, far.info(to_near).key), (None, None));
    exchange(&near, to_far, &far, to_near);
}

#[test]
fn a_node_that_requires_encryption_accepts_no_plain_link() {
    for demand in demands(1) {
        let mut node = listener(1, demand);
        let mut connection = PlainPeer::connect(node.port());
        connection.write(&prefixed(&hello(STANDARD, 0, 5)));
        connection.expect_end();
        let reason = node.dropped(&connection);
        let is_due = matches!(reason, DropReason::Handshake(HandshakeError::NotEncrypted));
        assert!(is_due, "{reason}");
        // One that shares records gets a goodbye.
        let mut near = Node::started(InetEndpoint::builder().limits(quick()));
        let target = near.add(&at(&node, &[]));
        let AttemptError::Handshake(HandshakeError::Refused(goodbye)) = near.attempt(target) else {
            panic!("it got no goodbye");
        };
        assert_eq!(goodbye.reason, GoodbyeReason::NotEncrypted);
        assert!(node.endpoint.peers().is_empty());
    }
}

#[test]
fn a_node_that_requires_encryption_dials_no_plain_link() {
    let [required, _, secret] = demands(1);
    let cases =
        [(required, String::new()), (secret, String::new()), (encryption(1), pin(&public(9)))];
    for (encryption, options) in cases {
        let plain = PlainListener::bind();
        let mut node = dialer(1, encryption);
        let target = node.add(&plain.addr(&options));
        let mut peer = plain.answer(STANDARD, 6);
        let reason = node.attempt(target);
        let is_due = matches!(reason, AttemptError::Handshake(HandshakeError::NotEncrypted));
        assert!(is_due, "{reason}");
        peer.expect_end();
    }
}

fn pin(key: &netmod_inet::PublicKey) -> String {
    format!("?key={key}")
}

#[test]
fn without_a_key_of_its_own_an_endpoint_pins_none_and_lists_none() {
    let node = Node::started(InetEndpoint::builder().limits(quick()));
    let addr = format!("127.0.0.1:1{}", pin(&public(9)));
    let error = within("add", node.endpoint.add_peers(["127.0.0.1:2", &addr])).unwrap_err();
    assert!(matches!(error, AddPeersError::NoKey { entry: 2, .. }), "{error}");
    assert!(error.to_string().contains("this node has no key"), "{error}");
    assert!(node.endpoint.peers().is_empty());
    assert_eq!(node.endpoint.set_allowed_keys([public(9)]), Err(NotEncrypting));
    assert_eq!(node.endpoint.allow_any_key(), Err(NotEncrypting));
}
