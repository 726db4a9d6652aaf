//! Who the remote is: pinned keys, the allow-list, and router ids.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use netmod_inet::{
    AcceptPolicy, AttemptError, DownReason, DropReason, Encryption, Event, GoodbyeReason,
    HandshakeError, InetEndpoint, NetworkSecret,
};

use super::{at, dialer, dropped, encryption, exchange, id, keys, listener, public, refused};
use crate::addresses::own_addr;
use crate::resume::by_hand::{
    ACK, CREDIT, Extension, PROOF, Wire, control, extension_of, hello as hello_with, new_extension,
    proof_of_dialer, secret,
};
use crate::scripted::{PlainPeer, STANDARD, ack, hello, numbered, prefixed};
use crate::subject::{Node, quick, within};

#[test]
fn only_a_node_with_a_pinned_key_is_dialed() {
    let far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let target = near.add(&at(&far, &[1]));
    near.up();
    assert_eq!(near.info(target).key, Some(public(1)));
    let mut other = listener(3, encryption(3));
    let target = near.add(&at(&other, &[1]));
    let error = refused(&mut near, target);
    assert!(matches!(error, HandshakeError::WrongKey(key) if key == public(3)), "{error}");
    assert!(error.to_string().contains(&public(3).to_string()), "{error}");
    // The refused node never receives the key of the dialer.
    let reason = dropped(&mut other).to_string();
    assert!(!reason.contains(&public(2).to_string()), "{reason}");
    assert!(other.endpoint.peers().is_empty());
}

#[test]
fn a_key_is_changed_by_pinning_the_old_and_the_new_one() {
    let mut far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let target = near.add(&at(&far, &[1, 4]));
    near.up();
    far.up();
    let port = far.port();
    drop(far);
    near.down(target);
    let builder = InetEndpoint::builder().router_id(id(1)).bind(format!("127.0.0.1:{port}"));
    let mut far = Node::started(builder.encrypt(encryption(4)).limits(quick()));
    near.up();
    let (to_near, _, _) = far.up();
    assert_eq!(near.info(target).key, Some(public(4)));
    exchange(&near, target, &far, to_near);
}

#[test]
fn only_listed_keys_are_admitted_and_others_are_reported() {
    let mut far = listener(1, encryption(1).allow(public(2)));
    let mut friend = dialer(2, encryption(2));
    friend.add(&at(&far, &[]));
    friend.up();
    far.up();
    let mut unlisted = dialer(3, encryption(3));
    let target = unlisted.add(&at(&far, &[]));
    // It receives the refusal, and nothing else.
    let HandshakeError::Refused(goodbye) = refused(&mut unlisted, target) else {
        panic!("it was not refused");
    };
    assert_eq!(goodbye.reason, GoodbyeReason::NotAllowed);
    let error = dropped(&mut far);
    assert!(matches!(error, HandshakeError::KeyNotAllowed(key) if key == public(3)), "{error}");
    assert_eq!(far.endpoint.peers().len(), 1);
}

#[test]
fn the_list_is_changed_while_the_node_runs() {
    let mut far = listener(1, encryption(1).allow(public(9)));
    let mut near = dialer(2, encryption(2));
    let to_far = near.add(&at(&far, &[1]));
    dropped(&mut far);
    far.endpoint.set_allowed_keys([public(2), public(9)]).expect("it encrypts");
    near.up();
    let (to_near, _, _) = far.up();
    exchange(&near, to_far, &far, to_near);
    far.endpoint.set_allowed_keys([public(9)]).expect("it encrypts");
    let (reason, _) = far.down(to_near);
    let is_due = matches!(reason, DownReason::NotAllowed(Some(key)) if key == public(2));
    assert!(is_due, "{reason}");
    near.down(to_far);
    let error = dropped(&mut far);
    assert!(matches!(error, HandshakeError::KeyNotAllowed(key) if key == public(2)), "{error}");
    far.endpoint.allow_any_key().expect("it encrypts");
    near.up();
    far.up();
}

/// The dialer sent its Hello while plain links were admitted.
#[test]
fn a_change_of_the_list_applies_to_handshakes_in_progress() {
    let mut far = listener(1, encryption(1));
    let mut wire = Wire::to(far.port());
    let own = new_extension(&[9; 16], [8; 16], [7; 16]);
    wire.send(&hello_with(9, &own));
    let remote = extension_of(&wire.expect_frame());
    far.endpoint.set_allowed_keys([public(2)]).expect("it encrypts");
    let proof = proof_of_dialer(&secret(&own, &remote), &own, &remote);
    wire.send(&control(
        9,
        &Extension::from([(PROOF, proof.to_vec()), (ACK, vec![0; 8]), (CREDIT, vec![0; 8])]),
    ));
    let error = far.wait("end of the handshake", |event| match event {
        Event::Up { .. } => Some(None),
        Event::Dropped { reason: DropReason::Handshake(error), .. } => Some(Some(error.clone())),
        _ => None,
    });
    assert!(matches!(error, Some(HandshakeError::NotEncrypted)), "{error:?}");
    assert!(far.endpoint.peers().is_empty());
}

