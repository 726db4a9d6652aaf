//! Liveness probes: checks whether the remote end of a link still answers.

use std::sync::{Arc, Weak};

use crate::peer::Peer;
use crate::primitives::clock::within;
use crate::proto::Id;
use crate::shared::TaskRef;
use crate::transport::{PROBE_VERDICT_AFTER, PROBE_WINDOW, Stream};

/// How many links are probed when another one comes up with the same id. A node that reconnects has
/// left one or two behind; many nodes that claim one id must not cost the square of their number.
const MAX_CLAIM_PROBES: usize = 3;

/// Probes the links of peers that are up, and takes down within seconds those that do not answer. A
/// link that is already being probed is skipped.
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

/// Probes other links whose remote node claimed the id of this peer: it may be the same node, whose
/// old link is half-open. A claim is no proof, so nothing more is done.
pub(crate) fn probe_claimed(running: &Arc<TaskRef>, peer: &Peer, id: Id) {
    let mut others = Vec::new();
    // In the order of targets: oldest first.
    running.for_each_peer(|other| {
        let is_claimed = || other.id() == Some(id) && other.queue.is_up();
        if others.len() < MAX_CLAIM_PROBES && other.target() != peer.target() && is_claimed() {
            others.push(other.clone());
        }
    });
    probe(running, &others);
}
