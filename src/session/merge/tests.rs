//! Tests of merges that are interrupted.

use super::*;
use crate::config::Global;
use crate::error::DownReason;
use crate::peer::{Closing, InitialCredit, WindowSize};
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

fn session(number: u8, instance_id: [u8; 16], key: u8) -> Session {
    let secret = SessionSecret::new(&[number; 16].into(), &[number; 16].into());
    let key = (key != PLAIN).then(|| PublicKey::from_bytes([key; 32]));
    Session::new(secret, instance_id.into(), key)
}

/// Two peers of one remote instance that have no link, and the lease of the losing one.
struct Scene {
    running: Arc<TaskRef>,
    survivor: Arc<Peer>,
    loser: Arc<Peer>,
    lease: PeerLease,
}

fn scene(key: u8) -> Scene {
    let running = running(Global);
    let add = |number: u8| {
        let dial = format!("far:900{number}").parse().unwrap();
        let peer = Arc::new(Peer::dialed(u16::from(number).into(), dial, running.new_queue()));
        let peer = running.add_peers(|_| Ok::<_, ()>(vec![peer])).unwrap().remove(0);
        running.start_session(
            &peer,
            ID,
            Some((session(number, NODE, key), WindowSize::default(), InitialCredit::default())),
        );
        peer
    };
    let (survivor, loser) = (add(1), add(2));
    let lease = PeerLease::try_acquire(&running, &loser).unwrap();
    Scene { running, survivor, loser, lease }
}

fn in_time<T>(work: impl Future<Output = T>) -> T {
    block_on(within(Duration::from_secs(10), work)).expect("an end")
}

impl Scene {
    fn guard(&self) -> MergeGuard {
        MergeGuard::begin(&self.survivor, &self.loser).unwrap()
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
        assert!(block_on(poll_once(merge.as_mut())).is_none(), "it does not wait for the lease");
        self.become_another(becomes, another);
        let mut yielding = pin!(self.lease.yield_now());
        assert!(block_on(poll_once(yielding.as_mut())).is_none());
        let survivor = in_time(merge).expect("it stays");
        assert!(in_time(yielding).is_none());
        in_time(resume(&self.running, survivor));
        let found = self.running.peer(self.loser.target()).unwrap();
        assert!(Arc::ptr_eq(&found, &self.loser), "it became another node's");
        assert!(
            !self.loser.has_ended() && !self.loser.is_merge_loser() && !self.loser.is_merging()
        );
    }

    /// Gives the peer a session with another node, which acknowledges the merge: session names are
    /// no secret.
    fn become_another(&self, peer: &Peer, another: Session) {
        let peer = self.running.peer(peer.target()).unwrap();
        self.running.start_session(
            &peer,
            ID,
            Some((another, WindowSize::default(), InitialCredit::default())),
        );
        self.survivor.set_merge_ack(self.loser.session().unwrap().secret.public_name(), 0);
    }
}

/// The peer of the two that changes, the key that both have, and its new session. An instance id is
/// no secret, so on plain links another node can claim to be the same instance.
fn cases() -> impl Iterator<Item = (usize, u8, Session)> {
    let become_another =
        |which| [(which, 1, session(3, OTHER, 2)), (which, PLAIN, session(3, NODE, PLAIN))];
    [0, 1].into_iter().flat_map(become_another)
}

/// Regression: frames for one node went to another.
#[test]
fn the_leader_checks_the_sessions_again_once_it_has_the_lease() {
    for (which, key, another) in cases() {
        let scene = scene(key);
        let (survivor, loser) = (scene.survivor.clone(), scene.loser.clone());
        let becomes = [&loser, &survivor][which].clone();
        let [survivor, loser] = [(survivor, 1), (loser, 2)]
            .map(|(peer, number)| (peer, session(number, NODE, key).secret.public_name()));
        // The older one has no link, so it loses.
        let merge = lead(scene.running.clone(), scene.guard(), loser, survivor);
        scene.merge(merge, &becomes, another);
    }
}

#[test]
fn the_follower_checks_the_sessions_again_once_it_has_the_lease() {
    for (which, key, another) in cases() {
        let scene = scene(key);
        let (survivor, loser) = (scene.survivor.clone(), scene.loser.clone());
        let becomes = [&loser, &survivor][which].clone();
        let names = [1, 2].map(|number| session(number, NODE, key).secret.public_name());
        let merge = follow(scene.running.clone(), scene.guard(), survivor, loser, names, 0);
        scene.merge(merge, &becomes, another);
    }
}

