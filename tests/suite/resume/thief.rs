//! A third node that wants what belongs to a pair: it peers with both ends, or answers where one
//! of them was before.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};

use netmod_inet::{Event, Id, InetEndpoint, Target};

use super::by_hand::{
    BOOT, Bits, MERGE, MERGED, NONCE, PAIR, PROOF, RECEIVED, Records, SAME, SHARE, Wire, ack,
    control, hello, offer, offered, plain_listener, proof_of_dialer, records_in, secret,
};
use super::line::{Break, Line};
use crate::scripted::{number_of, numbered, prefixed};
use crate::subject::{Node, quick};

/// The router ids of the two, which the thief claims.
const DIALER: u8 = 0xD1;
const LISTENER: u8 = 0x71;

/// A dialer and a listener of ours, and what each calls the other.
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

    /// With another way to the listener's port.
    fn over(way: impl FnOnce(u16) -> String) -> Two {
        let builder =
            |id| InetEndpoint::builder().router_id(Id::from_bytes([id; 32])).limits(quick());
        let mut listener = Node::started(builder(LISTENER).bind("127.0.0.1:0"));
        let mut dialer = Node::started(builder(DIALER));
        let to_listener = dialer.add(&way(listener.port()));
        dialer.up();
        let (to_dialer, _, _) = listener.up();
        Two { dialer, listener, to_listener, to_dialer }
    }

    /// The two go on over the link that they have, as if nothing had happened.
    fn are_untouched(&self, case: &str) {
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

    /// Waits until both have done all that they were told to over the thief's links.
    fn have_heard(&self, thief: &mut Thief) {
        for (wire, id) in [(&mut thief.at_dialer, LISTENER), (&mut thief.at_listener, DIALER)] {
            // What is said is done in order, and a probe is answered last.
            wire.say(&control(id, &Records::from([(10, Vec::new())])));
            wire.heard_record(RECEIVED);
        }
    }
}

/// A node that both ends have a link with, and that has told each that it is the other.
struct Thief {
    at_dialer: Wire,
    at_listener: Wire,
    /// What the ends said in their handshakes with it.
    of_dialer: Records,
    of_listener: Records,
}

impl Thief {
    /// Shakes hands with each on its own.
    fn between(two: &Two) -> Thief {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        two.dialer.add(&listener.local_addr().expect("an address").to_string());
        let mut at_dialer = Wire::over(listener.accept().expect("a dialer").0);
        let of_dialer = offered(&at_dialer.heard());
        let mut at_listener = Wire::to(two.listener.port());
        let said = offer(&of_dialer[&BOOT], [1; 16], [2; 16]);
        at_listener.say(&hello(DIALER, &said));
        let of_listener = offered(&at_listener.heard());
        let own = secret(&said, &of_listener);
        at_listener.say(&control(DIALER, &proof(proof_of_dialer(&own, &said, &of_listener))));
        at_dialer.say(&ack(LISTENER, &offer(&of_listener[&BOOT], [3; 16], [4; 16])));
        at_dialer.heard_record(PROOF);
        Thief { at_dialer, at_listener, of_dialer, of_listener }
    }

    /// Hands on what each end says in the handshake, so that the secret of both links is the same.
    fn relaying(two: &Two) -> Thief {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        two.dialer.add(&listener.local_addr().expect("an address").to_string());
        let mut at_dialer = Wire::over(listener.accept().expect("a dialer").0);
        let mut at_listener = Wire::to(two.listener.port());
        let hello = at_dialer.heard();
        at_listener.say(&hello);
        let ack = at_listener.heard();
        at_dialer.say(&ack);
        at_listener.say(&at_dialer.heard());
        let (of_dialer, of_listener) = (offered(&hello), offered(&ack));
        Thief { at_dialer, at_listener, of_dialer, of_listener }
    }

