//! A third node that tries to take over a session: it peers with both nodes, or replies at an old
//! address of one of them.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};

use netmod_inet::{Event, Id, InetEndpoint, Target};

use super::by_hand::{
    ACK, CREDIT, DUPLICATE, Extension, INSTANCE_ID, KEY_SHARE, MERGE, MERGE_ACK, Mac, NONCE, PING,
    PROOF, SESSION, Wire, ack, control, decode_extension, extension_of, hello, new_extension,
    plain_listener, proof_of_dialer, secret,
};
use super::proxy::{Break, Proxy};
use crate::scripted::{number_of, numbered, prefixed};
use crate::subject::{Node, quick};

/// The router ids of dialer and listener, which the attacker claims.
const DIALER: u8 = 0xD1;
const LISTENER: u8 = 0x71;

/// A dialer and a listener of this crate, and their targets for each other.
struct Two {
    dialer: Node,
    listener: Node,
    to_listener: Target,
    to_dialer: Target,
}

impl Two {
    fn up() -> Two {
        Two::over(|port| format!("127.0.0.1:{port}"))
    }

    /// Dials the listener at the address that `addr` makes of its port.
    fn over(addr: impl FnOnce(u16) -> String) -> Two {
        let builder =
            |id| InetEndpoint::builder().router_id(Id::from_bytes([id; 32])).limits(quick());
        let mut listener = Node::started(builder(LISTENER).bind("127.0.0.1:0"));
        let mut dialer = Node::started(builder(DIALER));
        let to_listener = dialer.add(&addr(listener.port()));
        dialer.up();
        let (to_dialer, _, _) = listener.up();
        Two { dialer, listener, to_listener, to_dialer }
    }

    /// Fails unless the two still exchange frames over the link that they had.
    fn assert_untouched(&self, case: &str) {
        let ends = [
            (&self.dialer, self.to_listener, LISTENER, &self.listener),
            (&self.listener, self.to_dialer, DIALER, &self.dialer),
        ];
        for (node, target, id, other) in ends {
            let info = node.info(target);
            assert_eq!((info.links, info.id), (1, Some(Id::from_bytes([id; 32]))), "{case}");
            for number in 0..5 {
                node.try_send(target, &numbered(number, 100));
                let (from, frame) = other.next();
                assert_eq!(number_of(frame.as_bytes()), number, "{case}");
                let expected = if id == LISTENER { self.to_dialer } else { self.to_listener };
                assert_eq!(from, expected, "{case}");
            }
        }
    }

    /// Waits until both have processed all that the attacker sent.
    fn wait_processed(&self, attacker: &mut Attacker) {
        for (wire, id) in [(&mut attacker.at_dialer, LISTENER), (&mut attacker.at_listener, DIALER)]
        {
            // Control frames are processed in order, so the reply to a ping comes last.
            wire.send(&control(id, &Extension::from([(PING, Vec::new())])));
            wire.expect_record(ACK);
        }
    }
}

/// A node with a link to each of the two, which claims to be the other one.
struct Attacker {
    at_dialer: Wire,
    at_listener: Wire,
    /// The extensions of the two in their handshakes with it.
    of_dialer: Extension,
    of_listener: Extension,
}

impl Attacker {
    /// Completes a handshake of its own with each.
    fn between(two: &Two) -> Attacker {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        two.dialer.add(&listener.local_addr().expect("an address").to_string());
        let mut at_dialer = Wire::over(listener.accept().expect("a dialer").0);
        let of_dialer = extension_of(&at_dialer.expect_frame());
        let mut at_listener = Wire::to(two.listener.port());
        let sent = new_extension(&of_dialer[&INSTANCE_ID], [1; 16], [2; 16]);
        at_listener.send(&hello(DIALER, &sent));
        let of_listener = extension_of(&at_listener.expect_frame());
        let own = secret(&sent, &of_listener);
        at_listener.send(&control(DIALER, &proof(proof_of_dialer(&own, &sent, &of_listener))));
        at_dialer
            .send(&ack(LISTENER, &new_extension(&of_listener[&INSTANCE_ID], [3; 16], [4; 16])));
        at_dialer.expect_record(PROOF);
        Attacker { at_dialer, at_listener, of_dialer, of_listener }
    }

    /// Relays the handshake of the two, so that both links have the same secret.
    fn relaying(two: &Two) -> Attacker {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        two.dialer.add(&listener.local_addr().expect("an address").to_string());
        let mut at_dialer = Wire::over(listener.accept().expect("a dialer").0);
        let mut at_listener = Wire::to(two.listener.port());
        let hello = at_dialer.expect_frame();
        at_listener.send(&hello);
        let ack = at_listener.expect_frame();
        at_dialer.send(&ack);
        at_listener.send(&at_dialer.expect_frame());
        let (of_dialer, of_listener) = (extension_of(&hello), extension_of(&ack));
        Attacker { at_dialer, at_listener, of_dialer, of_listener }
    }

