//! Tests of links that come up under a router id that another peer has claimed.

use super::*;
use crate::config::Encryption;
use crate::config::Global;
use crate::config::KeyPair;
use crate::error::AttemptError;
use crate::events::Events;
use crate::peer::Origin;
use crate::proto::{PeerType, PublicKey};
use crate::session::peer_lease::PeerLease;
use crate::testing::kit::pipe::Pipe;
use futures_lite::future::block_on;

const SEVEN: Id = Id::from_bytes([7; 32]);

fn public(number: u8) -> PublicKey {
    KeyPair::from_bytes([number; 32]).public()
}

fn node() -> Arc<TaskRef> {
    crate::session::test_support::encrypting(Global, Encryption::new(KeyPair::from_bytes([1; 32])))
}

/// A link to the node that has the key with this number.
fn link(number: u8) -> Arc<Link> {
    Link::new(Pipe::pair().0, None, Vec::new(), Some(Arc::new(SEVEN)), Some(public(number)))
}

fn drain(events: &Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next().unwrap()).collect()
}

/// Regression: both claims were checked before either link was up, so both were granted.
#[test]
fn the_later_of_two_concurrent_claims_is_refused() {
    let running = node();
    let add = || {
        let peer = running.add_linked(PeerType::Standard, Origin::Accepted, None, false).unwrap();
        PeerLease::try_acquire(&running, &peer).unwrap()
    };
    let (first, second) = (add(), add());
    block_on(link_up(&running, &first.peer, &link(2), SEVEN)).unwrap();
    let events = running.events.subscribe();
    drain(&events);
    let error = block_on(link_up(&running, &second.peer, &link(3), SEVEN)).unwrap_err();
    let is_expected = matches!(error, HandshakeError::IdTaken { id, key, holder }
        if id == SEVEN && key == Some(public(3)) && holder == Some(public(2)));
    assert!(is_expected, "{error}");
    assert_eq!(second.peer.id(), None);
    // A peer that was never announced is not announced as removed either.
    drop(second);
    let events = drain(&events);
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(first.peer.id(), Some(SEVEN));
}

#[test]
fn a_dialed_peer_with_a_taken_id_reports_a_failed_attempt() {
    let running = node();
    let add = |number| {
        let dial = format!("far:900{number}").parse().unwrap();
        let peer = Arc::new(Peer::dialed(number, dial, running.new_queue()));
        let peer = running.add_peers(|_| Ok::<_, ()>(vec![peer])).unwrap().remove(0);
        PeerLease::try_acquire(&running, &peer).unwrap()
    };
    let (first, second) = (add(0.into()), add(1.into()));
    block_on(link_up(&running, &first.peer, &link(2), SEVEN)).unwrap();
    let events = running.events.subscribe();
    drain(&events);
    block_on(bring_up(&running, second, (link(3), SEVEN)));
    let events = drain(&events);
    let is_expected = matches!(
        &events[..],
        [Event::Attempt {
            target,
            reason: AttemptError::Handshake(HandshakeError::IdTaken { .. }),
            retry: Some(_),
            ..
        }] if *target == 1.into()
    );
    assert!(is_expected, "{events:?}");
}