/// Each dials the other, and either dial may succeed.
#[test]
fn a_pinned_peer_may_also_dial_in() {
    let mut far = listener(1, encryption(1).allow(public(9)));
    let mut near = listener(2, encryption(2));
    far.add(&format!("127.0.0.1:1?key={}", public(2)));
    near.add(&at(&far, &[1]));
    near.up();
    far.up();
}

#[test]
fn a_router_id_belongs_to_a_key_as_long_as_its_peer_lives() {
    let mut far = listener(1, encryption(1));
    let mut owner = dialer(2, encryption(2));
    owner.add(&at(&far, &[1]));
    owner.up();
    let (to_owner, _, _) = far.up();
    // Another key, and none at all.
    let mut attacker = dialer(2, encryption(3));
    let target = attacker.add(&at(&far, &[1]));
    let error = refused(&mut attacker, target);
    assert!(matches!(error, HandshakeError::Refused(_)), "{error}");
    let (claimed, taken) = (Some(public(3)), Some(public(2)));
    let error = dropped(&mut far);
    let is_due = matches!(error, HandshakeError::IdTaken { id: of, key, holder }
        if of == id(2) && key == claimed && holder == taken);
    assert!(is_due, "{error}");
    attacker.remove(target);
    let mut plain = PlainPeer::connect(far.port());
    plain.write(&prefixed(&hello(STANDARD, 0, 2)));
    plain.expect_end();
    let reason = far.dropped(&plain).to_string();
    assert!(reason.contains("a node on a plain link"), "{reason}");
    // The owner itself may have another link, under the same key.
    let builder = InetEndpoint::builder().router_id(id(2)).encrypt(encryption(2));
    let mut again = Node::started(builder.limits(quick()));
    again.add(&at(&far, &[1]));
    again.up();
    far.up();
    within("shutdown", again.endpoint.shutdown());
    // When the owner's peer is gone, so is its claim.
    far.remove(to_owner);
    far.removed(to_owner);
    drop(owner);
    far.until("nobody", |endpoint| endpoint.peers().is_empty());
    let to_far = attacker.add(&at(&far, &[1]));
    attacker.up();
    assert_eq!(attacker.info(to_far).key, Some(public(1)));
}

#[test]
fn a_trusted_key_outranks_an_earlier_claim() {
    let mut far = listener(1, encryption(1));
    // A peer with a pinned key, which is not running yet.
    far.add(&format!("127.0.0.1:1?key={}", public(2)));
    let mut attacker = dialer(2, encryption(3));
    attacker.add(&at(&far, &[1]));
    attacker.up();
    let (to_attacker, _, _) = far.up();
    let mut owner = dialer(2, encryption(2));
    owner.add(&at(&far, &[1]));
    owner.up();
    let (reason, _) = far.down(to_attacker);
    assert!(matches!(reason, DownReason::IdTaken(key) if key == public(2)), "{reason}");
    let error = dropped(&mut far);
    assert!(matches!(error, HandshakeError::IdTaken { .. }), "{error}");
}

#[test]
fn a_router_id_can_be_pinned_to_keys() {
    let pinning = encryption(1).pin(id(2), public(2)).pin(id(2), public(4));
    let mut far = listener(1, pinning);
    let mut attacker = dialer(2, encryption(3));
    let target = attacker.add(&at(&far, &[1]));
    refused(&mut attacker, target);
    let error = dropped(&mut far);
    assert!(matches!(error, HandshakeError::IdTaken { holder: None, .. }), "{error}");
    let mut plain = PlainPeer::connect(far.port());
    plain.write(&prefixed(&hello(STANDARD, 0, 2)));
    plain.expect_end();
    for number in [4, 2] {
        let mut owner = dialer(2, encryption(number));
        owner.add(&at(&far, &[1]));
        owner.up();
        let (target, _, _) = far.up();
        assert_eq!(far.info(target).key, Some(public(number)));
        far.remove(target);
        far.removed(target);
    }
}

/// The list and the pins are static; the callback decides at run time.
#[test]
fn the_callback_gets_key_and_claimed_id_once_per_unknown_peer() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let asked = seen.clone();
    let policy = AcceptPolicy::all().callback(move |incoming| {
        asked.lock().unwrap().push((incoming.id, incoming.key));
        (incoming.id, incoming.key) == (id(2), Some(public(2)))
    });
    let builder = InetEndpoint::builder().router_id(id(1)).bind("127.0.0.1:0").accept(policy);
    let mut far = Node::started(builder.encrypt(encryption(1)).limits(quick()));
    let mut near = dialer(2, encryption(2));
    near.add(&at(&far, &[]));
    near.up();
    far.up();
    let mut attacker = dialer(3, encryption(3));
    let target = attacker.add(&at(&far, &[]));
    let error = refused(&mut attacker, target);
    let is_due = matches!(&error, HandshakeError::Refused(goodbye)
        if goodbye.reason == GoodbyeReason::NotAllowed);
    assert!(is_due, "{error}");
    attacker.remove(target);
    let mut plain = PlainPeer::connect(far.port());
    plain.write(&prefixed(&hello(STANDARD, 0, 2)));
    assert!(matches!(far.dropped(&plain), DropReason::NotAllowed));
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    // The attacker may have come again before it was removed.
    seen.dedup();
    let due = [(id(2), Some(public(2))), (id(3), Some(public(3))), (id(2), None)];
    assert_eq!(seen, due);
}

