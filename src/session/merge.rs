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

use crate::peer::{MergeGuard, MergeMessage, Peer, Session};
use crate::primitives::clock::{self, within};
use crate::proto::{Proof, SessionName};
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
    let announcing = async {
        for number in 1..MAX_ANNOUNCEMENTS {
            clock::after(RETRY_INTERVAL * 2u32.pow(number)).await;
            if !peer.queue.is_up() || !announce_if_duplicate(&running, &peer, number) {
                return;
            }
        }
    };
    // The stop of the endpoint ends it too: a peer that was merged away meanwhile is not stopped
    // itself.
    future::or(announcing, future::or(peer.stopped(), running.stopping())).await;
}

/// Announces one of the other peers of the same instance, a different one each time. Returns
/// whether there are any.
fn announce_if_duplicate(running: &TaskRef, peer: &Arc<Peer>, number: u32) -> bool {
    let duplicates = running.same_instance_peers(peer);
    let (Some(own), false) = (peer.session(), duplicates.is_empty()) else { return false };
    let duplicate = &duplicates[number as usize % duplicates.len()];
    if !peer.is_merging() {
        announce(running, peer, &own, duplicate);
    }
    if running.instance_id < own.instance_id {
        // Pings early, so that the acknowledgements arrive soon after the remote announcement. Both
        // links, since the remote node may have seen them come up in the other order.
        duplicate.ping_if_stale(PING_TIMEOUT);
        peer.ping_if_stale(PING_TIMEOUT);
    }
    true
}

/// Sends the name of the session of `duplicate`, with its MAC, over the link of `peer`.
fn announce(running: &TaskRef, peer: &Peer, own: &Session, duplicate: &Peer) {
    let Some(other) = duplicate.session() else { return };
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
    name: &SessionName,
    proof: &Proof,
) -> Option<MergeTask> {
    let duplicate = running.resumable_peer(*name, own.instance_id)?;
    let other = duplicate.session()?;
    let expected_mac = other.secret.duplicate_mac(&own.instance_id, &own.secret.public_name());
    if !other.is_same_instance(own)
        || expected_mac != *proof
        || Arc::ptr_eq(&duplicate, peer)
        || !same_direction(&duplicate, peer)
    {
        return None;
    }
    peer.set_duplicate(name);
    duplicate.set_duplicate(&own.secret.public_name());
    if own.instance_id < running.instance_id {
        // The remote node decides, once it knows of the duplicate too.
        announce(running, peer, own, &duplicate);
        return None;
    }
    let guard = MergeGuard::begin(peer, &duplicate)?;
    let (one, two) = ((peer.clone(), own.secret.public_name()), (duplicate, *name));
    let (older, newer) = match is_older(&one.0, &two.0) {
        true => (one, two),
        false => (two, one),
    };
    Some(Box::pin(lead(running.clone(), guard, older, newer)))
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
    guard: MergeGuard,
    older: SessionRef,
    newer: SessionRef,
) -> Option<PeerLease> {
    let ((survivor, own_name), (loser, name)) = match answers_ping(&older.0).await {
        true => (older, newer),
        false => (newer, older),
    };
    let lease = PeerLease::acquire(&running, &loser).await;
    loser.set_merge_loser();
    running.deliver_in_order(&loser, &survivor);
    let reply = negotiate(&running, (&survivor, &own_name), (&loser, &name)).await;
    drop(guard);
    match reply {
        Some(received) => {
            let lease = commit(&running, &survivor, lease, received).await;
            // There may be a third link, which could not be announced meanwhile.
            announce_duplicates(&running, &survivor);
            lease
        }
        None => abort(&running, &survivor, lease),
    }
}

/// Aborts a merge: returns the lease of the losing peer, and announces the duplicate again.
fn abort(running: &Arc<TaskRef>, survivor: &Arc<Peer>, lease: PeerLease) -> Option<PeerLease> {
    if let (Some(inbox), Some(other)) = (survivor.inbox(), lease.peer.inbox()) {
        inbox.stop_waiting_for(other);
    }
    announce_duplicates(running, survivor);
    Some(lease)
}

/// A peer, and the name of the session that it had when the merge began.
type SessionRef = (Arc<Peer>, SessionName);

