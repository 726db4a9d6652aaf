//! An attacker on the path that modifies or replays bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use netmod_inet::{DropReason, Event, HandshakeError, InetEndpoint};

use super::proxy::{Direction, Proxy, forward};
use super::{dialer, encryption, exchange, id, listener};
use crate::scripted::numbered;
use crate::subject::{Node, quick};

/// Length of the message in which the listener acknowledges the frames that it has.
const LAST: usize = 4 + 4 + 41 + 6 + 10 + 10 + 16;

/// A dialer that does not come back by itself.
fn dialer_once(number: u8) -> Node {
    let mut limits = quick();
    limits.redial_first = Duration::from_secs(86_400);
    limits.redial_cap = limits.redial_first;
    let builder = InetEndpoint::builder().router_id(id(number)).limits(limits);
    Node::started(builder.encrypt(encryption(number).required()))
}

/// How long the handshake is each way, from the Hello to the dialer's first encrypted
/// message.
fn lengths() -> [usize; 2] {
    let mut far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let proxy = Proxy::to(far.port());
    near.add(&format!("127.0.0.1:{}", proxy.port()));
    let seen = forward(proxy.next(), |_, _, _| {});
    near.up();
    far.up();
    // At once, so that nothing but two goodbyes follows.
    drop((near, far));
    let [to_listener, to_dialer] = seen();
    // Hello, two messages and the proof of the dialer; Ack, one message and the word of the
    // listener that it may come in.
    [messages(&to_listener, 4), messages(&to_dialer, 3)]
}

/// The length of the first so many messages.
fn messages(bytes: &[u8], count: usize) -> usize {
    (0..count).fold(0, |at, _| {
        let length = bytes[at..at + 4].try_into().expect("four bytes");
        at + 4 + u32::from_be_bytes(length) as usize
    })
}

#[test]
fn every_flipped_byte_of_a_handshake_ends_it() {
    let [to_listener, to_dialer] = lengths();
    assert!(to_listener > 300 && to_dialer > 200, "{to_listener} and {to_dialer} bytes");
    let cases = (0..to_listener)
        .map(|at| (Direction::ToListener, at))
        .chain((0..to_dialer).map(|at| (Direction::ToDialer, at)));
    let mut limits = quick();
    // A length that grew is waited for.
    limits.handshake_timeout = Duration::from_millis(300);
    limits.drop_events_per_sec = 10_000;
    let builder = InetEndpoint::builder().router_id(id(1)).bind("127.0.0.1:0");
    let mut far = Node::started(builder.encrypt(encryption(1).required()).limits(limits));
    let mut count = 0;
    for (which, flipped) in cases {
        let case = format!("byte {flipped} {which:?}");
        let mut near = dialer_once(2);
        let proxy = Proxy::to(far.port());
        let target = near.add(&format!("127.0.0.1:{}", proxy.port()));
        let _ = forward(proxy.next(), move |direction, before, bytes| {
            let at =
                flipped.checked_sub(before).filter(|at| direction == which && *at < bytes.len());
            if let Some(at) = at {
                bytes[at] ^= 1 << (flipped % 8);
            }
        });
        near.try_send(target, &numbered(1, 50));
        let reason = near.wait("reason", |event| match event {
            Event::Attempt { reason, .. } => Some(reason.to_string()),
            Event::Down { reason, .. } => Some(reason.to_string()),
            _ => None,
        });
        assert!(!reason.is_empty(), "{case}");
        // The listener's last message is the one that lets the dialer in.
        let is_last = which == Direction::ToDialer && flipped >= to_dialer - LAST;
        far.wait("end", |event| match event {
            Event::Up { .. } if !is_last => panic!("{case}: it came in"),
            Event::Dropped { .. } | Event::Down { .. } => Some(()),
            _ => None,
        });
        assert!(matches!(far.endpoint.try_next(), Ok(None)), "{case}: a frame came out of it");
        count += 1;
    }
    println!("{count} bytes of a handshake flipped in turn: each ended it");
}

/// One bit somewhere in a lot of frames, over real sockets.
#[test]
fn a_flipped_bit_ends_the_link_with_a_reason_and_resuming_loses_nothing() {
    let mut far = listener(1, encryption(1));
    // Within what goes out before the remote router takes any.
    for flipped in [5, 1_000, 10_000, 20_000, 40_000] {
        let mut near = dialer(2, encryption(2));
        let proxy = Proxy::to(far.port());
        let target = near.add(&format!("127.0.0.1:{}", proxy.port()));
        let start = 2_000;
        let _ = forward(proxy.next(), move |direction, before, bytes| {
            let at = (start + flipped as usize).checked_sub(before);
            if let Some(at) =
                at.filter(|at| direction == Direction::ToListener && *at < bytes.len())
            {
                bytes[at] ^= 0x10;
            }
        });
        near.up();
        let (to_near, _, _) = far.up();
        let frames: Vec<_> = (0..100).map(|number| numbered(number, 5_000)).collect();
        frames.iter().for_each(|frame| near.try_send(target, frame));
        let (reason, _) = far.down(to_near);
        let text = reason.to_string();
        let is_due = text.contains("not what the remote sent") || text.contains("inside");
        assert!(is_due, "{text}");
        // The next link, over which nobody changes anything, goes on where this one broke off.
        let _ = forward(proxy.next(), |_, _, _| {});
        far.expect_frames(to_near, &frames);
        near.remove(target);
        far.removed(to_near);
    }
}

#[test]
fn a_recorded_handshake_cannot_be_replayed() {
    let mut far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let proxy = Proxy::to(far.port());
    let target = near.add(&format!("127.0.0.1:{}", proxy.port()));
    let seen = forward(proxy.next(), |_, _, _| {});
    near.up();
    let (to_near, _, _) = far.up();
    exchange(&near, target, &far, to_near);
    near.remove(target);
    let [to_listener, _] = seen();
    far.removed(to_near);
    // All of it, to the same listener and in the same run.
    let mut again = TcpStream::connect(("127.0.0.1", far.port())).expect("a listener");
    again.write_all(&to_listener).expect("a socket");
    let reason = far.wait("dropped connection", |event| match event {
        Event::Up { .. } => panic!("it came in"),
        Event::Dropped { reason: DropReason::Handshake(error), .. } => Some(error.clone()),
        _ => None,
    });
    assert!(matches!(reason, HandshakeError::NotAuthentic), "{reason}");
    let _ = again.read_to_end(&mut Vec::new());
    assert!(matches!(far.endpoint.try_next(), Ok(None)), "a frame came out of it");
}
