//! Merges that are interrupted.

use super::*;
use crate::config::Global;
use crate::error::DownReason;
use crate::peer::Closing;
use crate::proto::{Id, PublicKey, SessionSecret};
use crate::session::supervisor::resume;
use crate::session::test_support::running;
use futures_lite::future::{block_on, poll_once};
use std::pin::pin;

const NODE: [u8; 16] = [9; 16];
const ID: Id = Id::from_bytes([9; 32]);
const OTHER: [u8; 16] = [8; 16];

/// The key number of a plain node.
const PLAIN: u8 = 0;

fn pair(number: u8, boot: [u8; 16], key: u8) -> Session {
    let secret = SessionSecret::new(&[number; 16], &[number; 16]);
    let key = (key != PLAIN).then(|| PublicKey::from_bytes([key; 32]));
    Session::new(secret, boot, key)
}

/// Two peers of one remote instance that have no link, and the lease of the losing one.
struct Scene {
    running: Arc<TaskRef>,
    stays: Arc<Peer>,
    goes: Arc<Peer>,
    service: PeerLease,
}

fn scene(key: u8) -> Scene {
    let running = running(Global);
    let add = |number: u8| {
        let dial = format!("far:900{number}").parse().unwrap();
        let peer = Arc::new(Peer::dialed(number.into(), dial, running.new_queue()));
        let peer = running.add_peers(|_| Ok::<_, ()>(vec![peer])).unwrap().remove(0);
        running.start_session(&peer, ID, Some(pair(number, NODE, key)));
        peer
    };
    let (stays, goes) = (add(1), add(2));
    let service = PeerLease::try_acquire(&running, &goes).unwrap();
    Scene { running, stays, goes, service }
}

fn in_time<T>(work: impl Future<Output = T>) -> T {
    block_on(within(Duration::from_secs(10), work)).expect("an end")
}

impl Scene {
    fn merging(&self) -> MergeGuard {
        MergeGuard::begin(&self.stays, &self.goes).unwrap()
    }

    /// Starts a merge, and gives one of the two peers another session before the lease of the
    /// losing one is passed on.
    fn merge(
        self,
        merge: impl Future<Output = Option<PeerLease>>,
        becomes: &Peer,
        another: Session,
    ) {
        let mut merge = pin!(merge);
        assert!(block_on(poll_once(merge.as_mut())).is_none(), "it does not wait for its turn");
        self.become_another(becomes, another);
        let mut giving = pin!(self.service.yield_now());
        assert!(block_on(poll_once(giving.as_mut())).is_none());
        let stays = in_time(merge).expect("it stays");
        assert!(in_time(giving).is_none());
        in_time(resume(&self.running, stays));
        let found = self.running.peer(self.goes.target()).unwrap();
        assert!(Arc::ptr_eq(&found, &self.goes), "it became another node's");
        assert!(!self.goes.has_ended() && !self.goes.is_merge_loser() && !self.goes.is_merging());
    }

    /// Gives the peer a session with another node, which acknowledges the merge: session names are
    /// no secret.
    fn become_another(&self, peer: &Peer, another: Session) {
        let peer = self.running.peer(peer.target()).unwrap();
        self.running.start_session(&peer, ID, Some(another));
        self.stays.set_merge_ack(self.goes.session().unwrap().secret.public_name(), 0);
    }
}

/// The peer of the two that changes, the key that both have, and its new session. An instance id is
/// no secret, so on plain links another node can claim to be the same instance.
fn cases() -> impl Iterator<Item = (usize, u8, Session)> {
    let become_another =
        |which| [(which, 1, pair(3, OTHER, 2)), (which, PLAIN, pair(3, NODE, PLAIN))];
    [0, 1].into_iter().flat_map(become_another)
}