/// Whether two peers still have the sessions of these names, with the same remote instance. Either
/// may have started another session, with another node, across an await.
fn is_same_instance(one: (&Peer, &SessionName), other: (&Peer, &SessionName)) -> bool {
    let session = |(peer, name): (&Peer, &SessionName)| {
        peer.session().filter(|session| session.secret.public_name() == *name)
    };
    match (session(one), session(other)) {
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
    (survivor, own_name): (&Peer, &SessionName),
    (loser, name): (&Peer, &SessionName),
) -> Option<u64> {
    let (own, other) = (survivor.session()?, loser.session()?);
    let received = loser.queue.received_total();
    let proof = other.secret.merge_mac(&running.instance_id, own_name, received);
    let mut ignored = 0;
    // Another instance of the remote node does not know the sessions, and another node must not
    // receive the request.
    let is_unchanged = || is_same_instance((survivor, own_name), (loser, name));
    while ignored < MAX_IGNORED && !survivor.is_closing() && !loser.is_closing() && is_unchanged() {
        // Announces again: an earlier announcement may have arrived before the remote node knew
        // both sessions.
        announce(running, survivor, &own, loser);
        survivor.queue.queue_merge(name, received, &proof);
        let before = survivor.ack_count();
        survivor.queue.queue_ping();
        let answered = async {
            loop {
                let changed = survivor.listen();
                if let Some(received) = survivor.merge_ack(name) {
                    return Some(received);
                }
                changed.await;
            }
        };
        let retry = async {
            clock::after(RETRY_INTERVAL).await;
            None
        };
        if let Some(received) = future::or(answered, retry).await {
            return is_unchanged().then_some(received);
        }
        ignored += u32::from(survivor.ack_count() != before);
    }
    None
}

/// Handles a merge request: answers one that was carried out before, or starts to follow it.
fn on_request(
    running: &Arc<TaskRef>,
    peer: &Arc<Peer>,
    own: &Session,
    name: SessionName,
    received: u64,
    proof: &Proof,
) -> Option<MergeTask> {
    if let Some(reply) = peer.merge_reply(&name) {
        // Carried out before; the answer was lost with a link.
        peer.queue.queue_merge_ack(&name, reply);
        return None;
    }
    let loser = running.resumable_peer(name, own.instance_id)?;
    let other = loser.session()?;
    let expected_mac =
        other.secret.merge_mac(&own.instance_id, &own.secret.public_name(), received);
    let is_shown = other.is_same_instance(own) && expected_mac == *proof;
    let may_decide = own.instance_id < running.instance_id && peer.is_duplicate(&name) && is_shown;
    if !may_decide || Arc::ptr_eq(&loser, peer) || !same_direction(&loser, peer) {
        return None;
    }
    let guard = MergeGuard::begin(peer, &loser)?;
    let names = [own.secret.public_name(), name];
    Some(Box::pin(follow(running.clone(), guard, peer.clone(), loser, names, received)))
}

/// Follows a merge that the remote node decided, if the peers still have the sessions of these
/// names.
async fn follow(
    running: Arc<TaskRef>,
    guard: MergeGuard,
    survivor: Arc<Peer>,
    loser: Arc<Peer>,
    [own_name, name]: [SessionName; 2],
    received: u64,
) -> Option<PeerLease> {
    let lease = PeerLease::acquire(&running, &loser).await;
    if !is_same_instance((&survivor, &own_name), (&loser, &name)) {
        drop(guard);
        return abort(&running, &survivor, lease);
    }
    loser.set_merge_loser();
    running.deliver_in_order(&loser, &survivor);
    let own = loser.queue.received_total();
    drop(guard);
    let lease = commit(&running, &survivor, lease, received).await;
    // Only once it is carried out: the remote node then retires its peer too.
    if lease.is_none() {
        survivor.set_merge_reply(name, own);
        survivor.queue.queue_merge_ack(&name, own);
    }
    lease
}

/// Commits a merge: transfers the remaining frames to the surviving peer, and makes the target of
/// the losing peer an alias of it. `received` is how many frames of the losing peer the remote node
/// received. Returns the lease if the losing peer has to stay.
async fn commit(
    running: &Arc<TaskRef>,
    survivor: &Arc<Peer>,
    lease: PeerLease,
    received: u64,
) -> Option<PeerLease> {
    let loser = lease.peer.clone();
    if loser.has_ended() {
        return None;
    }
    // Removing one peer does not remove the other, and a remote node that sends an impossible count
    // does not decide which peers this node dials.
    if survivor.is_closing() || loser.queue.resume(received, 0).is_err() {
        return abort(running, survivor, lease);
    }
    survivor.adopt_addrs(&loser);
    if !running.make_alias(&loser, survivor) {
        return abort(running, survivor, lease);
    }
    running.routes.remove_peer(loser.target()).await;
    running.events.emit_merged(&loser, survivor);
    None
}
