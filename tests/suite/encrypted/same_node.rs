//! Key and instance id together identify a node: neither does alone.

use netmod_inet::{InetEndpoint, Target};
use noise_rust_crypto::ChaCha20Poly1305;

use super::other_implementation::{dial, dialer_proof};
use super::proxy::{Proxy, forward};
use super::{at, dialer, encryption, exchange, id, listener, public};
use crate::resume::by_hand::{
    ACK, CREDIT, DUPLICATE, Extension, INSTANCE_ID, MERGE, PROOF, SESSION, bytes16, control,
    extension_of, mac, proof_of_dialer, secret,
};
use crate::subject::{Node, quick};

/// A handshake of two nodes, as an eavesdropper sees it.
struct Seen {
    far: Node,
    near: Node,
    to_far: Target,
    to_near: Target,
    hellos: [Extension; 2],
}

fn seen() -> Seen {
    let mut far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let proxy = Proxy::to(far.port());
    let to_far = near.add(&format!("127.0.0.1:{}", proxy.port()));
    let (sender, hellos) = std::sync::mpsc::channel();
    let _ = forward(proxy.next(), move |_, before, bytes| {
        // Hello and Ack are small enough to come in one piece.
        if before == 0 {
            let _ = sender.send(extension_of(&bytes[4..]));
        }
    });
    let hellos = [(); 2].map(|()| hellos.recv().expect("a hello and an ack"));
    near.up();
    let (to_near, _, _) = far.up();
    Seen { far, near, to_far, to_near, hellos }
}

impl Seen {
    /// The public name of their session.
    fn name(&self) -> Vec<u8> {
        let own = secret(&self.hellos[0], &self.hellos[1]);
        let name = mac(&own, &[b"netmod-inet pair name"]);
        name[..8].to_vec()
    }

    fn assert_untouched(&mut self) {
        assert_eq!(self.far.info(self.to_near).links, 1);
        assert_eq!(self.near.info(self.to_far).links, 1);
        exchange(&self.near, self.to_far, &self.far, self.to_near);
    }
}

/// The instance id, the name and the whole handshake are known to the attacker; the key is not.
#[test]
fn an_eavesdropper_with_another_key_is_another_node() {
    let mut seen = seen();
    let [of_dialer, _] = &seen.hellos;
    let extra =
        Extension::from([(INSTANCE_ID, of_dialer[&INSTANCE_ID].clone()), (SESSION, seen.name())]);
    let (mut attacker, extensions) = dial::<ChaCha20Poly1305>(seen.far.port(), 3, 1, None, extra);
    // It cannot resume the session.
    let own = secret(&seen.hellos[0], &seen.hellos[1]);
    let proof = proof_of_dialer(&own, &extensions[0], &extensions[1]);
    let proof = [(PROOF, proof.to_vec()), (ACK, vec![0; 8]), (CREDIT, vec![0; 8])];
    attacker.send(&control(3, &Extension::from(proof)));
    assert!(attacker.recv().is_none(), "it resumed the session");
    seen.assert_untouched();
    // It can start a new session, beside the other one.
    let extra = Extension::from([(INSTANCE_ID, seen.hellos[0][&INSTANCE_ID].clone())]);
    let (mut attacker, extensions) = dial::<ChaCha20Poly1305>(seen.far.port(), 3, 1, None, extra);
    attacker.send(&dialer_proof(3, &extensions));
    let (target, _, _) = seen.far.up();
    assert_ne!(target, seen.to_near);
    // It cannot merge the two.
    let own_session = secret(&extensions[0], &extensions[1]);
    let session_name = mac(&own_session, &[b"netmod-inet pair name"])[..8].to_vec();
    let instance_id = bytes16(&seen.hellos[0], INSTANCE_ID);
    let duplicate = mac(&own, &[b"netmod-inet same node", &instance_id, &session_name]);
    let received = [0; 8];
    let merge = mac(&own, &[b"netmod-inet merge", &instance_id, &session_name, &received]);
    let extension = Extension::from([
        (DUPLICATE, [&seen.name()[..], &duplicate].concat()),
        (MERGE, [&seen.name()[..], &received, &merge].concat()),
    ]);
    attacker.send(&control(3, &extension));
    attacker.send(&crate::scripted::numbered(1, 20));
    assert_eq!(seen.far.next().0, target);
    seen.assert_untouched();
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
        exchange(node, 0.into(), &far, target.expect("a peer with its id"));
    }
    assert_eq!(far.endpoint.peers().len(), 2, "they were merged");
}

/// A node that restarted with the same key is another instance.
#[test]
fn the_same_key_in_another_instance_does_not_resume() {
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
    exchange(&near, 0.into(), &far, second);
}
