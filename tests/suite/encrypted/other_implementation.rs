//! Against another implementation of Noise, with everything else written by hand.

use std::io::{Read, Write};
use std::net::TcpStream;

use netmod_inet::{InetEndpoint, NetworkSecret};
use noise_protocol::patterns::{HandshakePattern, Token, noise_xx};
use noise_protocol::{Cipher, CipherState, DH, HandshakeState, U8Array};
use noise_rust_crypto::{Aes256Gcm, Blake2s, ChaCha20Poly1305, X25519};

use super::{encryption, id, listener, public};
use crate::resume::by_hand::{
    ACK, CREDIT, Extension, NOISE, NONCE, Nonce, PROOF, Wire, ack, control, decode_extension,
    extension_of, hello, new_extension, proof_of_dialer, secret,
};
use crate::scripted::{carrier, number_of, numbered, prefixed};
use crate::subject::{Node, TIMEOUT, quick};

const CHACHA: u8 = 1;
const AES: u8 = 2;
const SECRET: u8 = 0x80;

/// Number of messages after which a sender rekeys.
const REKEY_INTERVAL: u64 = 1024;

/// One end of an encrypted link.
pub(crate) struct NoiseLink<C: Cipher> {
    stream: TcpStream,
    sending: CipherState<C>,
    receiving: CipherState<C>,
    plaintext: Vec<u8>,
    /// The key of the remote.
    pub(crate) remote_key: [u8; 32],
}

impl<C: Cipher> NoiseLink<C> {
    /// Sends bytes as one message.
    pub(crate) fn write(&mut self, plain: &[u8]) {
        self.write_part(plain, usize::MAX);
    }

    /// Sends the first `max` bytes of one message.
    pub(crate) fn write_part(&mut self, plain: &[u8], max: usize) {
        let message = prefixed(&self.sending.encrypt_vec(plain));
        self.stream.write_all(&message[..max.min(message.len())]).expect("an open stream");
        if self.sending.get_next_n() % REKEY_INTERVAL == 0 {
            self.sending.rekey();
        }
    }

    /// Ends the outbound direction only.
    pub(super) fn half_close(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("an open stream");
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.write(&prefixed(frame));
    }

    /// The next frame; `None` at the end.
    pub(super) fn recv(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((length, rest)) = self.plaintext.split_first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                if let Some(frame) = rest.get(..length) {
                    let frame = frame.to_vec();
                    self.plaintext.drain(..4 + length);
                    return Some(frame);
                }
            }
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).ok()?;
            let mut message = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut message).ok()?;
            self.plaintext
                .extend(self.receiving.decrypt_vec(&message).expect("an authentic message"));
            if self.receiving.get_next_n() % REKEY_INTERVAL == 0 {
                self.receiving.rekey();
            }
        }
    }

    /// The next frame for a router.
    pub(super) fn frame(&mut self) -> Vec<u8> {
        loop {
            let frame = self.recv().expect("a frame");
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

/// Exchanges keys as one of the two, over a stream on which Hello and Ack were sent. The bytes of
/// the private key are its router id as well.
pub(crate) fn exchange_keys<C: Cipher>(
    mut wire: Wire,
    private_key: [u8; 32],
    is_dialer: bool,
    psk: Option<[u8; 32]>,
    transcript: &[&[u8]],
) -> NoiseLink<C> {
    let prologue: Vec<u8> = transcript.iter().flat_map(|frame| prefixed(frame)).collect();
    let prologue = [&b"netmod-inet noise 1"[..], &prologue].concat();
    let key = <X25519 as DH>::Key::from_slice(&private_key);
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
                let mut frame = carrier(modes, 0, &message);
                frame[3..35].copy_from_slice(&private_key);
                wire.send(&frame);
            }
            false => {
                let frame = wire.expect_frame();
                assert_eq!(frame[..3], [1, 0, modes as u8]);
                let message = state.read_message_vec(&frame[41..]).expect("an authentic message");
                assert!(message.is_empty());
            }
        }
    }
    assert!(state.completed());
    let (dialers, listeners) = state.get_ciphers();
    let (sending, receiving) = if is_dialer { (dialers, listeners) } else { (listeners, dialers) };
    let remote_key = state.get_rs().expect("a key");
    NoiseLink { stream: wire.0, sending, receiving, plaintext: Vec::new(), remote_key }
}