    /// What each end says about its link with the other, now that it takes the thief for that.
    fn told(&mut self) -> [Vec<u8>; 2] {
        [self.at_dialer.heard_record(SAME), self.at_listener.heard_record(SAME)]
    }
}

/// Passes on what one end says, but not that there is another link.
fn pass_on(from: &Wire, to: &Wire) {
    let [mut from, mut to] = [from, to].map(|wire| Wire(wire.0.try_clone().expect("fd")));
    std::thread::spawn(move || {
        while let Some(mut frame) = from.hear() {
            if frame[2] == 40 {
                let mut records = records_in(&frame[41..]);
                records.remove(&SAME);
                frame = control(frame[3], &records);
            }
            if to.0.write_all(&prefixed(&frame)).is_err() {
                return;
            }
        }
    });
}

fn proof(bits: Bits) -> Records {
    Records::from([(PROOF, bits.to_vec()), (RECEIVED, vec![0; 8])])
}

fn one(kind: u8, value: &[u8]) -> Records {
    Records::from([(kind, value.to_vec())])
}

/// Says that the pair of this name goes, and that none of its frames were received.
fn merge(kind: u8, name: &[u8]) -> Records {
    one(kind, &[name, &[0; 8]].concat())
}

#[test]
fn who_shows_each_end_what_the_other_said_gets_nothing() {
    let two = Two::up();
    let mut thief = Thief::between(&two);
    let [from_dialer, from_listener] = thief.told();
    assert_eq!(from_dialer[..8], from_listener[..8], "both name the pair that they are");
    let name = &from_dialer[..8];
    for shown in [&from_dialer, &from_listener] {
        for records in [one(SAME, shown), merge(MERGE, name), merge(MERGED, name)] {
            thief.at_dialer.say(&control(LISTENER, &records));
            thief.at_listener.say(&control(DIALER, &records));
        }
    }
    two.have_heard(&mut thief);
    two.are_untouched("what each said about the pair, shown to both");
    thief.at_listener.say(&numbered(9, 10));
    let (from, frame) = two.listener.next();
    assert_ne!((from, number_of(frame.as_bytes())), (two.to_dialer, 9), "its own frame is its own");
    two.are_untouched("a frame of the thief");
}

#[test]
fn who_knows_the_name_and_the_run_cannot_resume() {
    let mut two = Two::up();
    let mut thief = Thief::between(&two);
    let [same, _] = thief.told();
    let name = same[..8].to_vec();
    let mut said = offer(&thief.of_dialer[&BOOT], [5; 16], [6; 16]);
    said.insert(PAIR, name);
    // All sixteen bytes that the thief ever saw, and the listener's own proof sent back.
    let mut wire = Wire::to(two.listener.port());
    wire.say(&hello(DIALER, &said));
    let own = offered(&wire.heard())[&PROOF].clone();
    let seen = [&thief.of_dialer, &thief.of_listener]
        .into_iter()
        .flat_map(|records| [BOOT, NONCE, SHARE].map(|kind| records[&kind].clone()));
    for shown in seen.chain([own, same[8..].to_vec(), vec![0; 16]]) {
        let mut wire = Wire::to(two.listener.port());
        let addr = wire.0.local_addr().expect("an address");
        wire.say(&hello(DIALER, &said));
        wire.heard();
        wire.say(&control(DIALER, &proof(shown[..].try_into().expect("sixteen bytes"))));
        let reason = two.listener.wait("dropped event", |event| match event {
            Event::Dropped { addr: Some(from), reason, .. } if *from == addr => {
                Some(reason.to_string())
            }
            _ => None,
        });
        assert!(reason.contains("prove"), "{reason}");
        assert_eq!(wire.hear(), None, "it was told something");
    }
    two.are_untouched("proofs made of what was seen");
}

