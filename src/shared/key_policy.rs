//! What an endpoint that encrypts holds while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::config::Encryption;
use crate::config::{KeyPair, NetworkSecret};
use crate::proto::{Capabilities, Id, PublicKey, Role, Suite};
use crate::transport::{HandshakeLimiter, NoiseBuffers, NoiseHandshake, has_aes};

/// Who this node is, and whom it trusts.
pub(crate) struct KeyPolicy {
    keys: KeyPair,
    is_required: bool,
    secret: Option<NetworkSecret>,
    /// `None`: whoever has a key.
    allowed: RwLock<Option<BTreeSet<PublicKey>>>,
    pins: BTreeMap<Id, BTreeSet<PublicKey>>,
    means: Capabilities,
    /// What keys may cost that strangers want exchanged.
    pub(crate) effort: HandshakeLimiter,
    /// Buffers of all links.
    pub(crate) spare: Arc<NoiseBuffers>,
}

impl KeyPolicy {
    /// Strangers may have so much of every second be spent on them.
    pub(crate) fn new(encryption: Encryption, effort: Duration) -> KeyPolicy {
        let Encryption { keys, is_required, secret, allowed, pins } = encryption;
        KeyPolicy {
            means: Capabilities::new(has_aes(), secret.is_some()),
            keys,
            is_required,
            secret,
            allowed: RwLock::new(allowed),
            pins,
            effort: HandshakeLimiter::new(effort),
            spare: Arc::default(),
        }
    }

    /// What this node can encrypt with.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.means
    }

    /// Whether links that this node dials must be encrypted, whoever is at the other end.
    pub(crate) fn is_required(&self) -> bool {
        self.is_required || self.secret.is_some() || self.lists_keys()
    }

    fn lists_keys(&self) -> bool {
        self.allowed.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether a node with this key may come in.
    pub(crate) fn admits(&self, key: &PublicKey) -> bool {
        let allowed = self.allowed.read().unwrap_or_else(PoisonError::into_inner);
        allowed.as_ref().is_none_or(|allowed| allowed.contains(key))
    }

    /// Whether this key is listed: it goes before others.
    pub(crate) fn is_listed(&self, key: &PublicKey) -> bool {
        let allowed = self.allowed.read().unwrap_or_else(PoisonError::into_inner);
        let is_allowed = allowed.as_ref().is_some_and(|allowed| allowed.contains(key));
        is_allowed || self.pins.values().any(|keys| keys.contains(key))
    }

    /// Changes who may come in.
    pub(crate) fn set_allowed(&self, keys: Option<BTreeSet<PublicKey>>) {
        *self.allowed.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Whether a node with this key, or on a plain link, may have this router id.
    pub(crate) fn may_claim(&self, id: &Id, key: Option<&PublicKey>) -> bool {
        let pinned = self.pins.get(id);
        pinned.is_none_or(|keys| key.is_some_and(|key| keys.contains(key)))
    }

    /// Begins to exchange keys.
    pub(crate) fn exchange(
        &self,
        suite: Suite,
        role: Role,
        prologue: &[u8],
    ) -> Option<NoiseHandshake> {
        NoiseHandshake::begin(suite, role, &self.keys, self.secret.as_ref(), prologue)
    }
}

impl fmt::Debug for KeyPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("keys", &self.keys).finish_non_exhaustive()
    }
}
