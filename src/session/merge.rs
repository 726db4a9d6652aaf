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

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;

use super::accept;
use super::service::Service;
use crate::context::Running;
use crate::events::Event;
use crate::peer::{Merging, Notice, Pair, Peer};
use crate::timer::{self, within};

/// Time in which the older link has to show that it lives.
const CHALLENGE: Duration = Duration::from_secs(2);

/// Time after which the other side is told again what it did not answer: its link may have broken.
const REPEAT: Duration = Duration::from_secs(1);

/// How often the other side is told of another link: over half a minute, in which whoever is merging
/// or removing one of them has done so.
const TELLS: u32 = 5;

/// How often the other side may show that it lives and say nothing of a merge, until it is taken to
/// have forgotten the peer that goes: its router may have removed it.
const HEEDS: u32 = 10;

/// Tells the other side of a link that has come up if others lead to the same node. A few times:
/// that side may not know of the other one yet, or may be about to lose it.
pub(super) fn introduce(running: &Arc<Running>, peer: &Arc<Peer>) {
    if tell_if_same(running, peer, 0) {
        running.spawn(keep_telling(running.clone(), peer.clone()));
    }
}

async fn keep_telling(running: Arc<Running>, peer: Arc<Peer>) {
    let telling = async {
        for number in 1..TELLS {
            timer::after(REPEAT * 2u32.pow(number)).await;
            if !peer.queue.is_up() || !tell_if_same(&running, &peer, number) {
                return;
            }
        }
    };
    // Not by the peer alone: one that was merged away meanwhile is told nothing any more.
    future::or(telling, future::or(peer.stopped(), running.until_stopping())).await;
}

/// Tells the other side of a link if others lead to the same node, of each of them in turn. Whether
/// there are some.
fn tell_if_same(running: &Running, peer: &Arc<Peer>, number: u32) -> bool {
    let siblings = running.siblings(peer);
    let (Some(own), false) = (peer.pair(), siblings.is_empty()) else { return false };
    let sibling = &siblings[number as usize % siblings.len()];
    if !peer.is_merging() {
        tell_same(running, peer, &own, sibling);
    }
    if running.boot < own.boot {
        // So that answers are here soon after the other side's proof. Both, since that side may
        // have seen them come up in the other order.
        sibling.challenge(CHALLENGE);
        peer.challenge(CHALLENGE);
    }
    true
}

fn tell_same(running: &Running, peer: &Peer, own: &Pair, sibling: &Peer) {
    let Some(other) = sibling.pair() else { return };
    let proof = other.secret.same_node(&running.boot, &own.secret.name());
    peer.queue.say_same(&other.secret.name(), &proof);
}

/// Does what the other side of a peer's link says about another link.
pub(super) fn hear(running: &Arc<Running>, peer: &Arc<Peer>, notice: Notice) {
    let Some(own) = peer.pair() else { return };
    match notice {
        Notice::Same { name, proof } => hear_same(running, peer, &own, &name, &proof),
        Notice::Merge { name, received, proof } => {
            hear_merge(running, peer, &own, name, received, &proof);
        }
        Notice::Merged { name, received } => peer.note_answer(name, received),
    }
}

fn hear_same(
    running: &Arc<Running>,
    peer: &Arc<Peer>,
    own: &Pair,
    name: &[u8; 8],
    proof: &[u8; 16],
) {
    let Some(sibling) = running.paired(name, &own.boot) else { return };
    let Some(other) = sibling.pair() else { return };
    let due = other.secret.same_node(&own.boot, &own.secret.name());
    if !other.is_with_the_same(own)
        || due != *proof
        || Arc::ptr_eq(&sibling, peer)
        || !carry_the_same(&sibling, peer)
    {
        return;
    }
    peer.note_same(name);
    sibling.note_same(&own.secret.name());
    if own.boot < running.boot {
        // The other side decides, once it knows as much.
        return tell_same(running, peer, own, &sibling);
    }
    if let Some(merging) = Merging::begin(peer, &sibling) {
        let (one, two) = ((peer.clone(), own.secret.name()), (sibling, *name));
        let (older, newer) = match is_older(&one.0, &two.0) {
            true => (one, two),
            false => (two, one),
        };
        running.spawn(decide(running.clone(), merging, older, newer));
    }
}

/// Whether what this node shares with one peer is older than what it shares with the other.
fn is_older(one: &Peer, other: &Peer) -> bool {
    match (one.pair(), other.pair()) {
        (Some(one), Some(other)) => one.since < other.since,
        _ => false,
    }
}

/// Whether the links of two peers carry frames the same ways; if they do not, each is needed.
fn carry_the_same(one: &Peer, other: &Peer) -> bool {
    one.peer_type().flows_like(other.peer_type())
}

/// Decides which of two peers stays, and has the other side do as much. With each is the name of the
/// pair that it was when they were shown to be the same.
async fn decide(running: Arc<Running>, merging: Merging, older: Named, newer: Named) {
    let ((stays, own_name), (goes, name)) = match lives(&older.0).await {
        true => (older, newer),
        false => (newer, older),
    };
    let service = Service::take(&running, &goes).await;
    goes.set_going();
    let answer = agree(&running, (&stays, &own_name), (&goes, &name)).await;
    drop(merging);
    match answer {
        Some(received) => {
            finish(&running, &stays, service, received).await;
            // There may be a third, of which nothing could be said meanwhile.
            introduce(&running, &stays);
        }
        None => stay_apart(&running, &stays, service).await,
    }
}

