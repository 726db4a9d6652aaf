//! The index of resumable sessions.

use std::sync::Arc;

use crate::peer::Peer;
use crate::proto::Bits;

/// The instance id of the remote node, and the public name of the session secret.
pub(crate) type SessionKey = (Bits, [u8; 8]);

/// Peers by session key. A sorted list rather than a map: a map would add 5 KiB of code, and
/// insertions, which come with handshakes only, move a thousand entries in a microsecond.
// Invariant: sorted by key, without duplicates.
#[derive(Default)]
pub(crate) struct SessionIndex(Vec<(SessionKey, Arc<Peer>)>);

impl SessionIndex {
    pub(crate) fn insert(&mut self, key: SessionKey, peer: Arc<Peer>) {
        match self.find(&key) {
            Ok(at) => self.0[at].1 = peer,
            Err(at) => self.0.insert(at, (key, peer)),
        }
    }

    pub(crate) fn remove(&mut self, key: &SessionKey) {
        if let Ok(at) = self.find(key) {
            self.0.remove(at);
        }
    }

    pub(crate) fn get(&self, key: &SessionKey) -> Option<&Arc<Peer>> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    /// Returns the peers of one remote instance.
    pub(crate) fn by_instance(&self, boot: Bits) -> impl Iterator<Item = &Arc<Peer>> {
        let (Ok(start) | Err(start)) = self.find(&(boot, [0; 8]));
        self.0[start..]
            .iter()
            .take_while(move |((other, _), _)| *other == boot)
            .map(|(_, peer)| peer)
    }

    /// Finds the position of a key, or where to insert it.
    fn find(&self, key: &SessionKey) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }
}
