//! Merges duplicate links to one remote node into one peer.
//!
//! Two nodes that dialed each other, or a node that was given two addresses of the other, hold two
//! peers for the same remote instance. Each node announces the duplicate over the later link, with
//! a MAC under the session secret of the earlier one. The node with the lower instance id then
//! decides which peer survives. Both nodes stop the link of the other peer, exchange over the
//! surviving link how many frames each received on it, and transfer its remaining frames to the
//! surviving peer.
//!
//! A third node that relays the handshake of two nodes shares the same secret with both, and looks
//! to each like another link to the other. So the older session survives as long as its link
//! answers, even if that is the more recent link.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;

use crate::events::Event;
use crate::peer::{MergeGuard, MergeMessage, Peer, Session};
use crate::primitives::clock::{self, within};
use crate::session::peer_lease::PeerLease;
use crate::shared::TaskRef;

/// How long the older link has to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Interval after which an unanswered request is sent again: the link may have broken at the remote
/// node.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often a duplicate is announced: over half a minute, after which a merge or a removal of one
/// of the two peers that was under way has completed.
const MAX_ANNOUNCEMENTS: u32 = 5;

/// How many retries the remote node may acknowledge without answering the merge request, until it
/// is taken to have forgotten the losing peer: its router may have removed it.
const MAX_IGNORED: u32 = 10;

/// Announces other links to the same node over a link that has come up. Repeats this a few times:
/// the remote node may not know of the other link yet, or may be about to lose it.
pub(crate) fn announce_duplicates(running: &Arc<TaskRef>, peer: &Arc<Peer>) {
    if announce_if_duplicate(running, peer, 0) {
        running.spawn(repeat_announcement(running.clone(), peer.clone()));
    }
}

async fn repeat_announcement(running: Arc<TaskRef>, peer: Arc<Peer>) {
    let telling = async {
        for number in 1..MAX_ANNOUNCEMENTS {
            clock::after(RETRY_INTERVAL * 2u32.pow(number)).await;
            if !peer.queue.is_up() || !announce_if_duplicate(&running, &peer, number) {
                return;
            }
        }
    };
    // The stop of the endpoint ends it too: a peer that was merged away meanwhile is not stopped
    // itself.
    future::or(telling, future::or(peer.stopped(), running.stopping())).await;
}

/// Announces one of the other peers of the same instance, a different one each time. Returns
/// whether there are any.
fn announce_if_duplicate(running: &TaskRef, peer: &Arc<Peer>, number: u32) -> bool {
    let siblings = running.same_instance_peers(peer);
    let (Some(own), false) = (peer.session(), siblings.is_empty()) else { return false };
    let sibling = &siblings[number as usize % siblings.len()];
    if !peer.is_merging() {
        announce(running, peer, &own, sibling);
    }
    if running.instance_id < own.instance_id {
        // Pings early, so that the acknowledgements arrive soon after the remote announcement. Both
        // links, since the remote node may have seen them come up in the other order.
        sibling.ping_if_stale(PING_TIMEOUT);
        peer.ping_if_stale(PING_TIMEOUT);
    }
    true
}

/// Sends the name of the session of `sibling`, with its MAC, over the link of `peer`.
fn announce(running: &TaskRef, peer: &Peer, own: &Session, sibling: &Peer) {
    let Some(other) = sibling.session() else { return };
    let proof = other.secret.duplicate_mac(&running.instance_id, &own.secret.public_name());
    peer.queue.queue_duplicate(&other.secret.public_name(), &proof);
}

/// A merge in progress. Resolves to the lease of the losing peer if it stays after all, and needs
/// to be served again.
pub(crate) type MergeTask = Pin<Box<dyn Future<Output = Option<PeerLease>> + Send>>;

/// Handles a merge message of the remote node. Returns the merge to run, if the message starts one.
pub(crate) fn on_message(
    running: &Arc<TaskRef>,
    peer: &Arc<Peer>,
    message: MergeMessage,
) -> Option<MergeTask> {
    let own = peer.session()?;
    match message {
        MergeMessage::Duplicate { name, proof } => on_duplicate(running, peer, &own, &name, &proof),
        MergeMessage::Request { name, received, proof } => {
            on_request(running, peer, &own, name, received, &proof)
        }
        MergeMessage::Ack { name, received } => {
            peer.set_merge_ack(name, received);
            None
        }
    }
}