/// Dials a node, as the node with this number. Returns the extensions of both: its own, and
/// that of the node.
pub(super) fn dial<C: Cipher>(
    port: u16,
    own: u8,
    capabilities: u8,
    psk: Option<[u8; 32]>,
    extra: Extension,
) -> (NoiseLink<C>, [Extension; 2]) {
    let mut wire = Wire::to(port);
    let mut extension = new_extension(&[own; 16], [own; 16], [own; 16]);
    extension.insert(NOISE, vec![capabilities]);
    extension.extend(extra);
    let own_hello = hello(own, &extension);
    wire.send(&own_hello);
    let ack = wire.expect_frame();
    assert_eq!(ack[..3], [1, 0, 33], "it was refused");
    let remote = extension_of(&ack);
    (exchange_keys(wire, [own; 32], true, psk, &[&own_hello, &ack]), [extension, remote])
}

/// The control frame by which a dialer starts a new session.
pub(super) fn dialer_proof(own: u8, [own_extension, remote]: &[Extension; 2]) -> Vec<u8> {
    let proof = proof_of_dialer(&secret(own_extension, remote), own_extension, remote);
    let extension = [(PROOF, proof.to_vec()), (ACK, vec![0; 8]), (CREDIT, vec![0; 8])];
    control(own, &Extension::from(extension))
}

fn dial_and_exchange<C: Cipher>(capabilities: u8, psk: Option<[u8; 32]>) {
    let mut node = match psk {
        Some(psk) => listener(1, encryption(1).network_secret(NetworkSecret::from_bytes(psk))),
        None => listener(1, encryption(1).required()),
    };
    let (mut peer, extensions) = dial::<C>(node.port(), 3, capabilities, psk, Extension::new());
    assert_eq!(peer.remote_key, *public(1).as_bytes());
    peer.send(&dialer_proof(3, &extensions));
    let (target, claimed, _) = node.up();
    assert_eq!((claimed, node.info(target).key), (id(3), Some(public(3))));
    // Many messages with a frame each, so that both rekey; the last in many pieces.
    for number in 0..2_100 {
        peer.send(&numbered(number, 20));
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
fn a_dialer_of_another_implementation_uses_chacha() {
    dial_and_exchange::<ChaCha20Poly1305>(CHACHA, None);
}

#[test]
fn a_dialer_of_another_implementation_uses_a_network_secret() {
    dial_and_exchange::<ChaCha20Poly1305>(CHACHA | SECRET, Some([9; 32]));
}

#[test]
fn a_dialer_of_another_implementation_uses_aes_if_the_processor_has_it() {
    let has_aes = {
        let node = listener(1, encryption(1));
        let mut wire = Wire::to(node.port());
        let mut extension = new_extension(&[3; 16], [3; 16], [3; 16]);
        extension.insert(NOISE, vec![CHACHA | AES]);
        wire.send(&hello(3, &extension));
        wire.recv().is_some_and(|ack| extension_of(&ack)[&NOISE][0] & AES != 0)
    };
    match has_aes {
        true => dial_and_exchange::<Aes256Gcm>(CHACHA | AES, None),
        false => eprintln!("SKIPPED: this processor has no instructions for AES"),
    }
}

#[test]
fn a_listener_of_another_implementation_is_dialed() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let builder = InetEndpoint::builder().router_id(id(2)).encrypt(encryption(2));
    let mut node = Node::started(builder.limits(quick()));
    let port = socket.local_addr().expect("an address").port();
    let target = node.add(&format!("127.0.0.1:{port}?key={}", public(3)));
    let (stream, _) = socket.accept().expect("a dialer");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a deadline");
    let mut wire = Wire::over(stream);
    let hello = wire.expect_frame();
    let mut extension = new_extension(&[3; 16], [4; 16], [5; 16]);
    extension.insert(NOISE, vec![CHACHA]);
    let own_ack = ack(3, &extension);
    wire.send(&own_ack);
    let mut peer: NoiseLink<ChaCha20Poly1305> =
        exchange_keys(wire, [3; 32], false, None, &[&hello, &own_ack]);
    assert_eq!(peer.remote_key, *public(2).as_bytes());
    let proof = peer.recv().expect("a proof");
    let nonces: [Nonce; 2] = [&extension_of(&hello), &extension]
        .map(|extension| extension[&NONCE][..].try_into().expect("sixteen bytes"));
    assert_ne!(nonces[0], nonces[1]);
    assert!(decode_extension(&proof[41..]).contains_key(&PROOF));
    peer.send(&control(3, &Extension::from([(ACK, vec![0; 8]), (CREDIT, vec![0; 8])])));
    node.up();
    assert_eq!(node.info(target).key, Some(public(3)));
    peer.send(&numbered(1, 100));
    node.expect_frames(target, [&numbered(1, 100)]);
    node.try_send(target, &numbered(2, 100));
    assert_eq!(peer.frame(), numbered(2, 100));
}
