//! From a socket or an address to a link that has shaken hands.

mod acceptor;
mod connect;
mod dialer;
pub(crate) mod handshake;
mod key_exchange;
mod merge;
mod peer_lease;
mod probe;
#[cfg(test)]
pub(crate) mod test_support;

use std::sync::Arc;
use std::time::Duration;

use crate::error::{DownReason, HandshakeError};
use crate::events::Event;
use crate::peer::Peer;
use crate::proto::Id;
use crate::shared::TaskRef;
use crate::transport::Link;

pub(crate) use acceptor::handle_stream;
pub(crate) use dialer::{start_connection, start_stream};
pub(crate) use probe::probe;

/// Notes and tells that a peer's link is up. Not if the other side may not be `id` after all: another
/// may have become that since the handshake.
async fn link_up(
    running: &Arc<TaskRef>,
    peer: &Arc<Peer>,
    link: &Arc<Link>,
    id: Id,
) -> Result<(), HandshakeError> {
    key_exchange::enter(running, peer, id, link)?;
    probe::probe_claimed(running, peer, id);
    running.routes.add_peer(peer.target(), peer.clone()).await;
    running.events.emit(Event::Up {
        target: peer.target(),
        id,
        addr: link.addr,
        origin: peer.origin(),
        peer_type: peer.peer_type(),
        key: link.key(),
    });
    merge::announce_duplicates(running, peer);
    Ok(())
}

/// Notes and tells that a peer's link ended, and when it is dialed next.
fn link_down(running: &TaskRef, peer: &Peer, reason: DownReason, retry: Option<Duration>) {
    peer.link_down(&reason, retry);
    running.events.emit(Event::Down { target: peer.target(), reason, retry });
}

#[cfg(all(test, feature = "noise"))]
mod tests {
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
        test_support::encrypting(Global, Encryption::new(KeyPair::from_bytes([1; 32])))
    }

    /// A link to whoever has the key with this number.
    fn link(number: u8) -> Arc<Link> {
        Link::keyed(Pipe::pair().0, None, Vec::new(), Some(Arc::new(SEVEN)), Some(public(number)))
    }

    fn told(events: &Events) -> Vec<Event> {
        std::iter::from_fn(|| events.try_next().unwrap()).collect()
    }

    /// Both were judged before either was entered, so that neither was in the way.
    #[test]
    fn of_two_who_claim_an_id_at_once_the_later_is_never_told_to_be_up() {
        let running = node();
        let enter = || {
            let peer = running.add_linked(PeerType::Standard, Origin::Accepted, None).unwrap();
            PeerLease::try_acquire(&running, &peer).unwrap()
        };
        let (first, second) = (enter(), enter());
        block_on(link_up(&running, &first.peer, &link(2), SEVEN)).unwrap();
        let events = running.events.subscribe();
        told(&events);
        let refused = block_on(link_up(&running, &second.peer, &link(3), SEVEN)).unwrap_err();
        let is_due = matches!(refused, HandshakeError::IdTaken { id, key, holder }
            if id == SEVEN && key == Some(public(3)) && holder == Some(public(2)));
        assert!(is_due, "{refused}");
        assert_eq!(second.peer.id(), None);
        // What nobody heard of is not told to be gone, either.
        drop(second);
        let told = told(&events);
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(first.peer.id(), Some(SEVEN));
    }

    #[test]
    fn one_that_is_dialed_has_an_attempt_that_failed() {
        let running = node();
        let add = |number| {
            let dial = format!("far:900{number}").parse().unwrap();
            let peer = Arc::new(Peer::dialed(number, dial, running.new_queue()));
            let peer = running.add_peers(|_| Ok::<_, ()>(vec![peer])).unwrap().remove(0);
            PeerLease::try_acquire(&running, &peer).unwrap()
        };
        let (first, second) = (add(0), add(1));
        block_on(link_up(&running, &first.peer, &link(2), SEVEN)).unwrap();
        let events = running.events.subscribe();
        told(&events);
        block_on(dialer::bring_up(&running, second, (link(3), SEVEN)));
        let told = told(&events);
        let is_due = matches!(
            &told[..],
            [Event::Attempt {
                target: 1,
                reason: AttemptError::Handshake(HandshakeError::IdTaken { .. }),
                retry: Some(_),
                ..
            }]
        );
        assert!(is_due, "{told:?}");
    }
}
