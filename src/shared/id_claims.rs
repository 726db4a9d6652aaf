//! Admission by key, and ownership of router ids.
//!
//! An id belongs to the key of the peer that holds it. A claim of a higher trust level displaces
//! the holder; any other is rejected, unless the holder has no key.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{DownReason, HandshakeError};
use crate::peer::{Closing, Origin, Peer};
use crate::proto::{Id, PublicKey};
use crate::shared::Shared;
use crate::shared::key_policy::KeyPolicy;
use crate::transport::Link;

/// How far this node trusts a peer, in ascending order. Decides between two claims to one router
/// id.
#[derive(PartialEq, PartialOrd)]
enum TrustLevel {
    /// An inbound peer without a key, or with one that is neither listed nor pinned.
    Unknown,
    /// A peer that this node was configured to dial, whatever its key.
    Configured,
    /// A peer whose key is listed or pinned.
    Trusted,
}

/// Whether the peer exists only because the remote node dialed this one.
fn is_inbound(peer: &Peer) -> bool {
    peer.origin() == Origin::Accepted && !peer.is_dialed()
}

impl Shared {
    /// Checks whether an inbound link with this key, or a plain one, is admitted. A key is admitted
    /// if it is allowed or pinned by a peer that this node dials; a plain link, if nothing requires
    /// encryption.
    pub(crate) fn check_key(
        &self,
        policy: &KeyPolicy,
        key: Option<PublicKey>,
    ) -> Result<(), HandshakeError> {
        match key {
            None if policy.is_required() => Err(HandshakeError::NotEncrypted),
            Some(key) if !policy.admits(&key) && !self.is_pinned(&key) => {
                Err(HandshakeError::KeyNotAllowed(key))
            }
            _ => Ok(()),
        }
    }

    /// Whether the address of any peer pins this key.
    fn is_pinned(&self, key: &PublicKey) -> bool {
        let mut is_pinned = false;
        self.for_each_peer(|peer| is_pinned |= peer.is_pinned(key));
        is_pinned
    }

    /// Checks whether a node that authenticated with this key, or is on a plain link, may have a
    /// router id.
    ///
    /// An id belongs to the key of the peer that holds it, for as long as that peer exists. A claim
    /// of a higher trust level wins: the peers that it displaces are returned.
    fn resolve_id_conflict(
        &self,
        policy: &KeyPolicy,
        id: Id,
        key: Option<PublicKey>,
        own: Option<&Peer>,
    ) -> Result<Vec<Arc<Peer>>, HandshakeError> {
        if !policy.may_claim(&id, key.as_ref()) {
            return Err(HandshakeError::IdTaken { id, key, holder: None });
        }
        let mut rivals = Vec::new();
        self.for_each_peer(|peer| {
            let is_own = own.is_some_and(|own| std::ptr::eq(own, &**peer));
            if !is_own && !peer.has_ended() && peer.id() == Some(id) && peer.key() != key {
                rivals.push(peer.clone());
            }
        });
        let claimed = self.trust_level(policy, key, own);
        let outranks = |rival: &Peer| claimed > self.trust_level(policy, rival.key(), Some(rival));
        // A plain peer has claimed the id without proof, so it blocks no claim. Nor is it displaced
        // by a node of the same trust level that merely generated a key.
        let keeps_id = |rival: &&Arc<Peer>| rival.key().is_some() && !outranks(rival);
        if let Some(rival) = rivals.iter().find(keeps_id) {
            return Err(HandshakeError::IdTaken { id, key, holder: rival.key() });
        }
        rivals.retain(|rival| rival.queue.is_up() && outranks(rival));
        Ok(rivals)
    }

    /// How far this node trusts the remote node of a link.
    fn trust_level(
        &self,
        policy: &KeyPolicy,
        key: Option<PublicKey>,
        peer: Option<&Peer>,
    ) -> TrustLevel {
        if key.is_some_and(|key| policy.is_listed(&key) || self.is_pinned(&key)) {
            return TrustLevel::Trusted;
        }
        match peer.is_some_and(|peer| !is_inbound(peer)) {
            true => TrustLevel::Configured,
            false => TrustLevel::Unknown,
        }
    }

    /// Whether a key is listed or pinned.
    pub(crate) fn is_trusted_key(&self, key: Option<PublicKey>) -> bool {
        let policy = self.key_policy.as_ref();
        policy.is_some_and(|policy| self.trust_level(policy, key, None) == TrustLevel::Trusted)
    }

    /// Whether this node neither dials a peer nor has its key listed or pinned.
    pub(crate) fn is_unknown(&self, policy: &KeyPolicy, peer: &Peer) -> bool {
        self.trust_level(policy, peer.key(), Some(peer)) == TrustLevel::Unknown
    }

    /// Checks whether a node may have the router id that it claims.
    pub(crate) fn check_claim(
        &self,
        id: Id,
        key: Option<PublicKey>,
        own: Option<&Peer>,
    ) -> Result<(), HandshakeError> {
        match &self.key_policy {
            Some(policy) => self.resolve_id_conflict(policy, id, key, own).map(drop),
            None => Ok(()),
        }
    }

    /// Marks the link of a peer as up, and displaces peers that hold its id at a lower trust level.
    /// Fails if another peer has claimed the id since the handshake, or if the link is not admitted
    /// any more.
    pub(crate) fn claim_id(
        &self,
        peer: &Peer,
        id: Id,
        link: &Arc<Link>,
    ) -> Result<(), HandshakeError> {
        let Some(policy) = &self.key_policy else {
            peer.link_up(id, link);
            return Ok(());
        };
        let claims = policy.claims.lock();
        // The policy may have changed since the handshake.
        if is_inbound(peer) {
            self.check_key(policy, link.key())?;
        }
        let rivals = self.resolve_id_conflict(policy, id, link.key(), Some(peer))?;
        let level = self.trust_level(policy, link.key(), Some(peer));
        peer.set_trusted(level == TrustLevel::Trusted);
        peer.link_up(id, link);
        drop(claims);
        for rival in rivals {
            match (link.key(), rival.is_dialed()) {
                (Some(key), false) => rival.stop(Closing::Now, DownReason::IdTaken(key)),
                // It is dialed again, and rejected while the id belongs to another key.
                _ => rival.abort_link(),
            }
        }
        Ok(())
    }

    /// Replaces the list of allowed keys, and stops inbound peers whose keys it does not admit any
    /// more.
    pub(crate) fn set_allowed_keys(&self, policy: &KeyPolicy, keys: Option<BTreeSet<PublicKey>>) {
        // Under the lock: each link either came up under the old list, and is found here, or is
        // checked against the new one.
        let _claims = policy.claims.lock();
        policy.set_allowed(keys);
        for peer in self.peers() {
            let key = peer.key();
            // A peer without an id has not been checked yet: its link is not up.
            let was_checked = is_inbound(&peer) && peer.id().is_some();
            if was_checked && self.check_key(policy, key).is_err() {
                peer.stop(Closing::Now, DownReason::NotAllowed(key));
            }
        }
    }
}
