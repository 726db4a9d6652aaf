//! Which peer keeps a router id that two nodes claim.

use netmod_inet::{DownReason, HandshakeError, InetEndpoint, PeerState};

use super::{at, dialer, dropped, encryption, exchange, id, listener, public, refused};
use crate::subject::{Node, quick};

/// A node without a key that listens.
fn plain_listener(number: u8) -> Node {
    let builder = InetEndpoint::builder().router_id(id(number)).bind("127.0.0.1:0");
    Node::started(builder.limits(quick()))
}

/// Anyone can generate a key.
#[test]
fn an_unlisted_key_does_not_cut_a_plain_peer() {
    let mut far = plain_listener(7);
    let mut hub = listener(1, encryption(1));
    let to_far = hub.add(&at(&far, &[]));
    hub.up();
    let (to_hub, _, _) = far.up();
    let mut unlisted = dialer(7, encryption(3));
    unlisted.add(&at(&hub, &[1]));
    unlisted.up();
    hub.up();
    // A peer that the unlisted key displaced would be cut before the up event.
    exchange(&hub, to_far, &far, to_hub);
    let info = hub.info(to_far);
    assert_eq!((info.state, info.links), (PeerState::Up, 1), "{:?}", info.last_error);
}

#[test]
fn an_unlisted_key_does_not_block_a_peer_that_this_node_dials() {
    let mut hub = listener(1, encryption(1));
    let mut unlisted = dialer(7, encryption(3));
    let target = unlisted.add(&at(&hub, &[1]));
    unlisted.up();
    let (to_unlisted, _, _) = hub.up();
    let mut far = listener(7, encryption(7));
    let to_far = hub.add(&at(&far, &[]));
    let (reason, _) = hub.down(to_unlisted);
    assert!(matches!(reason, DownReason::IdTaken(key) if key == public(7)), "{reason}");
    let (to_hub, _, _) = far.up();
    exchange(&hub, to_far, &far, to_hub);
    // And it stays out as long as that one is there.
    let error = dropped(&mut hub);
    assert!(matches!(error, HandshakeError::IdTaken { .. }), "{error}");
    unlisted.remove(target);
}

#[test]
fn an_unlisted_key_does_not_block_a_plain_peer_that_this_node_dials() {
    let mut hub = listener(1, encryption(1));
    let mut unlisted = dialer(7, encryption(3));
    unlisted.add(&at(&hub, &[1]));
    unlisted.up();
    let (to_unlisted, _, _) = hub.up();
    let mut far = plain_listener(7);
    let to_far = hub.add(&at(&far, &[]));
    hub.down(to_unlisted);
    let (to_hub, _, _) = far.up();
    exchange(&hub, to_far, &far, to_hub);
}

/// Of two that it dials, the first has the id.
#[test]
fn of_two_dialed_peers_the_first_keeps_the_id() {
    let mut hub = listener(1, encryption(1));
    let [one, two] = [3, 4].map(|key| listener(7, encryption(key)));
    let to_one = hub.add(&at(&one, &[]));
    hub.up();
    let to_two = hub.add(&at(&two, &[]));
    let error = refused(&mut hub, to_two);
    let is_due = matches!(error, HandshakeError::IdTaken { holder: Some(key), .. }
        if key == public(3));
    assert!(is_due, "{error}");
    assert_eq!(hub.info(to_one).links, 1);
    // Unless its key is pinned.
    hub.remove(to_two);
    hub.removed(to_two);
    hub.add(&at(&two, &[4]));
    hub.down(to_one);
}
