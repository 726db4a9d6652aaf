//! A resumable session.

use std::time::Instant;

use crate::primitives::clock;
use crate::proto::{InstanceId, PublicKey, SessionName, SessionSecret};

/// A resumable session with a remote node that supports the extension.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) secret: SessionSecret,
    /// Identifies the present instance of the remote, as opposed to earlier or later runs.
    pub(crate) instance_id: InstanceId,
    /// The static key of the remote, if the links are encrypted. `secret` is not confidential then,
    /// because its inputs were exchanged in plaintext; key and instance id together identify the
    /// remote. Boxed, since most sessions have no key.
    key: Option<Box<PublicKey>>,
    /// When the session was established.
    pub(crate) since: Instant,
}

impl Session {
    pub(crate) fn new(
        secret: SessionSecret,
        instance_id: InstanceId,
        key: Option<PublicKey>,
    ) -> Session {
        Session { secret, instance_id, key: key.map(Box::new), since: clock::now() }
    }

    /// The key of the session in the index of resumable sessions.
    pub(crate) fn index_key(&self) -> (InstanceId, SessionName) {
        (self.instance_id, self.secret.public_name())
    }

    /// The static key of the remote, if the links are encrypted.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.key.as_deref().copied()
    }

    /// Whether another session is with the same instance of the same node, as far as both claim so.
    pub(crate) fn is_same_instance(&self, other: &Session) -> bool {
        self.instance_id == other.instance_id && self.key == other.key
    }
}
