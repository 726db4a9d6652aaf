//! Checks a list of addresses and turns it into peers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::AddPeersError;
use crate::peer::Peer;
use crate::proto::Target;
use crate::proto::{PeerAddr, first_duplicate, shorten};
use crate::shared::{Peers, Shared};

/// Parses the addresses. Fails if two of them are the same.
pub(crate) fn parse_all(
    peers: impl IntoIterator<Item = impl fmt::Display>,
) -> Result<Vec<PeerAddr>, AddPeersError> {
    let mut addrs: Vec<PeerAddr> = Vec::new();
    let mut malformed = Ok(());
    for (index, peer) in peers.into_iter().enumerate() {
        let text = peer.to_string();
        match text.parse() {
            Ok(addr) => addrs.push(addr),
            Err(source) => {
                let (entry, addr) = (index + 1, shorten(&text));
                malformed = Err(AddPeersError::Malformed { entry, addr, source });
                break;
            }
        }
    }
    // The duplicate precedes the malformed entry, so it is the first error of the list.
    match first_duplicate(&addrs) {
        Some((at, _)) => Err(AddPeersError::Twice { entry: at + 1, addr: addrs[at].to_string() }),
        None => malformed.map(|()| addrs),
    }
}

/// Checks that this node has a key of its own if one of `addrs` pins a key.
pub(crate) fn check_keys(context: &Shared, addrs: &[PeerAddr]) -> Result<(), AddPeersError> {
    #[cfg(feature = "noise")]
    let has_key = context.key_policy.is_some();
    #[cfg(not(feature = "noise"))]
    let has_key = false;
    let _ = context;
    match addrs.iter().position(|addr| !has_key && !addr.keys().is_empty()) {
        Some(at) => Err(AddPeersError::NoKey { entry: at + 1, addr: addrs[at].to_string() }),
        None => Ok(()),
    }
}

/// Checks that none of `addrs` belongs to an existing peer.
pub(crate) fn check_new(addrs: &[PeerAddr], known: &Peers) -> Result<(), AddPeersError> {
    let mut places = BTreeMap::new();
    // `extend` instead of `collect`, which would add a whole sort to the binary.
    places.extend(addrs.iter().map(PeerAddr::place).zip(0..));
    let entry = |own: &PeerAddr| places.get(&own.place()).copied();
    let same = |peer: &Arc<Peer>| peer.min_dial_addr(entry).map(|at| (at, peer.target()));
    match known.values().filter_map(same).min() {
        Some((at, target)) => {
            let addr = addrs[at].to_string();
            Err(AddPeersError::Known { entry: at + 1, addr, target })
        }
        None => Ok(()),
    }
}

/// Creates the peers, all or none.
pub(crate) fn reserve(
    context: &Shared,
    addrs: Vec<PeerAddr>,
    room: usize,
) -> Result<Vec<Arc<Peer>>, AddPeersError> {
    let targets: Vec<Target> =
        addrs.iter().take(room).map_while(|_| context.routes.next_target()).collect();
    if targets.len() < addrs.len() {
        targets.into_iter().for_each(|target| context.routes.retire(target));
        return Err(AddPeersError::TooMany);
    }
    let new = |(addr, target)| Arc::new(Peer::dialed(target, addr, context.new_queue()));
    Ok(addrs.into_iter().zip(targets).map(new).collect())
}
