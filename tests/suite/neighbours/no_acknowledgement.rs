//! Strangers that read everything and acknowledge nothing.

use std::io::Write;
use std::thread::JoinHandle;
use std::time::Duration;

use netmod_inet::{DownReason, Event, InetEndpoint, SendErrorKind, Target};

use crate::resume::by_hand::{
    ACK, CREDIT, Extension, PROOF, Wire, control, decode_extension, extension_of, hello,
    new_extension, proof_of_dialer, secret,
};
use crate::scripted::{number_of, numbered, prefixed};
use crate::subject::{Node, TIMEOUT, parsed, quick, within};

/// The records that such a stranger sends and receives.
const CLOSE: u8 = 9;
const PAUSED: u8 = 11;

/// A goodbye for lack of room.
const BUSY: u8 = 1;

/// Each holds a queue of 1 MiB, together more than the 64 MiB of all queues.
const STRANGERS: u8 = 66;

/// The size of a flooded frame. 70 MiB are flooded in all.
const FLOOD: usize = 32_000;
const FLOODS: u32 = 35;

/// A number that no flood has.
const SENT: u32 = 1 << 20;

/// A stranger that reads to the end. Every second it says that its router holds it up.
struct Stranger {
    /// Returns the reason of the goodbye that it got.
    reading: JoinHandle<Option<u8>>,
}

impl Stranger {
    fn dial(port: u16, number: u8) -> Stranger {
        let mut wire = Wire::to(port);
        let own = new_extension(&[number; 16], [number; 16], [number; 16]);
        wire.send(&hello(number, &own));
        let remote = extension_of(&wire.expect_frame());
        let proof = proof_of_dialer(&secret(&own, &remote), &own, &remote).to_vec();
        wire.send(&control(
            number,
            &Extension::from([(PROOF, proof), (ACK, vec![0; 8]), (CREDIT, vec![0; 8])]),
        ));
        let mut pausing = Wire(wire.0.try_clone().expect("fd"));
        let reading = std::thread::spawn(move || {
            let mut goodbye = None;
            while let Some(frame) = wire.recv() {
                if frame[2] == 40 {
                    let close = decode_extension(&frame[41..]).remove(&CLOSE);
                    goodbye = goodbye.or(close.map(|value| value[0]));
                }
            }
            goodbye
        });
        std::thread::spawn(move || {
            let paused = control(number, &Extension::from([(PAUSED, Vec::new())]));
            while pausing.0.write_all(&prefixed(&paused)).is_ok() {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Stranger { reading }
    }
}

/// A node, a good peer that it dials, and the strangers that dial it.
struct Crowd {
    node: Node,
    good: Target,
    /// Returns the numbers of the frames that were sent to the good peer, and not flooded.
    arrivals: JoinHandle<Vec<u32>>,
    sent: u32,
    strangers: Vec<Stranger>,
}

impl Crowd {
    /// Every stranger comes in, and then as much is flooded as its queue takes.
    fn gathered() -> Crowd {
        let mut limits = quick();
        limits.send_timeout = TIMEOUT;
        let builder = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits);
        let (mut node, neighbour) = (Node::started(builder), Node::listening());
        let good = node.add(&format!("127.0.0.1:{}", neighbour.port()));
        node.up();
        let arrivals = std::thread::spawn(move || {
            let number_of_next = || number_of(neighbour.next().1.as_bytes());
            let sent = std::iter::repeat_with(number_of_next).filter(|number| *number >= SENT);
            sent.take_while(|number| *number < u32::MAX).collect()
        });
        let mut crowd = Crowd { node, good, arrivals, sent: 0, strangers: Vec::new() };
        for number in 1..=STRANGERS {
            crowd.strangers.push(Stranger::dial(crowd.node.port(), number));
            crowd.node.up();
            for flood in 0..FLOODS {
                let report = crowd.node.endpoint.send_all(parsed(&numbered(flood, FLOOD)));
                report.expect("room for the dialed peer");
            }
            crowd.send();
        }
        crowd
    }

    /// Sends a frame to the good peer as soon as its queue is empty.
    fn send(&mut self) {
        let good = self.good;
        self.node.until("empty queue", |endpoint| {
            let mut peers = endpoint.peers().into_iter();
            peers.any(|peer| peer.target == good && peer.queued_frames == 0)
        });
        let refused = self.node.endpoint.try_send(good, parsed(&numbered(SENT + self.sent, 1_000)));
        assert_eq!(refused.map_err(|error| error.reason()), Ok(()), "send {}", self.sent);
        self.sent += 1;
    }

    /// Fails unless all frames to the good peer have arrived.
    fn finish(self) {
        let last = parsed(&numbered(u32::MAX, 10));
        within("room", self.node.endpoint.send(self.good, last)).expect("the last frame");
        let arrived = self.arrivals.join().expect("a neighbour");
        assert_eq!(arrived, (SENT..SENT + self.sent).collect::<Vec<_>>());
        drop(self.node);
        for stranger in self.strangers {
            stranger.reading.join().expect("a reader");
        }
    }
}

#[test]
fn a_dialed_peer_is_never_refused_for_what_strangers_hold() {
    let mut crowd = Crowd::gathered();
    (0..50).for_each(|_| crowd.send());
    crowd.finish();
}

#[test]
fn what_strangers_hold_comes_back_when_dialed_peers_need_it() {
    let mut crowd = Crowd::gathered();
    // The reserve, and more: what waits for nodes that nobody has started yet.
    let frame = numbered(0, FLOOD);
    for number in 0..20 {
        let away = crowd.node.add(&format!("127.0.0.1:{}", 1 + number));
        let refused = loop {
            if let Err(error) = crowd.node.endpoint.try_send(away, parsed(&frame)) {
                break error.reason();
            }
        };
        assert_eq!(refused, SendErrorKind::Full);
        crowd.send();
    }
    let (target, reason) = crowd.node.wait("end of a stranger", |event| match event {
        Event::Down { target, reason: reason @ DownReason::Reclaimed, .. } => {
            Some((*target, reason.clone()))
        }
        _ => None,
    });
    assert!(reason.to_string().contains("total_queue_bytes"), "{reason}");
    let back = crowd.node.endpoint.take_unconfirmed(target);
    assert!(back.len() > 20 && back.iter().all(|frame| frame.len() > FLOOD), "{back:?}");
    let strangers = std::mem::take(&mut crowd.strangers);
    crowd.finish();
    let reasons = strangers.into_iter().filter_map(|one| one.reading.join().expect("a reader"));
    assert!(reasons.collect::<Vec<_>>().contains(&BUSY));
}
