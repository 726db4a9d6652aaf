//! Frames between netmod-inet and libratman: what one writes the other reads, field by field.

use libratman::frame::carrier::{CarrierFrameHeader, CarrierFrameHeaderV1};
use libratman::frame::{FrameGenerator, FrameParser};
use libratman::hex;
use libratman::types::{
    Address, Ident32, InMemoryEnvelope, Recipient as RatmanRecipient, SequenceIdV1,
};
use netmod_inet::{Frame, Id, Recipient, SequenceId};
use netmod_inet_ratman::{to_envelope, to_frame};
use serde_json::Value;

/// No recipient, an address, a namespace; with and without sequence id, auxiliary data, signature.
const SHAPES: usize = 3 * 2 * 2 * 2;
const CASES_PER_SHAPE: usize = 250;

/// The bytes of an optional field, tagless on the wire.
type Block = [u8; 64];

/// All fields of a frame, in the types of neither crate.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fields {
    modes: u16,
    sender: [u8; 32],
    recipient: Option<To>,
    /// Hash, number, number of the last.
    sequence: Option<([u8; 32], u8, u8)>,
    auxiliary: Option<Block>,
    signature: Option<Block>,
    payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Address([u8; 32]),
    Namespace([u8; 32]),
}

impl Fields {
    /// Fields of a shape, out of 24, with random content.
    fn random(shape: usize, payload: usize, random: &mut fastrand::Rng) -> Fields {
        Fields {
            modes: random.u16(..),
            sender: bytes(random),
            recipient: match shape % 3 {
                0 => None,
                1 => Some(To::Address(bytes(random))),
                _ => Some(To::Namespace(bytes(random))),
            },
            sequence: (shape / 3 % 2 == 1).then(|| (bytes(random), random.u8(..), random.u8(..))),
            auxiliary: (shape / 6 % 2 == 1).then(|| block(random)),
            signature: (shape / 12 % 2 == 1).then(|| block(random)),
            payload: std::iter::repeat_with(|| random.u8(..)).take(payload).collect(),
        }
    }
}

fn bytes(random: &mut fastrand::Rng) -> [u8; 32] {
    std::array::from_fn(|_| random.u8(..))
}

/// The first byte is the field's own tag, and must not be 0.
fn block(random: &mut fastrand::Rng) -> Block {
    std::array::from_fn(|at| if at == 0 { random.u8(1..) } else { random.u8(..) })
}

/// What netmod-inet makes of the fields.
fn written_by_us(fields: &Fields) -> Frame {
    let mut builder = Frame::builder(fields.modes, Id::from_bytes(fields.sender));
    if let Some(to) = fields.recipient {
        builder = builder.recipient(match to {
            To::Address(id) => Recipient::Address(Id::from_bytes(id)),
            To::Namespace(id) => Recipient::Namespace(Id::from_bytes(id)),
        });
    }
    if let Some((hash, num, last)) = fields.sequence {
        builder = builder.sequence_id(SequenceId { hash, num, last });
    }
    if let Some(auxiliary) = fields.auxiliary {
        builder = builder.auxiliary_data(auxiliary);
    }
    if let Some(signature) = fields.signature {
        builder = builder.signature(signature);
    }
    builder.payload(fields.payload.clone()).build().expect("fields that fit")
}

/// What libratman makes of the fields.
fn written_by_them(fields: &Fields) -> InMemoryEnvelope {
    let header = CarrierFrameHeader::V1(CarrierFrameHeaderV1::new(
        fields.modes,
        Address::from_bytes(&fields.sender),
        fields.recipient.map(|to| match to {
            To::Address(id) => RatmanRecipient::Address(Address::from_bytes(&id)),
            To::Namespace(id) => RatmanRecipient::Namespace(Address::from_bytes(&id)),
        }),
        fields.sequence.map(|(hash, num, max)| SequenceIdV1 {
            hash: Ident32::from(hash),
            num,
            max,
        }),
        fields.auxiliary,
        fields.signature,
        fields.payload.len().try_into().expect("a payload that fits"),
    ));
    InMemoryEnvelope::from_header_and_payload(header, fields.payload.clone()).expect("an envelope")
}

/// What netmod-inet reads.
fn read_by_us(frame: &Frame) -> Fields {
    Fields {
        modes: frame.modes(),
        sender: *frame.sender().as_bytes(),
        recipient: frame.recipient().map(|to| match to {
            Recipient::Address(id) => To::Address(*id.as_bytes()),
            Recipient::Namespace(id) => To::Namespace(*id.as_bytes()),
        }),
        sequence: frame.sequence_id().map(|id| (id.hash, id.num, id.last)),
        auxiliary: frame.auxiliary_data().copied(),
        signature: frame.signature().copied(),
        payload: frame.payload().to_vec(),
    }
}