fn on_duplicate(
    running: &Arc<TaskRef>,
    peer: &Arc<Peer>,
    own: &Session,
    name: &[u8; 8],
    proof: &[u8; 16],
) -> Option<MergeTask> {
    let sibling = running.resumable_peer(name, &own.instance_id)?;
    let other = sibling.session()?;
    let due = other.secret.duplicate_mac(&own.instance_id, &own.secret.public_name());
    if !other.is_same_instance(own)
        || due != *proof
        || Arc::ptr_eq(&sibling, peer)
        || !same_direction(&sibling, peer)
    {
        return None;
    }
    peer.set_duplicate(name);
    sibling.set_duplicate(&own.secret.public_name());
    if own.instance_id < running.instance_id {
        // The remote node decides, once it knows of the duplicate too.
        announce(running, peer, own, &sibling);
        return None;
    }
    let merging = MergeGuard::begin(peer, &sibling)?;
    let (one, two) = ((peer.clone(), own.secret.public_name()), (sibling, *name));
    let (older, newer) = match is_older(&one.0, &two.0) {
        true => (one, two),
        false => (two, one),
    };
    Some(Box::pin(lead(running.clone(), merging, older, newer)))
}

/// Whether the session of `one` is older than that of `other`.
fn is_older(one: &Peer, other: &Peer) -> bool {
    match (one.session(), other.session()) {
        (Some(one), Some(other)) => one.since < other.since,
        _ => false,
    }
}

/// Whether the links of two peers carry frames in the same direction. If not, both are needed.
fn same_direction(one: &Peer, other: &Peer) -> bool {
    one.peer_type().same_direction(other.peer_type())
}

/// Leads a merge: decides which of two peers survives, and negotiates it with the remote node. Each
/// comes with the name of the session under which they were shown to be the same instance.
async fn lead(
    running: Arc<TaskRef>,
    merging: MergeGuard,
    older: SessionRef,
    newer: SessionRef,
) -> Option<PeerLease> {
    let ((stays, own_name), (goes, name)) = match answers_ping(&older.0).await {
        true => (older, newer),
        false => (newer, older),
    };
    let service = PeerLease::acquire(&running, &goes).await;
    goes.set_merge_loser();
    let answer = negotiate(&running, (&stays, &own_name), (&goes, &name)).await;
    drop(merging);
    match answer {
        Some(received) => {
            let left = commit(&running, &stays, service, received).await;
            // There may be a third link, which could not be announced meanwhile.
            announce_duplicates(&running, &stays);
            left
        }
        None => abort(&running, &stays, service),
    }
}

/// Aborts a merge: returns the lease of the losing peer, and announces the duplicate again.
fn abort(running: &Arc<TaskRef>, stays: &Arc<Peer>, service: PeerLease) -> Option<PeerLease> {
    announce_duplicates(running, stays);
    Some(service)
}

/// A peer, and the name of the session that it had when the merge began.
type SessionRef = (Arc<Peer>, [u8; 8]);

/// Whether two peers still have the sessions of these names, with the same remote instance. Either
/// may have started another session, with another node, across an await.
fn is_same_instance(one: (&Peer, &[u8; 8]), other: (&Peer, &[u8; 8])) -> bool {
    let pair = |(peer, name): (&Peer, &[u8; 8])| {
        peer.session().filter(|pair| pair.secret.public_name() == *name)
    };
    match (pair(one), pair(other)) {
        (Some(one), Some(other)) => one.is_same_instance(&other),
        _ => false,
    }
}

/// Whether the link of a peer is up and acknowledges a ping in time.
async fn answers_ping(peer: &Peer) -> bool {
    if !peer.queue.is_up() {
        return false;
    }
    let before = peer.ping_if_stale(PING_TIMEOUT);
    let answered = async {
        loop {
            let changed = peer.listen();
            if peer.is_closing() || !peer.queue.is_up() {
                return false;
            }
            if peer.ack_count() != before {
                return true;
            }
            changed.await;
        }
    };
    within(PING_TIMEOUT, answered).await.unwrap_or(false)
}

