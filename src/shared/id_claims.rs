//! Who has which key, and which router id.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use crate::error::{DownReason, HandshakeError};
use crate::peer::{Closing, Origin, Peer};
use crate::proto::{Id, PublicKey};
use crate::shared::{KeyPolicy, Shared};
use crate::transport::Link;

/// Who goes before whom, where two claim a router id: the later of these.
#[derive(PartialEq, PartialOrd)]
enum TrustLevel {
    /// Dialed in, with a key that nobody named or with none.
    Unknown,
    /// This node was told to have a link with it, whatever its key.
    Configured,
    /// Has a key that is listed or pinned.
    Trusted,
}

/// Whether it is only the other side that wanted to have the peer.
fn is_inbound(peer: &Peer) -> bool {
    peer.origin() == Origin::Accepted && !peer.is_dialed()
}

impl Shared {
    /// Whether a stranger with this key, or on a plain link, may come in: its key is allowed, or
    /// one of a peer that this node is told to dial, or nothing asks for one.
    pub(crate) fn check_key(
        &self,
        trust: &KeyPolicy,
        key: Option<PublicKey>,
    ) -> Result<(), HandshakeError> {
        match key {
            None if trust.is_required() => Err(HandshakeError::NotEncrypted),
            Some(key) if !trust.admits(&key) && !self.is_pinned(&key) => {
                Err(HandshakeError::KeyNotAllowed(key))
            }
            _ => Ok(()),
        }
    }

    /// Whether the address of a peer names this key.
    fn is_pinned(&self, key: &PublicKey) -> bool {
        let mut is_pinned = false;
        self.for_each_peer(|peer| is_pinned |= peer.is_pinned(key));
        is_pinned
    }

    /// Whether a node that has shown this key, or is on a plain link, may have a router id.
    ///
    /// An id belongs to the key of the peer that has it, as long as there is that peer. One of a
    /// higher standing goes first: the peers that go for it are returned.
    fn resolve_id_conflict(
        &self,
        trust: &KeyPolicy,
        id: Id,
        key: Option<PublicKey>,
        own: Option<&Peer>,
    ) -> Result<Vec<Arc<Peer>>, HandshakeError> {
        if !trust.may_claim(&id, key.as_ref()) {
            return Err(HandshakeError::IdTaken { id, key, holder: None });
        }
        let mut rivals = Vec::new();
        self.for_each_peer(|peer| {
            let is_own = own.is_some_and(|own| std::ptr::eq(own, &**peer));
            if !is_own && !peer.has_ended() && peer.id() == Some(id) && peer.key() != key {
                rivals.push(peer.clone());
            }
        });
        let claimed = self.trust_level(trust, key, own);
        let goes_first = |rival: &Peer| claimed > self.trust_level(trust, rival.key(), Some(rival));
        // A plain one has claimed the id and shown nothing, which anybody can do: it keeps nobody
        // out. Nor does it go for one who only made himself a key, which anybody can do as well.
        let is_in_the_way = |rival: &&Arc<Peer>| rival.key().is_some() && !goes_first(rival);
        if let Some(rival) = rivals.iter().find(is_in_the_way) {
            return Err(HandshakeError::IdTaken { id, key, holder: rival.key() });
        }
        rivals.retain(|rival| rival.queue.is_up() && goes_first(rival));
        Ok(rivals)
    }

    /// How well this node knows who is at the other end of a link.
    fn trust_level(
        &self,
        trust: &KeyPolicy,
        key: Option<PublicKey>,
        peer: Option<&Peer>,
    ) -> TrustLevel {
        if key.is_some_and(|key| trust.is_listed(&key) || self.is_pinned(&key)) {
            return TrustLevel::Trusted;
        }
        match peer.is_some_and(|peer| !is_inbound(peer)) {
            true => TrustLevel::Configured,
            false => TrustLevel::Unknown,
        }
    }

    /// Whether this node neither dials a peer nor was told of its key.
    pub(crate) fn is_unknown(&self, trust: &KeyPolicy, peer: &Peer) -> bool {
        self.trust_level(trust, peer.key(), Some(peer)) == TrustLevel::Unknown
    }

    /// Whether a node may have the router id that it claims.
    pub(crate) fn check_claim(
        &self,
        id: Id,
        key: Option<PublicKey>,
        own: Option<&Peer>,
    ) -> Result<(), HandshakeError> {
        match &self.key_policy {
            Some(trust) => self.resolve_id_conflict(trust, id, key, own).map(drop),
            None => Ok(()),
        }
    }

    /// Notes that a peer's link is up, and has those go that claimed its id with less right. Not if
    /// another one was there first meanwhile, or if the link may not come in any more.
    pub(crate) fn claim_id(
        &self,
        peer: &Peer,
        id: Id,
        link: &Arc<Link>,
    ) -> Result<(), HandshakeError> {
        let Some(trust) = &self.key_policy else {
            peer.link_up(id, link);
            return Ok(());
        };
        let entering = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        // What is asked of links may have changed since the handshake.
        if is_inbound(peer) {
            self.check_key(trust, link.key())?;
        }
        let rivals = self.resolve_id_conflict(trust, id, link.key(), Some(peer))?;
        peer.link_up(id, link);
        drop(entering);
        for rival in rivals {
            match (link.key(), rival.is_dialed()) {
                (Some(key), false) => rival.stop(Closing::Now, DownReason::IdTaken(key)),
                // It is dialed again, and refused as long as the id belongs to another.
                _ => rival.abort_link(),
            }
        }
        Ok(())
    }

    /// Changes which keys may come in, and has those go that may not any more.
    pub(crate) fn set_allowed_keys(&self, trust: &KeyPolicy, keys: Option<BTreeSet<PublicKey>>) {
        // A link is entered under the old list, and found here, or under the new one.
        let _entering = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        trust.set_allowed(keys);
        for peer in self.peers() {
            let key = peer.key();
            // One without an id was not entered yet.
            let is_judged = is_inbound(&peer) && peer.id().is_some();
            if is_judged && self.check_key(trust, key).is_err() {
                peer.stop(Closing::Now, DownReason::NotAllowed(key));
            }
        }
    }
}