/// What libratman reads.
fn read_by_them(envelope: &InMemoryEnvelope) -> Fields {
    let (rest, header) = CarrierFrameHeader::parse(&envelope.buffer).expect("a readable header");
    let header = header.expect("a valid header");
    assert_eq!(header, envelope.header);
    let mut fields = Fields {
        modes: header.get_modes(),
        sender: array(header.get_sender().as_bytes()),
        recipient: header.get_recipient().map(|to| match to {
            RatmanRecipient::Address(id) => To::Address(array(id.as_bytes())),
            RatmanRecipient::Namespace(id) => To::Namespace(array(id.as_bytes())),
        }),
        sequence: header.get_seq_id().map(|id| (array(id.hash.as_bytes()), id.num, id.max)),
        auxiliary: header.get_auxiliary_data(),
        signature: None,
        payload: rest.to_vec(),
    };
    assert_eq!(rest.len(), header.get_payload_length());
    fields.signature = their_signature(header, &fields);
    fields
}

/// The signature of a header that libratman has read. It has no getter, so this is what libratman
/// writes beyond the other fields, in front of the length of the payload.
fn their_signature(header: CarrierFrameHeader, others: &Fields) -> Option<Block> {
    let without = written_by_them(&Fields { payload: Vec::new(), ..others.clone() }).buffer;
    let mut with = Vec::new();
    header.generate(&mut with).expect("a header that can be written");
    match with.len() - without.len() {
        0 => None,
        63 => Some(array(&with[with.len() - 66..with.len() - 2])),
        more => panic!("{more} bytes more than the other fields"),
    }
}

fn array<const N: usize>(bytes: impl AsRef<[u8]>) -> [u8; N] {
    bytes.as_ref().try_into().expect("as many bytes as it should have")
}

/// Both crates write the same bytes, and each reads from the other what was written.
fn check(fields: &Fields) {
    let ours = written_by_us(fields);
    let theirs = written_by_them(fields);
    assert_eq!(ours.as_bytes(), theirs.buffer);
    let as_envelope = to_envelope(ours).expect("an envelope");
    assert_eq!(&read_by_them(&as_envelope), fields);
    assert_eq!(as_envelope, theirs);
    let as_frame = to_frame(theirs).expect("a frame");
    assert_eq!(&read_by_us(&as_frame), fields);
}

/// A fresh seed, or the one in `SEED`. The harness shows it if the test fails.
fn seeded() -> fastrand::Rng {
    let given = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("to see this again: SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn each_reads_what_the_other_wrote_in_every_shape() {
    let mut random = seeded();
    for shape in 0..SHAPES {
        for case in 0..CASES_PER_SHAPE {
            let payload = match case {
                0 => 0,
                1 => Frame::MAX_PAYLOAD,
                _ => random.usize(..600),
            };
            println!("shape {shape} case {case}: {payload} bytes");
            check(&Fields::random(shape, payload, &mut random));
        }
    }
}

#[test]
fn the_shapes_are_all_different() {
    let mut random = seeded();
    let mut shapes: Vec<_> = (0..SHAPES)
        .map(|shape| {
            let fields = Fields::random(shape, 0, &mut random);
            let kind = fields.recipient.map(|to| matches!(to, To::Address(_)));
            let blocks = (fields.auxiliary.is_some(), fields.signature.is_some());
            (kind, fields.sequence.is_some(), blocks)
        })
        .collect();
    shapes.sort();
    shapes.dedup();
    assert_eq!(shapes.len(), SHAPES);
}

/// Readers take any tag but 0 for a sequence id, and the bytes behind a payload are nobody's.
#[test]
fn both_are_lenient_about_the_same_things() {
    let mut random = seeded();
    for case in 0..500 {
        let shape = 3 * (1 + 2 * random.usize(..4)) + random.usize(..3);
        let fields = Fields::random(shape, random.usize(..50), &mut random);
        let mut buffer = written_by_us(&fields).as_bytes().to_vec();
        let tag = if fields.recipient.is_some() { 68 } else { 36 };
        assert_eq!(buffer[tag], 1);
        buffer[tag] = random.u8(1..);
        let len = buffer.len();
        buffer.resize(len + random.usize(..9), 0xAA);
        println!("case {case}: {}", hex::encode(&buffer));
        let frame = Frame::parse(buffer).expect("a frame");
        assert_eq!(frame.len(), len);
        assert_eq!(read_by_us(&frame), fields);
        assert_eq!(read_by_them(&to_envelope(frame).expect("an envelope")), fields);
    }
}

/// libratman panics on some bytes. None of those may be a frame, since an adapter hands it every
/// frame that arrives.
#[test]
fn both_read_any_frame_alike() {
    let mut random = seeded();
    let mut frames = 0;
    for case in 0..20_000 {
        let shape = random.usize(..SHAPES);
        let mut buffer = written_by_us(&Fields::random(shape, random.usize(..20), &mut random))
            .as_bytes()
            .to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..buffer.len());
            // Small values are those that tags and lengths have.
            buffer[at] = if random.bool() { random.u8(..4) } else { random.u8(..) };
        }
        let Ok(frame) = Frame::parse(buffer) else { continue };
        println!("case {case}: {}", hex::encode(frame.as_bytes()));
        frames += 1;
        let envelope = to_envelope(frame.clone()).expect("an envelope");
        assert_eq!(read_by_them(&envelope), read_by_us(&frame));
    }
    assert!(frames > 5_000, "only {frames} were frames");
}

