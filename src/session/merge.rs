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
    if goes.has_ended() || goes.queue.resume(received).is_err() {
        // It is gone, or the other side counts what cannot be: nothing of it is taken.
        return drop(service);
    }
    if stays.is_off() {
        // Who removed that one did not remove this one.
        return stay_apart(running, stays, service).await;
    }
    stays.park(&goes);
    if !running.make_alias(&goes, stays) {
        return stay_apart(running, stays, service).await;
    }
    running.routes.remove_peer(goes.target()).await;
    running.events.emit(Event::Merged { target: stays.target(), retired: goes.target() });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DownReason;
    use crate::peer::Closing;
    use crate::proto::{PairSecret, PublicKey};
    use crate::session::scene::running;
    use crate::spawn::Global;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;

    const NODE: [u8; 16] = [9; 16];
    const OTHER: [u8; 16] = [8; 16];

    /// For a key: there is none.
    const PLAIN: u8 = 0;

    fn pair(number: u8, boot: [u8; 16], key: u8) -> Pair {
        let secret = PairSecret::new(&[number; 16], &[number; 16]);
        let key = (key != PLAIN).then(|| PublicKey::from_bytes([key; 32]));
        Pair::new(secret, boot, key)
    }

    /// Two peers that lead to one node and have no link, and the service of the one that goes.
    struct Scene {
        running: Arc<Running>,
        stays: Arc<Peer>,
        goes: Arc<Peer>,
        service: Service,
    }

    fn scene(key: u8) -> Scene {
        let running = running(Global);
        let add = |number: u8| {
            let dial = format!("far:900{number}").parse().unwrap();
            let peer = Arc::new(Peer::dialed(number.into(), dial, running.new_queue()));
            let peer = running.add_peers(|_| Ok::<_, ()>(vec![peer])).unwrap().remove(0);
            running.pair_anew(&peer, Some(pair(number, NODE, key)));
            peer
        };
        let (stays, goes) = (add(1), add(2));
        let service = Service::begin(&running, &goes).unwrap();
        Scene { running, stays, goes, service }
    }

    fn in_time<T>(work: impl Future<Output = T>) -> T {
        block_on(within(Duration::from_secs(10), work)).expect("an end")
    }

    impl Scene {
        fn merging(&self) -> Merging {
            Merging::begin(&self.stays, &self.goes).unwrap()
        }

        /// Begins a merge, and has one of the two become another pair by the time that the task
        /// which serves the one that goes lets go of it.
        fn merge(self, merge: impl Future<Output = ()>, becomes: &Peer, another: Pair) {
            let mut merge = pin!(merge);
            assert!(block_on(poll_once(merge.as_mut())).is_none(), "it does not wait for its turn");
            self.become_another(becomes, another);
            let mut giving = pin!(self.service.give_way());
            assert!(block_on(poll_once(giving.as_mut())).is_none());
            in_time(merge);
            assert!(in_time(giving).is_none());
            let found = self.running.peer(self.goes.target()).unwrap();
            assert!(Arc::ptr_eq(&found, &self.goes), "it became another node's");
            assert!(!self.goes.has_ended() && !self.goes.is_going() && !self.goes.is_merging());
        }

        /// Another node has the peer's address now. Whoever is asked answers: names are no secret.
        fn become_another(&self, peer: &Peer, another: Pair) {
            let peer = self.running.peer(peer.target()).unwrap();
            self.running.pair_anew(&peer, Some(another));
            self.stays.note_answer(self.goes.pair().unwrap().secret.name(), 0);
        }
    }

    /// Of two peers one, the key that both have, and whom it becomes. A run is no secret, so that on
    /// plain links another node can claim to be the same one.
    fn cases() -> impl Iterator<Item = (usize, u8, Pair)> {
        let become_another =
            |which| [(which, 1, pair(3, OTHER, 2)), (which, PLAIN, pair(3, NODE, PLAIN))];
        [0, 1].into_iter().flat_map(become_another)
    }

    /// Frames for one node went to another.
    #[test]
    fn who_decides_looks_again_when_it_is_its_turn() {
        for (which, key, another) in cases() {
            let scene = scene(key);
            let (stays, goes) = (scene.stays.clone(), scene.goes.clone());
            let becomes = [&goes, &stays][which].clone();
            let [stays, goes] = [(stays, 1), (goes, 2)]
                .map(|(peer, number)| (peer, pair(number, NODE, key).secret.name()));
            // The older one has no link, so it goes.
            let merge = decide(scene.running.clone(), scene.merging(), goes, stays);
            scene.merge(merge, &becomes, another);
        }
    }

    #[test]
    fn who_follows_looks_again_when_it_is_its_turn() {
        for (which, key, another) in cases() {
            let scene = scene(key);
            let (stays, goes) = (scene.stays.clone(), scene.goes.clone());
            let becomes = [&goes, &stays][which].clone();
            let names = [1, 2].map(|number| pair(number, NODE, key).secret.name());
            let merge = follow(scene.running.clone(), scene.merging(), stays, goes, names, 0);
            scene.merge(merge, &becomes, another);
        }
    }

    #[test]
    fn an_answer_of_another_node_is_none() {
        let scene = scene(1);
        let (stays, goes) = (scene.stays.clone(), scene.goes.clone());
        let [own_name, name] = [1, 2].map(|number| pair(number, NODE, 1).secret.name());
        let agreeing = agree(&scene.running, (&stays, &own_name), (&goes, &name));
        let mut agreeing = pin!(agreeing);
        assert!(block_on(poll_once(agreeing.as_mut())).is_none());
        scene.become_another(&stays, pair(3, OTHER, 2));
        assert_eq!(in_time(agreeing), None);
    }

    /// What it counted was taken for what the node itself has, and frames were lost or came twice.
    #[test]
    fn an_answer_of_who_was_at_the_address_before_is_none() {
        let scene = scene(1);
        let (stays, goes) = (&scene.stays, &scene.goes);
        scene.become_another(stays, pair(3, OTHER, 2));
        scene.running.pair_anew(stays, Some(pair(1, NODE, 1)));
        let [own_name, name] = [1, 2].map(|number| pair(number, NODE, 1).secret.name());
        let mut agreeing = pin!(agree(&scene.running, (stays, &own_name), (goes, &name)));
        assert_eq!(block_on(poll_once(agreeing.as_mut())), None, "nobody answered yet");
        stays.note_answer(name, 7);
        assert_eq!(in_time(agreeing), Some(7));
    }

    /// Nobody dialed it any more, though it was the other one that had been removed.
    #[test]
    fn what_was_to_go_stays_if_the_other_one_is_removed() {
        for has_ended in [false, true] {
            let Scene { running, stays, goes, service } = scene(1);
            running.forget_peer(stays.target()).unwrap();
            stays.stop(Closing::Now, DownReason::Removed);
            if has_ended {
                running.end_peer(&stays);
            }
            in_time(finish(&running, &stays, service, 0));
            assert!(!goes.has_ended());
            let found = running.peer(goes.target()).unwrap();
            assert!(Arc::ptr_eq(&found, &goes), "its target is an alias");
            assert!(Service::begin(&running, &goes).is_none(), "nobody serves it");
        }
    }
}
