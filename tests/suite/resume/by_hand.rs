//! The extension of this crate, encoded and decoded by hand: for attackers, which violate the
//! protocol.
//!
//! Of the crate under test nothing is used here but the node to attack. `src/proto/extension.rs`
//! describes the bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use netmod_inet::InetEndpoint;
use serde_json::Value;
use siphasher::sip128::SipHasher24;

use crate::scripted::{STANDARD, ack_payload, carrier, from_hex, hello_payload, hex, prefixed};
use crate::subject::{Node, TIMEOUT, quick};

pub(crate) const VERSION: u8 = 1;
pub(crate) const INSTANCE_ID: u8 = 2;
pub(crate) const NONCE: u8 = 3;
pub(crate) const KEY_SHARE: u8 = 4;
pub(crate) const SESSION: u8 = 5;
pub(crate) const PROOF: u8 = 6;
pub(crate) const ACK: u8 = 7;
pub(crate) const CLOSE: u8 = 9;
pub(crate) const PING: u8 = 10;
pub(crate) const DUPLICATE: u8 = 12;
pub(crate) const MERGE: u8 = 13;
pub(crate) const MERGE_ACK: u8 = 14;
#[cfg(feature = "noise")]
pub(crate) const NOISE: u8 = 15;
pub(crate) const CREDIT: u8 = 16;

pub(crate) type Nonce = [u8; 16];
pub(crate) type KeyShare = [u8; 16];
pub(crate) type Secret = [u8; 16];
pub(crate) type Mac = [u8; 16];

/// An extension block: the values of its records, by type.
pub(crate) type Extension = BTreeMap<u8, Vec<u8>>;

/// Encodes an extension block.
pub(crate) fn encode_extension<'a>(
    records: impl IntoIterator<Item = (&'a u8, &'a Vec<u8>)>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in records {
        bytes.extend([*kind, u8::try_from(value.len()).expect("a short value")]);
        bytes.extend(value);
    }
    let len = u16::try_from(bytes.len()).expect("a short block");
    [b"nmi\x01", &len.to_be_bytes()[..], &bytes].concat()
}

/// Decodes the extension block at the start of `bytes`.
pub(crate) fn decode_extension(bytes: &[u8]) -> Extension {
    assert_eq!(bytes[..4], *b"nmi\x01", "no extension");
    let len = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
    let (mut rest, mut extension) = (&bytes[6..6 + len], Extension::new());
    while let [kind, len, values @ ..] = rest {
        let (value, next) = values.split_at(usize::from(*len));
        extension.insert(*kind, value.to_vec());
        rest = next;
    }
    extension
}

/// The extension behind the fields of a Standard Hello, or of its Ack.
pub(crate) fn extension_of(frame: &[u8]) -> Extension {
    let fields = if frame[2] == 32 { 50 } else { 48 };
    decode_extension(&frame[41 + fields..])
}

pub(crate) fn hello(id: u8, extension: &Extension) -> Vec<u8> {
    carrier(32, id, &[hello_payload(STANDARD, 0, id), encode_extension(extension)].concat())
}

pub(crate) fn ack(id: u8, extension: &Extension) -> Vec<u8> {
    carrier(33, id, &[ack_payload(STANDARD, id), encode_extension(extension)].concat())
}

pub(crate) fn control(id: u8, extension: &Extension) -> Vec<u8> {
    carrier(40, id, &encode_extension(extension))
}

/// The extension of a node with this instance id.
pub(crate) fn new_extension(instance_id: &[u8], nonce: Nonce, key_share: KeyShare) -> Extension {
    Extension::from([
        (VERSION, vec![1, 1]),
        (INSTANCE_ID, instance_id.to_vec()),
        (NONCE, nonce.to_vec()),
        (KEY_SHARE, key_share.to_vec()),
        (CREDIT, (1u64 << 20).to_be_bytes().to_vec()),
    ])
}

/// The value of a record of 16 bytes.
pub(crate) fn bytes16(extension: &Extension, kind: u8) -> [u8; 16] {
    extension[&kind][..].try_into().expect("sixteen bytes")
}

pub(crate) fn mac(secret: &Secret, parts: &[&[u8]]) -> Mac {
    SipHasher24::new_with_key(secret).hash(&parts.concat()).as_bytes()
}

/// The session secret of dialer and listener.
pub(crate) fn secret(dialer: &Extension, listener: &Extension) -> Secret {
    mac(&bytes16(dialer, KEY_SHARE), &[b"netmod-inet pair secret", &bytes16(listener, KEY_SHARE)])
}

/// The proof of the dialer for a session.
pub(crate) fn proof_of_dialer(secret: &Secret, dialer: &Extension, listener: &Extension) -> Mac {
    let nonces = [bytes16(dialer, NONCE), bytes16(listener, NONCE)];
    mac(secret, &[b"netmod-inet proof of the dialer", &nonces[0], &nonces[1]])
}

/// A listener that encrypts nothing, whatever the environment sets: attackers write plain frames
/// by hand.
pub(crate) fn plain_listener() -> Node {
    Node::started(InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()))
}

/// One end of a stream, frame by frame.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) fn over(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a deadline");
        Wire(stream)
    }

    pub(crate) fn to(port: u16) -> Wire {
        Wire::over(TcpStream::connect(("127.0.0.1", port)).expect("a listener"))
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.0.write_all(&prefixed(frame)).expect("an open stream");
    }

    /// The next frame; `None` at the end.
    pub(crate) fn recv(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// The next frame, which must come.
    pub(crate) fn expect_frame(&mut self) -> Vec<u8> {
        self.recv().expect("a frame")
    }

    /// Waits for a control frame that has a record of this type, and returns the value. Earlier
    /// frames are discarded.
    pub(crate) fn expect_record(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let frame = self.expect_frame();
            if frame[2] == 40 {
                if let Some(value) = decode_extension(&frame[41..]).remove(&kind) {
                    return value;
                }
            }
        }
    }
}

/// The encoder is checked too: otherwise the attacks could fail for another reason than intended.
#[test]
fn the_encoder_of_this_test_agrees_with_the_vectors() {
    let samples: Value = serde_json::from_str(include_str!("../../vectors/records.json"))
        .expect("the samples are JSON");
    let frame = |exchange: usize, at: usize| {
        let message = &samples["exchanges"][exchange]["messages"][at];
        from_hex(message["frame_hex"].as_str().expect("a frame"))
    };
    let own = secret(&extension_of(&frame(0, 0)), &extension_of(&frame(0, 1)));
    assert_eq!(Some(&*hex(&own)), samples["pair"]["secret"].as_str());
    let (dialer, listener) = (extension_of(&frame(1, 0)), extension_of(&frame(1, 1)));
    assert_eq!(hello(0xd1, &dialer), frame(1, 0));
    assert_eq!(ack(0x71, &listener), frame(1, 1));
    let mac = proof_of_dialer(&own, &dialer, &listener).to_vec();
    let (count, credit) =
        (1000u64, samples["exchanges"][1]["messages"][2]["records"]["credit"].as_u64());
    let credit = credit.expect("a number").to_be_bytes().to_vec();
    let proof = [(PROOF, mac), (ACK, count.to_be_bytes().to_vec()), (CREDIT, credit)];
    let proof = Extension::from(proof);
    assert_eq!(control(0xd1, &proof), frame(1, 2));
}