    /// The duplicate that each of the two announces, since it takes the attacker for the other.
    fn announced(&mut self) -> [Vec<u8>; 2] {
        [self.at_dialer.expect_record(DUPLICATE), self.at_listener.expect_record(DUPLICATE)]
    }
}

/// Forwards frames without the announcement of a duplicate link.
fn forward(from: &Wire, to: &Wire) {
    let [mut from, mut to] = [from, to].map(|wire| Wire(wire.0.try_clone().expect("fd")));
    std::thread::spawn(move || {
        while let Some(mut frame) = from.recv() {
            if frame[2] == 40 {
                let mut extension = decode_extension(&frame[41..]);
                extension.remove(&DUPLICATE);
                frame = control(frame[3], &extension);
            }
            if to.0.write_all(&prefixed(&frame)).is_err() {
                return;
            }
        }
    });
}

fn proof(mac: Mac) -> Extension {
    Extension::from([(PROOF, mac.to_vec()), (ACK, vec![0; 8]), (CREDIT, vec![0; 8])])
}

fn one(kind: u8, value: &[u8]) -> Extension {
    Extension::from([(kind, value.to_vec())])
}

/// A merge record for the session of this name, with a count of zero.
fn merge(kind: u8, name: &[u8]) -> Extension {
    one(kind, &[name, &[0; 8]].concat())
}

#[test]
fn announcements_replayed_to_both_ends_have_no_effect() {
    let two = Two::up();
    let mut attacker = Attacker::between(&two);
    let [from_dialer, from_listener] = attacker.announced();
    assert_eq!(from_dialer[..8], from_listener[..8], "both name their session");
    let name = &from_dialer[..8];
    for shown in [&from_dialer, &from_listener] {
        for extension in [one(DUPLICATE, shown), merge(MERGE, name), merge(MERGE_ACK, name)] {
            attacker.at_dialer.send(&control(LISTENER, &extension));
            attacker.at_listener.send(&control(DIALER, &extension));
        }
    }
    two.wait_processed(&mut attacker);
    two.assert_untouched("the announcement of each, replayed to both");
    attacker.at_listener.send(&numbered(9, 10));
    let (from, frame) = two.listener.next();
    assert_ne!(
        (from, number_of(frame.as_bytes())),
        (two.to_dialer, 9),
        "its frame counts as one of the dialer"
    );
    two.assert_untouched("a frame of the attacker");
}

#[test]
fn name_and_instance_id_are_not_enough_to_resume() {
    let mut two = Two::up();
    let mut attacker = Attacker::between(&two);
    let [duplicate, _] = attacker.announced();
    let name = duplicate[..8].to_vec();
    let mut sent = new_extension(&attacker.of_dialer[&INSTANCE_ID], [5; 16], [6; 16]);
    sent.insert(SESSION, name);
    // All sixteen bytes that the attacker ever saw, and the listener's own proof sent back.
    let mut wire = Wire::to(two.listener.port());
    wire.send(&hello(DIALER, &sent));
    let own = extension_of(&wire.expect_frame())[&PROOF].clone();
    let seen = [&attacker.of_dialer, &attacker.of_listener]
        .into_iter()
        .flat_map(|extension| [INSTANCE_ID, NONCE, KEY_SHARE].map(|kind| extension[&kind].clone()));
    for shown in seen.chain([own, duplicate[8..].to_vec(), vec![0; 16]]) {
        let mut wire = Wire::to(two.listener.port());
        let addr = wire.0.local_addr().expect("an address");
        wire.send(&hello(DIALER, &sent));
        wire.expect_frame();
        wire.send(&control(DIALER, &proof(shown[..].try_into().expect("sixteen bytes"))));
        let reason = two.listener.wait("dropped event", |event| match event {
            Event::Dropped { addr: Some(from), reason, .. } if *from == addr => {
                Some(reason.to_string())
            }
            _ => None,
        });
        assert!(reason.contains("prove"), "{reason}");
        assert_eq!(wire.recv(), None, "the listener sent it a frame");
    }
    two.assert_untouched("proofs made of what was seen");
}

