//! Looking whether the other side of a link is still there.

use std::sync::{Arc, Weak};

use crate::peer::Peer;
use crate::primitives::clock::within;
use crate::proto::Id;
use crate::shared::TaskRef;
use crate::transport::{PROBE_VERDICT_AFTER, PROBE_WINDOW, Stream};

/// Links that are looked at when one more comes up with their id. A node that comes back has left
/// one or two behind; a crowd that claims one id must not cost the square of its size.
const MAX_CLAIM_PROBES: usize = 3;

/// Has the peers that are up show within some seconds that they live; those that do not go down.
/// A link that is being looked at is left alone.
pub(crate) fn probe(running: &Arc<TaskRef>, peers: &[Arc<Peer>]) {
    let probed = peers.iter().filter_map(|peer| peer.probe());
    let streams: Vec<Weak<dyn Stream>> = probed.map(|stream| Arc::downgrade(&stream)).collect();
    if streams.is_empty() {
        return;
    }
    let task = running.clone();
    running.spawn(async move {
        within(PROBE_VERDICT_AFTER, task.stopping()).await;
        streams
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|stream| stream.force_keepalive_verdict());
        within(PROBE_WINDOW - PROBE_VERDICT_AFTER, task.stopping()).await;
        streams.iter().filter_map(Weak::upgrade).for_each(|stream| stream.restore_keepalive());
    });
}

/// Looks at other links whose other side said that it has this peer's id: it may be the same node,
/// whose old link is half-open. A claim is no proof, so nothing more is done.
pub(crate) fn probe_claimed(running: &Arc<TaskRef>, peer: &Peer, id: Id) {
    let mut others = Vec::new();
    // In the order of targets, so the oldest come first.
    running.for_each_peer(|other| {
        let is_claimed = || other.id() == Some(id) && other.queue.is_up();
        if others.len() < MAX_CLAIM_PROBES && other.target() != peer.target() && is_claimed() {
            others.push(other.clone());
        }
    });
    probe(running, &others);
}
