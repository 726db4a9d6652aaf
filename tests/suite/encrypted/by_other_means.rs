//! Against another implementation of Noise, with everything else written by hand.

use std::io::{Read, Write};
use std::net::TcpStream;

use netmod_inet::{InetEndpoint, NetworkSecret};
use noise_protocol::patterns::{HandshakePattern, Token, noise_xx};
use noise_protocol::{Cipher, CipherState, DH, HandshakeState, U8Array};
use noise_rust_crypto::{Aes256Gcm, Blake2s, ChaCha20Poly1305, X25519};

use super::{encryption, id, listener, public};
use crate::resume::by_hand::{
    Bits, NONCE, PROOF, RECEIVED, Records, Wire, ack, control, hello, offer, offered,
    proof_of_dialer, secret,
};
use crate::scripted::{carrier, number_of, numbered, prefixed};
use crate::subject::{Node, PATIENCE, quick};

const NOISE: u8 = 15;
const CHACHA: u8 = 1;
const AES: u8 = 2;
const SECRET: u8 = 0x80;

/// Messages after which a key is made anew.
const NEW_KEY: u64 = 1024;

/// One end of an encrypted link.
pub(super) struct Sealed<C: Cipher> {
    stream: TcpStream,
    sending: CipherState<C>,
    receiving: CipherState<C>,
    opened: Vec<u8>,
    /// The key that the other side has shown.
    pub(super) other: [u8; 32],
}

impl<C: Cipher> Sealed<C> {
    /// Sends bytes as one message.
    pub(super) fn write(&mut self, plain: &[u8]) {
        let message = self.sending.encrypt_vec(plain);
        self.stream.write_all(&prefixed(&message)).expect("somebody who reads");
        if self.sending.get_next_n() % NEW_KEY == 0 {
            self.sending.rekey();
        }
    }

    /// Ends this side's direction only.
    pub(super) fn half_close(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("an open stream");
    }

    pub(super) fn say(&mut self, frame: &[u8]) {
        self.write(&prefixed(frame));
    }

    /// The next frame; `None` at the end.
    pub(super) fn hear(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((length, rest)) = self.opened.split_first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                if let Some(frame) = rest.get(..length) {
                    let frame = frame.to_vec();
                    self.opened.drain(..4 + length);
                    return Some(frame);
                }
            }
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).ok()?;
            let mut message = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut message).ok()?;
            self.opened.extend(self.receiving.decrypt_vec(&message).expect("an authentic message"));
            if self.receiving.get_next_n() % NEW_KEY == 0 {
                self.receiving.rekey();
            }
        }
    }

    /// The next frame for a router.
    pub(super) fn frame(&mut self) -> Vec<u8> {
        loop {
            let frame = self.hear().expect("a frame");
            if frame[2] != 40 {
                return frame;
            }
        }
    }
}

/// XX with a secret in front, as the modifier psk0 of Noise makes it.
fn xx_psk0() -> HandshakePattern {
    use Token::{E, EE, ES, PSK, S, SE};
    HandshakePattern::new(&[], &[], &[&[PSK, E], &[E, EE, S, ES], &[S, SE]], "XXpsk0")
}

/// Exchanges keys as one of the two, over a stream on which Hello and Ack were said.
pub(super) fn exchange_keys<C: Cipher>(
    mut wire: Wire,
    own: u8,
    is_dialer: bool,
    psk: Option<[u8; 32]>,
    spoken: &[&[u8]],
) -> Sealed<C> {
    let prologue: Vec<u8> = spoken.iter().flat_map(|frame| prefixed(frame)).collect();
    let prologue = [&b"netmod-inet noise 1"[..], &prologue].concat();
    let key = <X25519 as DH>::Key::from_slice(&[own; 32]);
    let pattern = if psk.is_some() { xx_psk0() } else { noise_xx() };
    let mut state: HandshakeState<X25519, C, Blake2s> =
        HandshakeState::new(pattern, is_dialer, prologue, Some(key), None, None, None);
    if let Some(psk) = psk {
        state.push_psk(&psk);
    }
    for (modes, of_dialer) in [(34, true), (35, false), (36, true)] {
        match of_dialer == is_dialer {
            true => {
                let message = state.write_message_vec(&[]).expect("a message");
                wire.say(&carrier(modes, own, &message));
            }
            false => {
                let frame = wire.heard();
                assert_eq!(frame[..3], [1, 0, modes as u8]);
                let message = state.read_message_vec(&frame[41..]).expect("an authentic message");
                assert!(message.is_empty());
            }
        }
    }
    assert!(state.completed());
    let (dialers, listeners) = state.get_ciphers();
    let (sending, receiving) = if is_dialer { (dialers, listeners) } else { (listeners, dialers) };
    let other = state.get_rs().expect("a key");
    Sealed { stream: wire.0, sending, receiving, opened: Vec::new(), other }
}

