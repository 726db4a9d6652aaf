//! The key policy of an endpoint that encrypts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Encryption, KeyPair, NetworkSecret};
use crate::primitives::lock::{Mutex, RwLock};
use crate::proto::{Capabilities, Id, PublicKey, Role, Suite};
use crate::transport::{HandshakeLimiter, NoiseBuffers, NoiseHandshake, has_aes};

/// The keys of this node, and the rules by which it admits those of others.
pub(crate) struct KeyPolicy {
    keys: KeyPair,
    is_required: bool,
    secret: Option<NetworkSecret>,
    /// The keys that are admitted. `None` admits any key.
    allowed: RwLock<Option<BTreeSet<PublicKey>>>,
    /// The keys that may claim a router id. An id that is not listed may be claimed by any node.
    pins: BTreeMap<Id, BTreeSet<PublicKey>>,
    capabilities: Capabilities,
    /// Serializes claims of router ids: held from the check of a claim until the link is up.
    pub(super) claims: Mutex<()>,
    /// Limits the CPU time spent on inbound key exchanges.
    pub(crate) handshake_limiter: HandshakeLimiter,
    /// The buffer pools of all links.
    pub(crate) buffers: Arc<NoiseBuffers>,
}

impl KeyPolicy {
    /// Creates the policy. Inbound key exchanges may use `handshake_cpu` of CPU time per second.
    pub(crate) fn new(encryption: Encryption, handshake_cpu: Duration) -> KeyPolicy {
        let Encryption { keys, is_required, secret, allowed, pins } = encryption;
        KeyPolicy {
            capabilities: Capabilities::new(has_aes(), secret.is_some()),
            keys,
            is_required,
            secret,
            allowed: RwLock::new(allowed),
            pins,
            claims: Mutex::default(),
            handshake_limiter: HandshakeLimiter::new(handshake_cpu),
            buffers: Arc::default(),
        }
    }

    /// The encryption capabilities of this node.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Whether all links must be encrypted: explicitly, or because there is a network secret or a
    /// list of keys.
    pub(crate) fn is_required(&self) -> bool {
        self.is_required || self.secret.is_some() || self.lists_keys()
    }

    fn lists_keys(&self) -> bool {
        self.allowed.read().is_some()
    }

    /// Whether the list of allowed keys admits this key.
    pub(crate) fn admits(&self, key: &PublicKey) -> bool {
        let allowed = self.allowed.read();
        allowed.as_ref().is_none_or(|allowed| allowed.contains(key))
    }

    /// Whether this key is named in the list or in a pin. Such a key takes precedence over others.
    pub(crate) fn is_listed(&self, key: &PublicKey) -> bool {
        let allowed = self.allowed.read();
        let is_allowed = allowed.as_ref().is_some_and(|allowed| allowed.contains(key));
        is_allowed || self.pins.values().any(|keys| keys.contains(key))
    }

    /// Replaces the list of allowed keys.
    pub(crate) fn set_allowed(&self, keys: Option<BTreeSet<PublicKey>>) {
        *self.allowed.write() = keys;
    }

    /// Whether a node with this key, or one on a plain link, may claim this router id.
    pub(crate) fn may_claim(&self, id: &Id, key: Option<&PublicKey>) -> bool {
        let pinned = self.pins.get(id);
        pinned.is_none_or(|keys| key.is_some_and(|key| keys.contains(key)))
    }

    /// Starts a Noise handshake.
    pub(crate) fn start_handshake(
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
        f.debug_struct("KeyPolicy").field("keys", &self.keys).finish_non_exhaustive()
    }
}
