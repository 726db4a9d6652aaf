//! The neighbours that share a secret with this node.

use std::sync::Arc;

use crate::peer::Peer;
use crate::proto::Bits;

/// The present run of a neighbour, and the public name of the secret that is shared with it.
pub(crate) type SessionKey = (Bits, [u8; 8]);

/// Neighbours by run and secret, in order. A list rather than a map, which would be 5 KiB of code:
/// they come and go with handshakes, and a thousand of them are moved in a microsecond.
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

    /// Those of one run of a node.
    pub(crate) fn by_instance(&self, boot: Bits) -> impl Iterator<Item = &Arc<Peer>> {
        let (Ok(start) | Err(start)) = self.find(&(boot, [0; 8]));
        self.0[start..]
            .iter()
            .take_while(move |((other, _), _)| *other == boot)
            .map(|(_, peer)| peer)
    }

    fn find(&self, key: &SessionKey) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }
}