/// Dials a node, as the node with this number. Returns what was offered: to it, and by it.
pub(super) fn dial<C: Cipher>(
    port: u16,
    own: u8,
    means: u8,
    psk: Option<[u8; 32]>,
    more: Records,
) -> (Sealed<C>, [Records; 2]) {
    let mut wire = Wire::to(port);
    let mut records = offer(&[own; 16], [own; 16], [own; 16]);
    records.insert(NOISE, vec![means]);
    records.extend(more);
    let said = hello(own, &records);
    wire.say(&said);
    let heard = wire.heard();
    assert_eq!(heard[..3], [1, 0, 33], "it was refused");
    let theirs = offered(&heard);
    (exchange_keys(wire, own, true, psk, &[&said, &heard]), [records, theirs])
}

/// What a dialer says to come in as a peer that is new.
pub(super) fn introduction(own: u8, [mine, theirs]: &[Records; 2]) -> Vec<u8> {
    let proof = proof_of_dialer(&secret(mine, theirs), mine, theirs);
    let records = [(PROOF, proof.to_vec()), (RECEIVED, vec![0; 8])];
    control(own, &Records::from(records))
}

fn dials_in<C: Cipher>(means: u8, psk: Option<[u8; 32]>) {
    let mut node = match psk {
        Some(psk) => listener(1, encryption(1).network_secret(NetworkSecret::from_bytes(psk))),
        None => listener(1, encryption(1).required()),
    };
    let (mut peer, offers) = dial::<C>(node.port(), 3, means, psk, Records::new());
    assert_eq!(peer.other, *public(1).as_bytes());
    peer.say(&introduction(3, &offers));
    let (target, claimed, _) = node.up();
    assert_eq!((claimed, node.info(target).key), (id(3), Some(public(3))));
    // Many messages with a frame each, so that keys are made anew; the last in many pieces.
    for number in 0..2_100 {
        peer.say(&numbered(number, 20));
        let (from, frame) = node.next();
        assert_eq!((from, number_of(frame.as_bytes())), (target, number));
        node.try_send(target, &numbered(number, 30));
        assert_eq!(peer.frame(), numbered(number, 30));
    }
    let large = numbered(7, 60_000);
    prefixed(&large).chunks(1_000).for_each(|piece| peer.write(piece));
    node.expect_frames(target, [&large]);
    node.try_send(target, &large);
    assert_eq!(peer.frame(), large);
}

#[test]
fn a_dialer_with_another_implementation_comes_in_over_chacha() {
    dials_in::<ChaCha20Poly1305>(CHACHA, None);
}

#[test]
fn a_dialer_with_another_implementation_comes_in_with_a_network_secret() {
    dials_in::<ChaCha20Poly1305>(CHACHA | SECRET, Some([9; 32]));
}

#[test]
fn a_dialer_with_another_implementation_comes_in_over_aes_where_there_is_such_a_processor() {
    let has_aes = {
        let node = listener(1, encryption(1));
        let mut wire = Wire::to(node.port());
        let mut records = offer(&[3; 16], [3; 16], [3; 16]);
        records.insert(NOISE, vec![CHACHA | AES]);
        wire.say(&hello(3, &records));
        wire.hear().is_some_and(|ack| offered(&ack)[&NOISE][0] & AES != 0)
    };
    match has_aes {
        true => dials_in::<Aes256Gcm>(CHACHA | AES, None),
        false => eprintln!("SKIPPED: this processor has no instructions for AES"),
    }
}

#[test]
fn a_listener_with_another_implementation_is_dialed() {
    let doors = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let builder = InetEndpoint::builder().router_id(id(2)).encrypt(encryption(2));
    let mut node = Node::started(builder.limits(quick()));
    let port = doors.local_addr().expect("an address").port();
    let target = node.add(&format!("127.0.0.1:{port}?key={}", public(3)));
    let (stream, _) = doors.accept().expect("a dialer");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let mut wire = Wire::over(stream);
    let heard = wire.heard();
    let mut records = offer(&[3; 16], [4; 16], [5; 16]);
    records.insert(NOISE, vec![CHACHA]);
    let said = ack(3, &records);
    wire.say(&said);
    let mut peer: Sealed<ChaCha20Poly1305> = exchange_keys(wire, 3, false, None, &[&heard, &said]);
    assert_eq!(peer.other, *public(2).as_bytes());
    let proof = peer.hear().expect("a proof");
    let shown = crate::resume::by_hand::records_in(&proof[41..]);
    let nonces: [Bits; 2] = [&offered(&heard), &records]
        .map(|records| records[&NONCE][..].try_into().expect("sixteen bytes"));
    assert_ne!(nonces[0], nonces[1]);
    assert!(shown.contains_key(&PROOF));
    peer.say(&control(3, &Records::from([(RECEIVED, vec![0; 8])])));
    node.up();
    assert_eq!(node.info(target).key, Some(public(3)));
    peer.say(&numbered(1, 100));
    node.expect_frames(target, [&numbered(1, 100)]);
    node.try_send(target, &numbered(2, 100));
    assert_eq!(peer.frame(), numbered(2, 100));
}