/// Neither what can be printed nor what happens to links: they come up, are refused, resumed and
/// end.
#[test]
fn neither_debug_output_nor_events_hold_a_secret() {
    let network = || NetworkSecret::from_bytes([0x6f; 32]);
    let own = Encryption::new(keys(0x5e)).network_secret(network());
    let mut shown = format!("{own:?} {:?}", InetEndpoint::builder().encrypt(own.clone()));
    let mut far = listener(1, own);
    let events = [far.endpoint.events()];
    let [mut near, mut other] = [(2, network()), (3, NetworkSecret::from_bytes([0x71; 32]))]
        .map(|(number, secret)| dialer(number, Encryption::new(keys(0x70)).network_secret(secret)));
    let events = [&near, &other].map(|node| node.endpoint.events()).into_iter().chain(events);
    let target = near.add(&at(&far, &[0x5e]));
    near.up();
    let (to_near, _, _) = far.up();
    exchange(&near, target, &far, to_near);
    let refused = other.add(&at(&far, &[0x5e]));
    shown += &other.attempt(refused).to_string();
    dropped(&mut far);
    for node in [&far, &near, &other] {
        shown += &format!("{:?} {:?}", node.endpoint, node.endpoint.peers());
    }
    near.remove(target);
    far.down(to_near);
    let mut count = 0;
    for events in events {
        while let Ok(Some(event)) = events.try_next() {
            shown += &format!("{event} {event:?} ");
            count += 1;
        }
    }
    assert!(count > 5 && shown.contains(&public(0x70).to_string()), "{shown}");
    for byte in [0x5e, 0x6f, 0x70, 0x71] {
        for secret in [format!("{byte:02x}{byte:02x}"), format!("{byte}, {byte}")] {
            assert!(!shown.contains(&secret), "{shown}");
        }
    }
}

/// The list is of those who may dial in, and yet shows that the owner wants encryption.
#[test]
fn a_node_with_an_allow_list_dials_no_plain_node() {
    let builder = InetEndpoint::builder().router_id(id(7)).bind("127.0.0.1:0");
    let far = Node::started(builder.limits(quick()));
    let mut near = dialer(2, encryption(2).allow(public(1)));
    let target = near.add(&at(&far, &[]));
    assert!(matches!(refused(&mut near, target), HandshakeError::NotEncrypted));
}

/// Merges the peers at two addresses of one node, stops that node, and has an attacker without a
/// key reply at the second address. Returns the error of the dialer's handshake with it.
fn handshake_at_the_second_address(pin: &str) -> HandshakeError {
    let builder =
        InetEndpoint::builder().router_id(id(1)).bind("127.0.0.1:0").bind(own_addr().to_string());
    let far = Node::started(builder.encrypt(encryption(1)).limits(quick()));
    let addrs = far.endpoint.local_addrs().to_vec();
    let mut near = dialer(2, encryption(2));
    let target = near.add(&format!("{}{pin}", addrs[0]));
    near.up();
    near.add(&addrs[1].to_string());
    near.until("merge", |endpoint| endpoint.peers().len() == 1);
    drop(far);
    near.down(target);
    near.try_send(target, &numbered(77, 100));
    let attacker = TcpListener::bind(addrs[1]).expect("an address that is free again");
    let attacker = std::thread::spawn(move || {
        let mut wire = Wire::over(attacker.accept().expect("a dialer").0);
        wire.expect_frame();
        wire.send(&ack(STANDARD, 66));
        wire.recv()
    });
    let error = near.wait("refused handshake", |event| match event {
        Event::Attempt { reason: AttemptError::Handshake(error), .. } => Some(error.clone()),
        Event::Up { target: from, .. } if *from == target => panic!("it came up"),
        _ => None,
    });
    assert_eq!(attacker.join().expect("an attacker"), None, "it was sent something");
    error
}

/// Regression: the second address named no key, so it was dialed without one, and queued frames
/// were sent to it.
#[test]
fn a_pin_holds_at_all_addresses_of_a_merged_peer() {
    let error = handshake_at_the_second_address(&format!("?key={}", public(1)));
    assert!(matches!(error, HandshakeError::NotEncrypted), "{error}");
}

/// The same if no address pins a key.
#[test]
fn an_address_from_a_merge_requires_the_merged_node() {
    let error = handshake_at_the_second_address("");
    assert!(matches!(error, HandshakeError::NotEncrypted), "{error}");
}
