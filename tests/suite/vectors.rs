//! Real samples of a current Ratman node: each decodes to its fields and encodes to the same bytes.

use netmod_inet::{Frame, Id, InetEndpoint, Recipient, SequenceId};
use serde_json::Value;

use crate::scripted::{
    PlainListener, PlainPeer, STANDARD, ack, as_a_ratman_node_reads, from_hex, hello, hex, prefixed,
};
use crate::subject::Node;

const SAMPLES: &str = include_str!("../vectors/carrier.json");

/// The optional fields of a sample, by its name; the file has them only in words.
struct Fields {
    sender: u8,
    recipient: Option<Recipient>,
    sequence_id: Option<SequenceId>,
    auxiliary_data: Option<[u8; 64]>,
    signature: Option<[u8; 64]>,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            sender: 0x11,
            recipient: None,
            sequence_id: None,
            auxiliary_data: None,
            signature: None,
        }
    }
}

fn fields_of(name: &str) -> Fields {
    let id = |byte| Id::from_bytes([byte; 32]);
    let sequence = |num, last| Some(SequenceId { hash: [0x44; 32], num, last });
    match name {
        "data, no optional field" | "largest payload" => Fields::default(),
        "data to an address" => {
            Fields { recipient: Some(Recipient::Address(id(0x22))), ..Fields::default() }
        }
        "data to a namespace with sequence id" => Fields {
            recipient: Some(Recipient::Namespace(id(0x33))),
            sequence_id: sequence(2, 6),
            ..Fields::default()
        },
        "manifest with sequence id and signature" => Fields {
            recipient: Some(Recipient::Address(id(0x22))),
            sequence_id: sequence(0, 0),
            signature: Some([0x55; 64]),
            ..Fields::default()
        },
        "anycast reply with auxiliary data" => Fields {
            recipient: Some(Recipient::Address(id(0x22))),
            auxiliary_data: Some([0x66; 64]),
            ..Fields::default()
        },
        "announce" => Fields {
            sender: 0x77,
            sequence_id: Some(SequenceId { hash: [0x88; 32], num: 0, last: 0 }),
            ..Fields::default()
        },
        other => panic!("a sample that this test does not know: {other}"),
    }
}

fn samples(kind: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(SAMPLES).expect("the samples are JSON");
    let list = file[kind].as_array().expect("a list of samples").clone();
    assert!(!list.is_empty());
    list
}

fn text<'a>(sample: &'a Value, field: &str) -> &'a str {
    sample[field].as_str().unwrap_or_else(|| panic!("{field} in {sample}"))
}

fn number(sample: &Value, field: &str) -> usize {
    let number = sample[field].as_u64().unwrap_or_else(|| panic!("{field} in {sample}"));
    usize::try_from(number).expect("a small number")
}

/// Byte i of every payload is i mod 251.
fn payload_of(sample: &Value) -> Vec<u8> {
    (0..=250u8).cycle().take(number(sample, "payload_len")).collect()
}

/// All bytes of a sample; of the largest one the file has the header only.
fn bytes_of(sample: &Value) -> Vec<u8> {
    match sample["frame_hex"].as_str() {
        Some(whole) => from_hex(whole),
        None => [from_hex(text(sample, "header_hex")), payload_of(sample)].concat(),
    }
}

#[test]
fn every_sample_decodes_to_its_fields() {
    for sample in samples("frames") {
        let name = text(&sample, "name");
        let fields = fields_of(name);
        let bytes = bytes_of(&sample);
        let frame = Frame::parse(bytes.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(usize::from(frame.modes()), number(&sample, "modes"), "{name}");
        assert_eq!(frame.header_len(), number(&sample, "header_len"), "{name}");
        assert_eq!(frame.sender(), Id::from_bytes([fields.sender; 32]), "{name}");
        assert_eq!(frame.recipient(), fields.recipient, "{name}");
        assert_eq!(frame.sequence_id(), fields.sequence_id, "{name}");
        assert_eq!(frame.auxiliary_data(), fields.auxiliary_data.as_ref(), "{name}");
        assert_eq!(frame.signature(), fields.signature.as_ref(), "{name}");
        assert!(frame.payload() == payload_of(&sample), "{name}: payload");
        assert!(frame.as_bytes() == bytes, "{name}: bytes");
        assert_eq!(frame.len(), bytes.len(), "{name}");
    }
}

#[test]
fn every_sample_is_built_to_the_same_bytes() {
    for sample in samples("frames") {
        let name = text(&sample, "name");
        let fields = fields_of(name);
        let modes = u16::try_from(number(&sample, "modes")).expect("modes have two bytes");
        let mut builder = Frame::builder(modes, Id::from_bytes([fields.sender; 32]));
        if let Some(recipient) = fields.recipient {
            builder = builder.recipient(recipient);
        }
        if let Some(sequence_id) = fields.sequence_id {
            builder = builder.sequence_id(sequence_id);
        }
        if let Some(data) = fields.auxiliary_data {
            builder = builder.auxiliary_data(data);
        }
        if let Some(signature) = fields.signature {
            builder = builder.signature(signature);
        }
        let built = builder.payload(payload_of(&sample)).build();
        let built = built.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(built.as_bytes() == bytes_of(&sample), "{name}: {built:?}");
    }
}

fn handshake(name: &str) -> Vec<u8> {
    let list = samples("handshakes");
    let sample = list.iter().find(|sample| text(sample, "name").starts_with(name));
    bytes_of(sample.unwrap_or_else(|| panic!("no sample of {name}")))
}

/// The scripted peer is checked too, or the other tests would measure with a wrong rule.
#[test]
fn the_scripted_handshake_is_that_of_the_samples() {
    assert_eq!(samples("handshakes").len(), 2, "a sample that this test does not know");
    assert_eq!(hex(&hello(STANDARD, 0, 2)), hex(&handshake("Hello")));
    assert_eq!(hex(&ack(STANDARD, 1)), hex(&handshake("Ack")));
}

#[test]
fn a_dialing_endpoint_sends_the_sampled_hello() {
    let builder = InetEndpoint::builder().router_id(Id::from_bytes([2; 32]));
    let mut node = Node::built(builder);
    let listener = PlainListener::bind();
    let target = node.add(&listener.addr(""));
    let mut peer = listener.accept();
    let due = handshake("Hello");
    assert_eq!(hex(&as_a_ratman_node_reads(&peer.read_frame(), due.len())), hex(&due));
    peer.write(&prefixed(&handshake("Ack")));
    let (up, id, _) = node.up();
    assert_eq!((up, id), (target, Id::from_bytes([1; 32])));
}

#[test]
fn an_accepting_endpoint_answers_with_the_sampled_ack() {
    let builder = InetEndpoint::builder().router_id(Id::from_bytes([1; 32])).bind("127.0.0.1:0");
    let mut node = Node::built(builder);
    let mut peer = PlainPeer::connect(node.port());
    peer.write(&prefixed(&handshake("Hello")));
    assert_eq!(hex(&peer.read_frame()), hex(&handshake("Ack")));
    let (_, id, _) = node.up();
    assert_eq!(id, Id::from_bytes([2; 32]));
}