#[test]
fn an_ack_of_another_node_is_ignored() {
    let scene = scene(1);
    let (survivor, loser) = (scene.survivor.clone(), scene.loser.clone());
    let [own_name, name] = [1, 2].map(|number| session(number, NODE, 1).secret.public_name());
    let negotiating = negotiate(&scene.running, (&survivor, &own_name), (&loser, &name));
    let mut negotiating = pin!(negotiating);
    assert!(block_on(poll_once(negotiating.as_mut())).is_none());
    scene.become_another(&survivor, session(3, OTHER, 2));
    assert_eq!(in_time(negotiating), None);
}

/// Regression: an acknowledgement of another node was applied, and frames were lost or duplicated.
#[test]
fn an_ack_of_an_earlier_node_at_the_address_is_ignored() {
    let scene = scene(1);
    let (survivor, loser) = (&scene.survivor, &scene.loser);
    scene.become_another(survivor, session(3, OTHER, 2));
    scene.running.start_session(
        survivor,
        ID,
        Some((session(1, NODE, 1), WindowSize::default(), InitialCredit::default())),
    );
    let [own_name, name] = [1, 2].map(|number| session(number, NODE, 1).secret.public_name());
    let mut negotiating = pin!(negotiate(&scene.running, (survivor, &own_name), (loser, &name)));
    assert_eq!(block_on(poll_once(negotiating.as_mut())), None, "the remote has not answered yet");
    survivor.set_merge_ack(name, 7);
    assert_eq!(in_time(negotiating), Some(7));
}

/// Regression: the losing peer was no longer dialed, though the other one had been removed.
#[test]
fn the_loser_stays_if_the_survivor_is_removed() {
    for has_ended in [false, true] {
        let Scene { running, survivor, loser, lease } = scene(1);
        running.forget_peer(survivor.target()).unwrap();
        survivor.stop(Closing::Now, DownReason::Removed);
        if has_ended {
            running.end_peer(&survivor);
        }
        let lease = in_time(commit(&running, &survivor, lease, 0)).expect("it stays");
        in_time(resume(&running, lease));
        assert!(!loser.has_ended());
        let found = running.peer(loser.target()).unwrap();
        assert!(Arc::ptr_eq(&found, &loser), "its target is an alias");
        assert!(PeerLease::try_acquire(&running, &loser).is_none(), "no task serves it");
    }
}

/// Regression: a node that answered at two addresses for a while could stop one of them from ever
/// being dialed again.
#[test]
fn the_loser_stays_if_the_remote_acknowledges_an_impossible_count() {
    let Scene { running, survivor, loser, lease } = scene(1);
    let lease = in_time(commit(&running, &survivor, lease, 9)).expect("it stays");
    in_time(resume(&running, lease));
    assert!(!loser.has_ended());
    assert!(Arc::ptr_eq(&running.peer(loser.target()).unwrap(), &loser));
    assert!(PeerLease::try_acquire(&running, &loser).is_none(), "no task serves it");
}

/// Regression: a merge that failed was acknowledged, and so was each repeated request for it.
#[test]
fn only_a_merge_that_was_carried_out_is_acknowledged() {
    for (received, is_done) in [(9, false), (0, true)] {
        let Scene { running, survivor, loser, lease } = scene(1);
        survivor.queue.link_up(true);
        let names = [1, 2].map(|number| session(number, NODE, 1).secret.public_name());
        let guard = MergeGuard::begin(&survivor, &loser).unwrap();
        let mut merge =
            pin!(follow(running.clone(), guard, survivor.clone(), loser, names, received));
        assert!(block_on(poll_once(merge.as_mut())).is_none());
        let mut yielding = pin!(lease.yield_now());
        assert!(block_on(poll_once(yielding.as_mut())).is_none());
        let returned = in_time(merge);
        assert_eq!(returned.is_none(), is_done);
        let own = survivor.session().unwrap();
        let proof = [0; 16].into();
        assert!(on_request(&running, &survivor, &own, names[1], received, &proof).is_none());
        let control = survivor.queue.lock().control.take();
        let is_acked = control.is_some_and(|control| control.merge_ack.is_some());
        assert_eq!(is_acked, is_done, "{received} frames");
    }
}