/// Sends merge requests until the remote node answers, and returns how many frames of the losing
/// peer it received. `None` if one of the two peers ends or starts another session meanwhile, or if
/// the remote node does not know the losing peer any more.
async fn negotiate(
    running: &TaskRef,
    (stays, own_name): (&Peer, &[u8; 8]),
    (goes, name): (&Peer, &[u8; 8]),
) -> Option<u64> {
    let (own, other) = (stays.session()?, goes.session()?);
    let received = goes.queue.received_total();
    let proof = other.secret.merge_mac(&running.instance_id, own_name, received);
    let mut unheeded = 0;
    // Another instance of the remote node knows nothing of the sessions, and another node must not
    // be asked.
    let is_on = || is_same_instance((stays, own_name), (goes, name));
    while unheeded < MAX_IGNORED && !stays.is_closing() && !goes.is_closing() && is_on() {
        // Announces again: an earlier announcement may have arrived before the remote node knew
        // both sessions.
        announce(running, stays, &own, goes);
        stays.queue.queue_merge(name, received, &proof);
        let before = stays.ack_count();
        stays.queue.queue_ping();
        let answered = async {
            loop {
                let changed = stays.listen();
                if let Some(received) = stays.merge_ack(name) {
                    return Some(received);
                }
                changed.await;
            }
        };
        let again = async {
            clock::after(RETRY_INTERVAL).await;
            None
        };
        if let Some(received) = future::or(answered, again).await {
            return is_on().then_some(received);
        }
        unheeded += u32::from(stays.ack_count() != before);
    }
    None
}

/// Handles a merge request: answers one that was carried out before, or starts to follow it.
fn on_request(
    running: &Arc<TaskRef>,
    peer: &Arc<Peer>,
    own: &Session,
    name: [u8; 8],
    received: u64,
    proof: &[u8; 16],
) -> Option<MergeTask> {
    if let Some(told) = peer.merge_reply(&name) {
        // Carried out before; the answer was lost with a link.
        peer.queue.queue_merge_ack(&name, told);
        return None;
    }
    let goes = running.resumable_peer(&name, &own.instance_id)?;
    let other = goes.session()?;
    let due = other.secret.merge_mac(&own.instance_id, &own.secret.public_name(), received);
    let is_shown = other.is_same_instance(own) && due == *proof;
    let may_decide = own.instance_id < running.instance_id && peer.is_duplicate(&name) && is_shown;
    if !may_decide || Arc::ptr_eq(&goes, peer) || !same_direction(&goes, peer) {
        return None;
    }
    let merging = MergeGuard::begin(peer, &goes)?;
    let names = [own.secret.public_name(), name];
    Some(Box::pin(follow(running.clone(), merging, peer.clone(), goes, names, received)))
}

/// Follows a merge that the remote node decided, if the peers still have the sessions of these
/// names.
async fn follow(
    running: Arc<TaskRef>,
    merging: MergeGuard,
    stays: Arc<Peer>,
    goes: Arc<Peer>,
    [own_name, name]: [[u8; 8]; 2],
    received: u64,
) -> Option<PeerLease> {
    let service = PeerLease::acquire(&running, &goes).await;
    if !is_same_instance((&stays, &own_name), (&goes, &name)) {
        drop(merging);
        return abort(&running, &stays, service);
    }
    goes.set_merge_loser();
    let own = goes.queue.received_total();
    stays.set_merge_reply(name, own);
    drop(merging);
    let left = commit(&running, &stays, service, received).await;
    stays.queue.queue_merge_ack(&name, own);
    left
}

/// Commits a merge: transfers the remaining frames to the surviving peer, and makes the target of
/// the losing peer an alias of it. `received` is how many frames of the losing peer the remote node
/// received. Returns the lease if the losing peer has to stay.
async fn commit(
    running: &Arc<TaskRef>,
    stays: &Arc<Peer>,
    service: PeerLease,
    received: u64,
) -> Option<PeerLease> {
    let goes = service.peer.clone();
    if goes.has_ended() {
        return None;
    }
    // Removing one peer does not remove the other, and a remote node that sends an impossible count
    // does not decide which peers this node dials.
    if stays.is_closing() || goes.queue.resume(received).is_err() {
        return abort(running, stays, service);
    }
    stays.adopt_addrs(&goes);
    if !running.make_alias(&goes, stays) {
        return abort(running, stays, service);
    }
    running.routes.remove_peer(goes.target()).await;
    running.events.emit(Event::Merged { target: stays.target(), retired: goes.target() });
    None
}