/// The thief decides in the name of the end that may: that the older link goes.
#[test]
fn who_hands_on_the_handshake_cannot_decide_for_an_end() {
    let two = Two::up();
    let mut thief = Thief::relaying(&two);
    let [from_dialer, from_listener] = thief.told();
    let decision = merge(MERGE, &from_dialer[..8]);
    if thief.of_dialer[&BOOT] > thief.of_listener[&BOOT] {
        thief.at_dialer.say(&control(LISTENER, &one(SAME, &from_listener)));
        thief.at_dialer.say(&control(LISTENER, &decision));
    } else {
        thief.at_listener.say(&control(DIALER, &one(SAME, &from_dialer)));
        thief.at_listener.say(&control(DIALER, &decision));
    }
    two.have_heard(&mut thief);
    two.are_untouched("a decision of the thief");
}

/// Their own link is the younger one then, but what they share is not.
#[test]
fn who_hands_on_everything_is_left_when_their_own_link_is_back() {
    let mut line = None;
    let mut two = Two::over(|port| line.insert(Line::to(port)).address());
    let thief = Thief::relaying(&two);
    pass_on(&thief.at_dialer, &thief.at_listener);
    pass_on(&thief.at_listener, &thief.at_dialer);
    line.expect("a line").cut(Break::Close);
    let ends = [(&mut two.dialer, two.to_listener), (&mut two.listener, two.to_dialer)];
    for (node, own) in ends {
        let stays = node.wait("merged event", |event| match event {
            Event::Merged { target, .. } => Some(*target),
            _ => None,
        });
        assert_eq!(stays, own, "their own link went");
    }
}

/// The address at which a dialer reaches a listener, until somebody else answers there.
struct Place {
    doors: TcpListener,
    leads_to: u16,
}

impl Place {
    /// Lets the next dialer through, all the way. Returns both ends, to cut them.
    fn let_through(&self) -> [TcpStream; 2] {
        let near = self.doors.accept().expect("a dialer").0;
        let far = TcpStream::connect(("127.0.0.1", self.leads_to)).expect("a listener");
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (mut from, mut to) = (from.try_clone().expect("fd"), to.try_clone().expect("fd"));
            std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
        }
        [near, far]
    }

    /// The next dialer, and its Hello.
    fn answer(&self) -> (Wire, Vec<u8>) {
        let mut wire = Wire::over(self.doors.accept().expect("a dialer").0);
        let hello = wire.heard();
        (wire, hello)
    }
}

#[test]
fn who_answers_at_an_old_address_cannot_go_on_in_the_place_of_the_other() {
    let mut listener = plain_listener();
    let doors = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut dialer = Node::started(InetEndpoint::builder().limits(quick()));
    let to_listener = dialer.add(&doors.local_addr().expect("an address").to_string());
    let place = Place { doors, leads_to: listener.port() };
    let first = place.let_through();
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
    let (wire, hello) = place.answer();
    drop(wire);
    let mut asked = Wire::to(listener.port());
    asked.say(&hello);
    let seen = offered(&asked.heard());
    drop(asked);
    let mut shown = vec![seen[&PROOF].clone(), vec![0; 16]];
    shown.extend([NONCE, SHARE].map(|kind| offered(&hello)[&kind].clone()));
    for proof in shown {
        let (mut wire, _) = place.answer();
        let mut said = seen.clone();
        said.insert(PROOF, proof);
        wire.say(&ack(LISTENER, &said));
        assert_eq!(wire.hear(), None, "the dialer told it something");
    }
    dialer.wait("attempt that was not proved", |event| match event {
        Event::Attempt { reason, .. } => reason.to_string().contains("prove").then_some(()),
        _ => None,
    });

    let _again = place.let_through();
    for number in 0..10 {
        let (from, frame) = listener.next();
        assert_eq!((from, number_of(frame.as_bytes())), (to_dialer, number));
        let (from, frame) = dialer.next();
        assert_eq!((from, number_of(frame.as_bytes())), (to_listener, number));
    }
    assert_eq!((dialer.info(to_listener).links, listener.info(to_dialer).links), (2, 2));
}
