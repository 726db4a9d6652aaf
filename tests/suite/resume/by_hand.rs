//! The records of this crate, written and read by hand: for attackers, who do not keep to it.
//!
//! Of the crate under test nothing is used here but the node to attack. `src/proto/extension.rs` describes the bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use netmod_inet::InetEndpoint;
use serde_json::Value;
use siphasher::sip128::SipHasher24;

use crate::scripted::{STANDARD, ack_payload, carrier, from_hex, hello_payload, hex, prefixed};
use crate::subject::{Node, PATIENCE, quick};

pub(crate) const VERSION: u8 = 1;
pub(crate) const BOOT: u8 = 2;
pub(crate) const NONCE: u8 = 3;
pub(crate) const SHARE: u8 = 4;
pub(crate) const PAIR: u8 = 5;
pub(crate) const PROOF: u8 = 6;
pub(crate) const RECEIVED: u8 = 7;
pub(crate) const SAME: u8 = 12;
pub(crate) const MERGE: u8 = 13;
pub(crate) const MERGED: u8 = 14;

pub(crate) type Bits = [u8; 16];

/// The records of one block, by their type.
pub(crate) type Records = BTreeMap<u8, Vec<u8>>;

/// A block of records.
pub(crate) fn block<'a>(records: impl IntoIterator<Item = (&'a u8, &'a Vec<u8>)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in records {
        bytes.extend([*kind, u8::try_from(value.len()).expect("a short value")]);
        bytes.extend(value);
    }
    let len = u16::try_from(bytes.len()).expect("a short block");
    [b"nmi\x01", &len.to_be_bytes()[..], &bytes].concat()
}

/// The records of the block that `bytes` begin with.
pub(crate) fn records_in(bytes: &[u8]) -> Records {
    assert_eq!(bytes[..4], *b"nmi\x01", "no records");
    let len = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
    let (mut rest, mut records) = (&bytes[6..6 + len], Records::new());
    while let [kind, len, values @ ..] = rest {
        let (value, next) = values.split_at(usize::from(*len));
        records.insert(*kind, value.to_vec());
        rest = next;
    }
    records
}

/// The records behind the fields of a Standard Hello, or of its Ack.
pub(crate) fn offered(frame: &[u8]) -> Records {
    let fields = if frame[2] == 32 { 50 } else { 48 };
    records_in(&frame[41 + fields..])
}

pub(crate) fn hello(id: u8, records: &Records) -> Vec<u8> {
    carrier(32, id, &[hello_payload(STANDARD, 0, id), block(records)].concat())
}

pub(crate) fn ack(id: u8, records: &Records) -> Vec<u8> {
    carrier(33, id, &[ack_payload(STANDARD, id), block(records)].concat())
}

pub(crate) fn control(id: u8, records: &Records) -> Vec<u8> {
    carrier(40, id, &block(records))
}

/// What a node offers that says it is the run `boot`.
pub(crate) fn offer(boot: &[u8], nonce: Bits, share: Bits) -> Records {
    Records::from([
        (VERSION, vec![1, 1]),
        (BOOT, boot.to_vec()),
        (NONCE, nonce.to_vec()),
        (SHARE, share.to_vec()),
    ])
}

/// What one side contributed: 16 bytes.
pub(crate) fn bits(records: &Records, kind: u8) -> Bits {
    records[&kind][..].try_into().expect("sixteen bytes")
}

pub(crate) fn mac(key: &Bits, parts: &[&[u8]]) -> Bits {
    SipHasher24::new_with_key(key).hash(&parts.concat()).as_bytes()
}

/// The secret of dialer and listener.
pub(crate) fn secret(dialer: &Records, listener: &Records) -> Bits {
    mac(&bits(dialer, SHARE), &[b"netmod-inet pair secret", &bits(listener, SHARE)])
}

/// What the dialer of a pair shows.
pub(crate) fn proof_of_dialer(secret: &Bits, dialer: &Records, listener: &Records) -> Bits {
    let nonces = [bits(dialer, NONCE), bits(listener, NONCE)];
    mac(secret, &[b"netmod-inet proof of the dialer", &nonces[0], &nonces[1]])
}

/// A listener that encrypts nothing, whatever the environment says: who attacks it by hand speaks
/// plain records.
pub(crate) fn plain_listener() -> Node {
    Node::started(InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()))
}

/// One end of a stream, frame by frame.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) fn over(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        Wire(stream)
    }

    pub(crate) fn to(port: u16) -> Wire {
        Wire::over(TcpStream::connect(("127.0.0.1", port)).expect("a listener"))
    }

    pub(crate) fn say(&mut self, frame: &[u8]) {
        self.0.write_all(&prefixed(frame)).expect("somebody who reads");
    }

    /// The next frame; `None` at the end.
    pub(crate) fn hear(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// The next frame, which must come.
    pub(crate) fn heard(&mut self) -> Vec<u8> {
        self.hear().expect("a frame")
    }

    /// The next control frame that has a record of this type; the record. What comes before it is
    /// not looked at.
    pub(crate) fn heard_record(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let frame = self.heard();
            if frame[2] == 40 {
                if let Some(value) = records_in(&frame[41..]).remove(&kind) {
                    return value;
                }
            }
        }
    }
}

/// What attackers write by hand is checked too, or they would fail for another reason than they
/// should.
#[test]
fn the_bytes_written_by_hand_are_those_of_the_samples() {
    let samples: Value = serde_json::from_str(include_str!("../../vectors/records.json"))
        .expect("the samples are JSON");
    let frame = |exchange: usize, at: usize| {
        let message = &samples["exchanges"][exchange]["messages"][at];
        from_hex(message["frame_hex"].as_str().expect("a frame"))
    };
    let own = secret(&offered(&frame(0, 0)), &offered(&frame(0, 1)));
    assert_eq!(Some(&*hex(&own)), samples["pair"]["secret"].as_str());
    let (dialer, listener) = (offered(&frame(1, 0)), offered(&frame(1, 1)));
    assert_eq!(hello(0xd1, &dialer), frame(1, 0));
    assert_eq!(ack(0x71, &listener), frame(1, 1));
    let shown = proof_of_dialer(&own, &dialer, &listener).to_vec();
    let proof = Records::from([(PROOF, shown), (RECEIVED, 1000u64.to_be_bytes().to_vec())]);
    assert_eq!(control(0xd1, &proof), frame(1, 2));
}
