//! Encrypted links: who the remote is, and what an attacker on the path can do.
//!
//! That they carry frames, survive cuts and merge as plain ones do is shown by the rest of the
//! suite, run with `NETMOD_INET_ENCRYPTED` in the environment.

mod claims;
mod crowds;
mod downgrade;
mod hostile;
mod identity;
mod links;
pub(crate) mod other_implementation;
#[cfg(feature = "node")]
mod processes;
mod proxy;
mod same_node;
mod secret;
mod tampering;

use netmod_inet::{
    AttemptError, DropReason, Encryption, Event, HandshakeError, Id, InetEndpoint, KeyPair,
    PublicKey, Target,
};

use crate::addresses::own_addr;
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
    let builder = InetEndpoint::builder().router_id(id(number)).bind(own_addr().to_string());
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

/// Waits for the next dropped connection, and returns the reason.
fn dropped(node: &mut Node) -> HandshakeError {
    node.wait("dropped connection", |event| match event {
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
