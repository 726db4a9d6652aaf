//! Key and run together say which node it is: neither alone.

use netmod_inet::InetEndpoint;
use noise_rust_crypto::ChaCha20Poly1305;

use super::between::{Door, hand_on};
use super::by_other_means::{dial, introduction};
use super::{at, dialer, encryption, exchange, id, listener, public};
use crate::resume::by_hand::{
    BOOT, MERGE, PAIR, PROOF, RECEIVED, Records, SAME, bits, control, mac, offered,
    proof_of_dialer, secret,
};
use crate::subject::{Node, quick};

/// A handshake of two nodes, as somebody on the way sees it.
struct Seen {
    far: Node,
    near: Node,
    to_far: u16,
    to_near: u16,
    hellos: [Records; 2],
}

fn seen() -> Seen {
    let mut far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let door = Door::to(far.port());
    let to_far = near.add(&format!("127.0.0.1:{}", door.port()));
    let (tell, told) = std::sync::mpsc::channel();
    let _ = hand_on(door.next(), move |_, before, bytes| {
        // Hello and Ack are small enough to come in one piece.
        if before == 0 {
            let _ = tell.send(offered(&bytes[4..]));
        }
    });
    let hellos = [(); 2].map(|()| told.recv().expect("a hello and an ack"));
    near.up();
    let (to_near, _, _) = far.up();
    Seen { far, near, to_far, to_near, hellos }
}

impl Seen {
    /// The public name of what the two share.
    fn name(&self) -> Vec<u8> {
        let own = secret(&self.hellos[0], &self.hellos[1]);
        let name = mac(&own, &[b"netmod-inet pair name"]);
        name[..8].to_vec()
    }

    fn are_untouched(&mut self) {
        assert_eq!(self.far.info(self.to_near).links, 1);
        assert_eq!(self.near.info(self.to_far).links, 1);
        exchange(&self.near, self.to_far, &self.far, self.to_near);
    }
}

/// The run, the name and all that was said are no secret any more; the key is.
#[test]
fn who_heard_everything_and_has_another_key_is_another_node() {
    let mut seen = seen();
    let [dialer_said, _] = &seen.hellos;
    let more = Records::from([(BOOT, dialer_said[&BOOT].clone()), (PAIR, seen.name())]);
    let (mut thief, offers) = dial::<ChaCha20Poly1305>(seen.far.port(), 3, 1, None, more);
    // As if it went on with the pair: no.
    let own = secret(&seen.hellos[0], &seen.hellos[1]);
    let proof = proof_of_dialer(&own, &offers[0], &offers[1]);
    let records = [(PROOF, proof.to_vec()), (RECEIVED, vec![0; 8])];
    thief.say(&control(3, &Records::from(records)));
    assert!(thief.hear().is_none(), "it went on");
    seen.are_untouched();
    // As a new one: yes, and beside the pair.
    let more = Records::from([(BOOT, seen.hellos[0][&BOOT].clone())]);
    let (mut thief, offers) = dial::<ChaCha20Poly1305>(seen.far.port(), 3, 1, None, more);
    thief.say(&introduction(3, &offers));
    let (target, _, _) = seen.far.up();
    assert_ne!(target, seen.to_near);
    // And it cannot have the two become one.
    let thiefs = secret(&offers[0], &offers[1]);
    let thiefs = mac(&thiefs, &[b"netmod-inet pair name"])[..8].to_vec();
    let boot = bits(&seen.hellos[0], BOOT);
    let same = mac(&own, &[b"netmod-inet same node", &boot, &thiefs]);
    let received = [0; 8];
    let merge = mac(&own, &[b"netmod-inet merge", &boot, &thiefs, &received]);
    let records = Records::from([
        (SAME, [&seen.name()[..], &same].concat()),
        (MERGE, [&seen.name()[..], &received, &merge].concat()),
    ]);
    thief.say(&control(3, &records));
    thief.say(&crate::scripted::numbered(1, 20));
    assert_eq!(seen.far.next().0, target);
    seen.are_untouched();
    assert_eq!(seen.far.endpoint.peers().len(), 2);
}

/// Key files get copied.
#[test]
fn two_nodes_with_a_copy_of_one_key_are_two_nodes() {
    let mut far = listener(1, encryption(1));
    let mut nodes = [5, 6].map(|number| {
        let builder = InetEndpoint::builder().router_id(id(number)).encrypt(encryption(2));
        let mut node = Node::started(builder.limits(quick()));
        node.add(&at(&far, &[1]));
        node.up();
        node
    });
    let targets = [far.up().0, far.up().0];
    assert_ne!(targets[0], targets[1]);
    for target in targets {
        assert_eq!(far.info(target).key, Some(public(2)));
    }
    for node in &mut nodes {
        let own = node.endpoint.router_id();
        let target = targets.into_iter().find(|target| far.info(*target).id == Some(own));
        exchange(node, 0, &far, target.expect("a peer with its id"));
    }
    assert_eq!(far.endpoint.peers().len(), 2, "they were merged");
}

/// A node that comes back in a new run, with its key, is not the one that left.
#[test]
fn the_same_key_in_another_run_does_not_go_on() {
    let mut far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    near.add(&at(&far, &[1]));
    near.up();
    let (first, _, _) = far.up();
    drop(near);
    far.down(first);
    let mut near = dialer(2, encryption(2));
    near.add(&at(&far, &[1]));
    near.up();
    let (second, _, _) = far.up();
    assert_ne!(first, second);
    exchange(&near, 0, &far, second);
}