/// The attacker sends the request that ends the older link, in the name of the node that may send
/// it.
#[test]
fn a_relay_of_the_handshake_cannot_request_a_merge() {
    let two = Two::up();
    let mut attacker = Attacker::relaying(&two);
    let [from_dialer, from_listener] = attacker.announced();
    let merge_request = merge(MERGE, &from_dialer[..8]);
    if attacker.of_dialer[&INSTANCE_ID] > attacker.of_listener[&INSTANCE_ID] {
        attacker.at_dialer.send(&control(LISTENER, &one(DUPLICATE, &from_listener)));
        attacker.at_dialer.send(&control(LISTENER, &merge_request));
    } else {
        attacker.at_listener.send(&control(DIALER, &one(DUPLICATE, &from_dialer)));
        attacker.at_listener.send(&control(DIALER, &merge_request));
    }
    two.wait_processed(&mut attacker);
    two.assert_untouched("a merge request of the attacker");
}

/// Their own link is the younger one then, but its session is the older one.
#[test]
fn a_relay_of_all_frames_is_dropped_when_their_own_link_is_back() {
    let mut proxy = None;
    let mut two = Two::over(|port| proxy.insert(Proxy::to(port)).address());
    let attacker = Attacker::relaying(&two);
    forward(&attacker.at_dialer, &attacker.at_listener);
    forward(&attacker.at_listener, &attacker.at_dialer);
    proxy.expect("a proxy").cut(Break::Close);
    let ends = [(&mut two.dialer, two.to_listener), (&mut two.listener, two.to_dialer)];
    for (node, own) in ends {
        let stays = node.wait("merged event", |event| match event {
            Event::Merged { target, .. } => Some(*target),
            _ => None,
        });
        assert_eq!(stays, own, "their own link was retired");
    }
}

/// The address at which a dialer reaches a listener, until another node answers there.
struct OldAddr {
    socket: TcpListener,
    forwards_to: u16,
}

impl OldAddr {
    /// Lets the next dialer through, all the way. Returns both ends, to cut them.
    fn let_through(&self) -> [TcpStream; 2] {
        let near = self.socket.accept().expect("a dialer").0;
        let far = TcpStream::connect(("127.0.0.1", self.forwards_to)).expect("a listener");
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (mut from, mut to) = (from.try_clone().expect("fd"), to.try_clone().expect("fd"));
            std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
        }
        [near, far]
    }

    /// The next dialer, and its Hello.
    fn accept(&self) -> (Wire, Vec<u8>) {
        let mut wire = Wire::over(self.socket.accept().expect("a dialer").0);
        let hello = wire.expect_frame();
        (wire, hello)
    }
}

#[test]
fn a_node_at_an_old_address_cannot_resume_the_session_of_the_listener() {
    let mut listener = plain_listener();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut dialer = Node::started(InetEndpoint::builder().limits(quick()));
    let to_listener = dialer.add(&socket.local_addr().expect("an address").to_string());
    let old_addr = OldAddr { socket, forwards_to: listener.port() };
    let first = old_addr.let_through();
    dialer.up();
    let (to_dialer, _, _) = listener.up();
    first.iter().for_each(|end| end.shutdown(Shutdown::Both).expect("an open stream"));
    dialer.down(to_listener);
    listener.down(to_dialer);
    for number in 0..10 {
        dialer.try_send(to_listener, &numbered(number, 100));
        listener.try_send(to_dialer, &numbered(number, 100));
    }

    // The listener's own proof, for the nonce of a dial that is over.
    let (wire, hello) = old_addr.accept();
    drop(wire);
    let mut probe = Wire::to(listener.port());
    probe.send(&hello);
    let seen = extension_of(&probe.expect_frame());
    drop(probe);
    let mut shown = vec![seen[&PROOF].clone(), vec![0; 16]];
    shown.extend([NONCE, KEY_SHARE].map(|kind| extension_of(&hello)[&kind].clone()));
    for proof in shown {
        let (mut wire, _) = old_addr.accept();
        let mut sent = seen.clone();
        sent.insert(PROOF, proof);
        wire.send(&ack(LISTENER, &sent));
        assert_eq!(wire.recv(), None, "the dialer sent it a frame");
    }
    dialer.wait("attempt that was not proved", |event| match event {
        Event::Attempt { reason, .. } => reason.to_string().contains("prove").then_some(()),
        _ => None,
    });

    let _again = old_addr.let_through();
    for number in 0..10 {
        let (from, frame) = listener.next();
        assert_eq!((from, number_of(frame.as_bytes())), (to_dialer, number));
        let (from, frame) = dialer.next();
        assert_eq!((from, number_of(frame.as_bytes())), (to_listener, number));
    }
    assert_eq!((dialer.info(to_listener).links, listener.info(to_dialer).links), (2, 2));
}
