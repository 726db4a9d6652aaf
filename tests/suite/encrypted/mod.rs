//! Encrypted links: who is at the other end, and what somebody on the way can do.
//!
//! That they carry frames, survive cuts and merge as plain ones do is shown by the rest of the
//! suite, run with `NETMOD_INET_ENCRYPTED` in the environment.

mod between;
mod by_other_means;
mod claims;
mod crowds;
mod downgrade;
mod hostile;
mod identity;
mod links;
#[cfg(feature = "node")]
mod processes;
mod sameness;
mod secret;
mod tampering;

use netmod_inet::{
    AttemptError, DropReason, Encryption, Event, HandshakeError, Id, InetEndpoint, KeyPair,
    PublicKey, Target,
};

use crate::scripted::{number_of, numbered};
use crate::subject::{Node, quick};

/// The key with this number.
fn keys(number: u8) -> KeyPair {
    KeyPair::from_bytes([number; 32])
}

fn public(number: u8) -> PublicKey {
    keys(number).public()
}

fn encryption(number: u8) -> Encryption {
    Encryption::new(keys(number))
}

/// A router id that is made of one byte.
fn id(byte: u8) -> Id {
    Id::from_bytes([byte; 32])
}

/// A node that listens; its router id has the number of its key.
fn listener(number: u8, encryption: Encryption) -> Node {
    let builder = InetEndpoint::builder().router_id(id(number)).bind("127.0.0.1:0");
    Node::started(builder.encrypt(encryption).limits(quick()))
}

/// A node that only dials.
fn dialer(number: u8, encryption: Encryption) -> Node {
    let builder = InetEndpoint::builder().router_id(id(number));
    Node::started(builder.encrypt(encryption).limits(quick()))
}

/// The address of a node, with the keys that are pinned for it.
fn at(node: &Node, keys: &[u8]) -> String {
    let pins: Vec<String> = keys.iter().map(|key| format!("key={}", public(*key))).collect();
    let options = if pins.is_empty() { String::new() } else { format!("?{}", pins.join("&")) };
    format!("127.0.0.1:{}{options}", node.port())
}

/// Why the next stranger was dropped, as the owner reads it.
fn dropped(node: &mut Node) -> HandshakeError {
    node.wait("dropped stranger", |event| match event {
        Event::Dropped { reason: DropReason::Handshake(error), .. } => Some(error.clone()),
        _ => None,
    })
}

/// Why the next handshake with this peer failed.
fn refused(node: &mut Node, target: Target) -> HandshakeError {
    match node.attempt(target) {
        AttemptError::Handshake(error) => error,
        other => panic!("{other}"),
    }
}

/// Some frames each way.
fn exchange(one: &Node, to_other: Target, other: &Node, to_one: Target) {
    for number in 0..20 {
        let frame = numbered(number, 700 * number as usize);
        one.try_send(to_other, &frame);
        let (from, got) = other.next();
        assert_eq!((from, number_of(got.as_bytes())), (to_one, number));
        other.try_send(to_one, &frame);
        assert_eq!(one.next().1.as_bytes(), frame);
    }
}