/// Goes on with two peers that are not to be one after all.
async fn stay_apart(running: &Arc<Running>, stays: &Arc<Peer>, service: Service) {
    introduce(running, stays);
    accept::go_on(running, service).await;
}

/// A peer, and the name of a pair that it was.
type Named = (Arc<Peer>, [u8; 8]);

/// Whether two peers are the pairs of these names, and lead to one node. While somebody waits, each
/// may become another pair, with another node.
fn are_the_same(one: (&Peer, &[u8; 8]), other: (&Peer, &[u8; 8])) -> bool {
    let pair =
        |(peer, name): (&Peer, &[u8; 8])| peer.pair().filter(|pair| pair.secret.name() == *name);
    match (pair(one), pair(other)) {
        (Some(one), Some(other)) => one.is_with_the_same(&other),
        _ => false,
    }
}

/// Whether the link of a peer answers.
async fn lives(peer: &Peer) -> bool {
    if !peer.queue.is_up() {
        return false;
    }
    let before = peer.challenge(CHALLENGE);
    let answered = async {
        loop {
            let changed = peer.changed();
            if peer.is_off() || !peer.queue.is_up() {
                return false;
            }
            if peer.answers() != before {
                return true;
            }
            changed.await;
        }
    };
    within(CHALLENGE, answered).await.unwrap_or(false)
}

/// Tells the other side which peer goes, until it has answered: how many frames of it the other
/// side received. `None` if one of the two ends meanwhile or becomes another pair, or if
/// the other side does not know the one that goes any more.
async fn agree(
    running: &Running,
    (stays, own_name): (&Peer, &[u8; 8]),
    (goes, name): (&Peer, &[u8; 8]),
) -> Option<u64> {
    let (own, other) = (stays.pair()?, goes.pair()?);
    let received = goes.queue.received_total();
    let proof = other.secret.decision(&running.boot, own_name, received);
    let mut unheeded = 0;
    // Another run of the other node knows of nothing, and another node is not to be asked.
    let is_on = || are_the_same((stays, own_name), (goes, name));
    while unheeded < HEEDS && !stays.is_off() && !goes.is_off() && is_on() {
        // With the proof once more: it may have come before the other side knew both pairs.
        tell_same(running, stays, &own, goes);
        stays.queue.say_merge(name, received, &proof);
        let before = stays.answers();
        stays.queue.say_probe();
        let answered = async {
            loop {
                let changed = stays.changed();
                if let Some(received) = stays.answer(name) {
                    return Some(received);
                }
                changed.await;
            }
        };
        let again = async {
            timer::after(REPEAT).await;
            None
        };
        if let Some(received) = future::or(answered, again).await {
            return is_on().then_some(received);
        }
        unheeded += u32::from(stays.answers() != before);
    }
    None
}

fn hear_merge(
    running: &Arc<Running>,
    peer: &Arc<Peer>,
    own: &Pair,
    name: [u8; 8],
    received: u64,
    proof: &[u8; 16],
) {
    if let Some(told) = peer.told(&name) {
        // Done before; the answer was lost with a link.
        return peer.queue.say_merged(&name, told);
    }
    let Some(goes) = running.paired(&name, &own.boot) else { return };
    let Some(other) = goes.pair() else { return };
    let due = other.secret.decision(&own.boot, &own.secret.name(), received);
    let is_shown = other.is_with_the_same(own) && due == *proof;
    let may_decide = own.boot < running.boot && peer.is_same(&name) && is_shown;
    if !may_decide || Arc::ptr_eq(&goes, peer) || !carry_the_same(&goes, peer) {
        return;
    }
    if let Some(merging) = Merging::begin(peer, &goes) {
        let names = [own.secret.name(), name];
        running.spawn(follow(running.clone(), merging, peer.clone(), goes, names, received));
    }
}

/// Does what the other side decided about the pairs of these names.
async fn follow(
    running: Arc<Running>,
    merging: Merging,
    stays: Arc<Peer>,
    goes: Arc<Peer>,
    [own_name, name]: [[u8; 8]; 2],
    received: u64,
) {
    let service = Service::take(&running, &goes).await;
    if !are_the_same((&stays, &own_name), (&goes, &name)) {
        drop(merging);
        return stay_apart(&running, &stays, service).await;
    }
    goes.set_going();
    let own = goes.queue.received_total();
    stays.note_told(name, own);
    drop(merging);
    finish(&running, &stays, service, received).await;
    stays.queue.say_merged(&name, own);
}

/// Lets what was left of a peer go over another, and makes its target an alias of that.
async fn finish(running: &Arc<Running>, stays: &Arc<Peer>, service: Service, received: u64) {
    let goes = service.peer.clone();
    if goes.has_ended() {
        return drop(service);
    }
    // Who removed the other one did not remove this one, and who counts what cannot be does not
    // decide whom this node dials.
    if stays.is_off() || goes.queue.resume(received).is_err() {
        return stay_apart(running, stays, service).await;
    }
    stays.park(&goes);
    if !running.make_alias(&goes, stays) {
        return stay_apart(running, stays, service).await;
    }
    running.routes.remove_peer(goes.target()).await;
    running.events.emit(Event::Merged { target: stays.target(), retired: goes.target() });
}