/// Regression: frames for one node went to another.
#[test]
fn who_decides_looks_again_when_it_is_its_turn() {
    for (which, key, another) in cases() {
        let scene = scene(key);
        let (stays, goes) = (scene.stays.clone(), scene.goes.clone());
        let becomes = [&goes, &stays][which].clone();
        let [stays, goes] = [(stays, 1), (goes, 2)]
            .map(|(peer, number)| (peer, pair(number, NODE, key).secret.public_name()));
        // The older one has no link, so it loses.
        let merge = lead(scene.running.clone(), scene.merging(), goes, stays);
        scene.merge(merge, &becomes, another);
    }
}

#[test]
fn who_follows_looks_again_when_it_is_its_turn() {
    for (which, key, another) in cases() {
        let scene = scene(key);
        let (stays, goes) = (scene.stays.clone(), scene.goes.clone());
        let becomes = [&goes, &stays][which].clone();
        let names = [1, 2].map(|number| pair(number, NODE, key).secret.public_name());
        let merge = follow(scene.running.clone(), scene.merging(), stays, goes, names, 0);
        scene.merge(merge, &becomes, another);
    }
}

#[test]
fn an_answer_of_another_node_is_none() {
    let scene = scene(1);
    let (stays, goes) = (scene.stays.clone(), scene.goes.clone());
    let [own_name, name] = [1, 2].map(|number| pair(number, NODE, 1).secret.public_name());
    let agreeing = negotiate(&scene.running, (&stays, &own_name), (&goes, &name));
    let mut agreeing = pin!(agreeing);
    assert!(block_on(poll_once(agreeing.as_mut())).is_none());
    scene.become_another(&stays, pair(3, OTHER, 2));
    assert_eq!(in_time(agreeing), None);
}

/// Regression: an acknowledgement of another node was applied, and frames were lost or duplicated.
#[test]
fn an_answer_of_who_was_at_the_address_before_is_none() {
    let scene = scene(1);
    let (stays, goes) = (&scene.stays, &scene.goes);
    scene.become_another(stays, pair(3, OTHER, 2));
    scene.running.start_session(stays, ID, Some(pair(1, NODE, 1)));
    let [own_name, name] = [1, 2].map(|number| pair(number, NODE, 1).secret.public_name());
    let mut agreeing = pin!(negotiate(&scene.running, (stays, &own_name), (goes, &name)));
    assert_eq!(block_on(poll_once(agreeing.as_mut())), None, "nobody answered yet");
    stays.set_merge_ack(name, 7);
    assert_eq!(in_time(agreeing), Some(7));
}

/// Regression: the losing peer was no longer dialed, though the other one had been removed.
#[test]
fn what_was_to_go_stays_if_the_other_one_is_removed() {
    for has_ended in [false, true] {
        let Scene { running, stays, goes, service } = scene(1);
        running.forget_peer(stays.target()).unwrap();
        stays.stop(Closing::Now, DownReason::Removed);
        if has_ended {
            running.end_peer(&stays);
        }
        let left = in_time(commit(&running, &stays, service, 0)).expect("it stays");
        in_time(resume(&running, left));
        assert!(!goes.has_ended());
        let found = running.peer(goes.target()).unwrap();
        assert!(Arc::ptr_eq(&found, &goes), "its target is an alias");
        assert!(PeerLease::try_acquire(&running, &goes).is_none(), "nobody serves it");
    }
}

/// Regression: a node that answered at two addresses for a while could stop one of them from ever
/// being dialed again.
#[test]
fn what_was_to_go_stays_if_the_other_side_counts_what_cannot_be() {
    let Scene { running, stays, goes, service } = scene(1);
    let left = in_time(commit(&running, &stays, service, 9)).expect("it stays");
    in_time(resume(&running, left));
    assert!(!goes.has_ended());
    assert!(Arc::ptr_eq(&running.peer(goes.target()).unwrap(), &goes));
    assert!(PeerLease::try_acquire(&running, &goes).is_none(), "nobody serves it");
}
