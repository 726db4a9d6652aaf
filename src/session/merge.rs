//! Two links to the same node become one.
//!
//! Two nodes that dialed each other, or one that was given two addresses of the other, have two
//! peers of the same run of a node. Either side tells the other so over the later link, with a
//! proof under the secret of the earlier one. The node with the lower boot id then decides which
//! peer stays. Both stop the link of the other one, tell each other over the link that stays how
//! far it came, and let what was left go over that.
//!
//! A third node that lets the two shake hands over itself has the same secret with both, and looks
//! to either like another link to the other. So it is the older pair that stays as long as its link
//! answers, though that may be the younger link.

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

/// Time in which the older link has to show that it lives.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Time after which the other side is told again what it did not answer: its link may have broken.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often the other side is told of another link: over half a minute, in which whoever is merging
/// or removing one of them has done so.
const MAX_ANNOUNCEMENTS: u32 = 5;

/// How often the other side may show that it lives and say nothing of a merge, until it is taken to
/// have forgotten the peer that goes: its router may have removed it.
const MAX_IGNORED: u32 = 10;

/// Tells the other side of a link that has come up if others lead to the same node. A few times:
/// that side may not know of the other one yet, or may be about to lose it.
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
    // Not by the peer alone: one that was merged away meanwhile is told nothing any more.
    future::or(telling, future::or(peer.stopped(), running.stopping())).await;
}

/// Tells the other side of a link if others lead to the same node, of each of them in turn. Whether
/// there are some.
fn announce_if_duplicate(running: &TaskRef, peer: &Arc<Peer>, number: u32) -> bool {
    let siblings = running.same_instance_peers(peer);
    let (Some(own), false) = (peer.session(), siblings.is_empty()) else { return false };
    let sibling = &siblings[number as usize % siblings.len()];
    if !peer.is_merging() {
        announce(running, peer, &own, sibling);
    }
    if running.instance_id < own.instance_id {
        // So that answers are here soon after the other side's proof. Both, since that side may
        // have seen them come up in the other order.
        sibling.ping_if_stale(PING_TIMEOUT);
        peer.ping_if_stale(PING_TIMEOUT);
    }
    true
}

fn announce(running: &TaskRef, peer: &Peer, own: &Session, sibling: &Peer) {
    let Some(other) = sibling.session() else { return };
    let proof = other.secret.duplicate_mac(&running.instance_id, &own.secret.public_name());
    peer.queue.queue_duplicate(&other.secret.public_name(), &proof);
}

/// A merge under way. It returns the lease of a peer that was to go and stays after all, and that has
/// to be served again.
pub(crate) type MergeTask = Pin<Box<dyn Future<Output = Option<PeerLease>> + Send>>;

/// Handles what the remote node says about another link. Returns a merge that is to be run, if that
/// begins one.
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
        // The other side decides, once it knows as much.
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

/// Whether what this node shares with one peer is older than what it shares with the other.
fn is_older(one: &Peer, other: &Peer) -> bool {
    match (one.session(), other.session()) {
        (Some(one), Some(other)) => one.since < other.since,
        _ => false,
    }
}

/// Whether the links of two peers carry frames the same ways; if they do not, each is needed.
fn same_direction(one: &Peer, other: &Peer) -> bool {
    one.peer_type().same_direction(other.peer_type())
}

/// Decides which of two peers stays, and has the other side do as much. With each is the name of the
/// pair that it was when they were shown to be the same.
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
            // There may be a third, of which nothing could be said meanwhile.
            announce_duplicates(&running, &stays);
            left
        }
        None => abort(&running, &stays, service),
    }
}

/// Leaves two peers as they were: the lease of the one that was to go is returned.
fn abort(running: &Arc<TaskRef>, stays: &Arc<Peer>, service: PeerLease) -> Option<PeerLease> {
    announce_duplicates(running, stays);
    Some(service)
}

/// A peer, and the name of a pair that it was.
type SessionRef = (Arc<Peer>, [u8; 8]);

/// Whether two peers are the pairs of these names, and lead to one node. While somebody waits, each
/// may become another pair, with another node.
fn is_same_instance(one: (&Peer, &[u8; 8]), other: (&Peer, &[u8; 8])) -> bool {
    let pair = |(peer, name): (&Peer, &[u8; 8])| {
        peer.session().filter(|pair| pair.secret.public_name() == *name)
    };
    match (pair(one), pair(other)) {
        (Some(one), Some(other)) => one.is_same_instance(&other),
        _ => false,
    }
}

/// Whether the link of a peer answers.
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

/// Tells the other side which peer goes, until it has answered: how many frames of it the other
/// side received. `None` if one of the two ends meanwhile or becomes another pair, or if
/// the other side does not know the one that goes any more.
async fn negotiate(
    running: &TaskRef,
    (stays, own_name): (&Peer, &[u8; 8]),
    (goes, name): (&Peer, &[u8; 8]),
) -> Option<u64> {
    let (own, other) = (stays.session()?, goes.session()?);
    let received = goes.queue.received_total();
    let proof = other.secret.merge_mac(&running.instance_id, own_name, received);
    let mut unheeded = 0;
    // Another run of the other node knows of nothing, and another node is not to be asked.
    let is_on = || is_same_instance((stays, own_name), (goes, name));
    while unheeded < MAX_IGNORED && !stays.is_closing() && !goes.is_closing() && is_on() {
        // With the proof once more: it may have come before the other side knew both pairs.
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

fn on_request(
    running: &Arc<TaskRef>,
    peer: &Arc<Peer>,
    own: &Session,
    name: [u8; 8],
    received: u64,
    proof: &[u8; 16],
) -> Option<MergeTask> {
    if let Some(told) = peer.merge_reply(&name) {
        // Done before; the answer was lost with a link.
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

/// Does what the other side decided about the pairs of these names.
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

/// Lets what was left of a peer go over another, and makes its target an alias of that.
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
    // Who removed the other one did not remove this one, and who counts what cannot be does not
    // decide whom this node dials.
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
