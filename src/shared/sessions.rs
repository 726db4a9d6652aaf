//! Sessions that may be resumed, and the peers that wait for that.

use std::sync::Arc;

use crate::peer::Peer;
use crate::primitives::lock::Mutex;
use crate::proto::{AddrBlock, InstanceId, SessionName};

/// The resumable sessions of an endpoint.
#[derive(Default)]
pub(super) struct Sessions {
    /// Whether queued frames are bound to a router id, rather than to any node at the address of a
    /// peer.
    pub(super) frames_follow_id: bool,
    /// The peers of extended nodes, by their sessions.
    pub(super) index: Mutex<SessionIndex>,
    /// Peers with a session that are not dialed and have no link, each with the address block of
    /// its last one. Invariant: sorted by block, without duplicates.
    pub(super) disconnected: Mutex<Vec<(AddrBlock, Arc<Peer>)>>,
}

impl Sessions {
    pub(super) fn new(frames_follow_id: bool) -> Sessions {
        Sessions { frames_follow_id, ..Sessions::default() }
    }

    pub(super) fn clear_disconnected(&self) {
        self.disconnected.lock().clear();
    }
}

/// The instance id of the remote node, and the name of the session.
type SessionKey = (InstanceId, SessionName);

/// Peers by session key. A sorted list rather than a map: a map would add 5 KiB of code, and
/// insertions, which come with handshakes only, move a thousand entries in a microsecond.
// Invariant: sorted by key, without duplicates.
#[derive(Default)]
pub(super) struct SessionIndex(Vec<(SessionKey, Arc<Peer>)>);

impl SessionIndex {
    pub(super) fn insert(&mut self, key: SessionKey, peer: Arc<Peer>) {
        match self.find(&key) {
            Ok(at) => self.0[at].1 = peer,
            Err(at) => self.0.insert(at, (key, peer)),
        }
    }

    pub(super) fn remove(&mut self, key: &SessionKey) {
        if let Ok(at) = self.find(key) {
            self.0.remove(at);
        }
    }

    pub(super) fn get(&self, key: &SessionKey) -> Option<&Arc<Peer>> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    /// Returns the peers of one remote instance.
    pub(super) fn by_instance(&self, instance: InstanceId) -> impl Iterator<Item = &Arc<Peer>> {
        let (Ok(start) | Err(start)) = self.find(&(instance, SessionName::MIN));
        self.0[start..]
            .iter()
            .take_while(move |((other, _), _)| *other == instance)
            .map(|(_, peer)| peer)
    }

    /// Finds the position of a key, or where to insert it.
    fn find(&self, key: &SessionKey) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }
}