#[test]
fn invalid_frames_are_refused_without_a_panic() {
    let mut random = seeded();
    let whole = written_by_them(&Fields::random(SHAPES - 1, 9, &mut random));
    for len in 0..whole.buffer.len() {
        let buffer = whole.buffer[..len].to_vec();
        assert!(
            to_frame(InMemoryEnvelope { header: whole.header, buffer }).is_err(),
            "{len} bytes"
        );
    }
    let refused = |at: usize, byte: u8| {
        let mut buffer = whole.buffer.clone();
        buffer[at] = byte;
        to_frame(InMemoryEnvelope { header: whole.header, buffer }).unwrap_err().to_string()
    };
    assert!(refused(0, 2).contains("invalid version number 2"));
    assert!(refused(35, 3).contains("unknown recipient tag 3"));
    assert!(refused(232, 10).contains("payload of 10 bytes declared, 9 present"));
}

const VECTORS: &str = include_str!("../../vectors/carrier.json");

#[test]
fn real_samples_are_read_alike_and_written_back() {
    let vectors: Value = serde_json::from_str(VECTORS).expect("JSON");
    let list = |name: &str| vectors[name].as_array().expect("a list").clone();
    let (frames, handshakes) = (list("frames"), list("handshakes"));
    assert!(frames.len() >= 7 && handshakes.len() >= 2);
    for sample in frames {
        let fields = read_alike(&sample);
        assert_eq!(u64::from(fields.modes), sample["modes"].as_u64().unwrap(), "{sample}");
        let payload = fields.payload.len() as u64;
        assert_eq!(payload, sample["payload_len"].as_u64().unwrap(), "{sample}");
        let header = written_by_us(&fields).header_len() as u64;
        assert_eq!(header, sample["header_len"].as_u64().unwrap(), "{sample}");
    }
    let modes: Vec<_> = handshakes.iter().map(|sample| read_alike(sample).modes).collect();
    assert!(modes.iter().all(|modes| [32, 33].contains(modes)), "{modes:?}");
}

/// The fields of a sample, which both crates read, and write back to the same bytes.
fn read_alike(sample: &Value) -> Fields {
    println!("{}", sample["name"]);
    let sample = sample_bytes(sample);
    let frame = Frame::parse(sample.clone()).expect("a frame");
    let fields = read_by_us(&frame);
    let envelope = to_envelope(frame).expect("an envelope");
    assert_eq!(envelope.buffer, sample);
    assert_eq!(read_by_them(&envelope), fields);
    assert_eq!(written_by_us(&fields).as_bytes(), sample);
    assert_eq!(written_by_them(&fields), envelope);
    fields
}

/// A large sample has only its header in the file; byte i of its payload is i mod 251.
fn sample_bytes(sample: &Value) -> Vec<u8> {
    let decode = |field: &str| sample[field].as_str().map(|text| hex::decode(text).expect("hex"));
    decode("frame_hex").unwrap_or_else(|| {
        let mut bytes = decode("header_hex").expect("a header");
        let len = sample["payload_len"].as_u64().expect("the length of the payload");
        bytes.extend((0..len).map(|at| u8::try_from(at % 251).expect("less than 251")));
        bytes
    })
}
