//! Streams: how one is cut into frames, and what has arrived of one.

use libratman::frame::carrier::{CarrierFrameHeader, CarrierFrameHeaderV1};
use libratman::types::{Address, Ident32, InMemoryEnvelope, Recipient, SequenceIdV1};

/// The modes of an announcement.
pub(crate) const ANNOUNCEMENT: u16 = 4;
/// The modes of a data block.
pub(crate) const DATA: u16 = 8;

/// The largest frame of a stream.
const MAX_FRAME: usize = 1_300;
/// A header with a recipient and a sequence id.
const HEADER: usize = 107;
/// What precedes the bytes of the stream in each payload: the number of the stream, of the frame,
/// and of all its frames.
const PREFIX: usize = 12;
/// The most bytes of the stream in one frame.
const CHUNK: u64 = (MAX_FRAME - HEADER - PREFIX) as u64;

/// Bytes after which the content of streams repeats.
const PERIOD: usize = 251;

/// The content of a whole frame, wherever in the period it begins.
static CONTENT: [u8; PERIOD + CHUNK as usize] = {
    let mut content = [0; PERIOD + CHUNK as usize];
    let mut at = 0;
    while at < content.len() {
        content[at] = (at % PERIOD) as u8;
        at += 1;
    }
    content
};

/// Number of frames of a stream of `bytes` bytes.
pub(crate) fn frames(bytes: u64) -> u32 {
    bytes.div_ceil(CHUNK).max(1).try_into().expect("a stream of less than 5 TB")
}

/// Frame `number` of a stream of `bytes` bytes.
pub(crate) fn frame(
    from: Ident32,
    to: Ident32,
    stream: u32,
    number: u32,
    bytes: u64,
) -> InMemoryEnvelope {
    let frames = frames(bytes);
    let len = CHUNK.min(bytes - u64::from(number) * CHUNK).try_into().expect("a chunk");
    let mut payload: Vec<u8> =
        [stream, number, frames].iter().flat_map(|field| field.to_be_bytes()).collect();
    payload.extend(content(stream, number, len));
    let sequence = SequenceIdV1 {
        hash: Ident32::from([stream.to_be_bytes()[3]; 32]),
        num: number.to_be_bytes()[3],
        max: u8::MAX,
    };
    let envelope = envelope(Fields {
        recipient: Some(Recipient::Address(Address(to))),
        sequence: Some(sequence),
        ..Fields::new(DATA, from, payload)
    });
    assert!(envelope.buffer.len() <= MAX_FRAME, "{}", envelope.buffer.len());
    envelope
}

/// An announcement of the router `from`.
pub(crate) fn announcement(from: Ident32, number: u64) -> InMemoryEnvelope {
    let payload = number.to_be_bytes().to_vec();
    envelope(Fields { hops: Some(1), ..Fields::new(ANNOUNCEMENT, from, payload) })
}

/// An announcement as a router on the way passes it on: with another count of hops.
pub(crate) fn passed_on(announcement: &InMemoryEnvelope) -> InMemoryEnvelope {
    let header = &announcement.header;
    let hops = header.get_auxiliary_data().map(|data| data[0].saturating_add(1));
    let payload = payload(announcement).to_vec();
    envelope(Fields { hops, ..Fields::new(ANNOUNCEMENT, header.get_sender().0, payload) })
}

/// The number of an announcement.
pub(crate) fn announcement_number(envelope: &InMemoryEnvelope) -> u64 {
    u64::from_be_bytes(payload(envelope).try_into().expect("an announcement"))
}

/// A frame without content, of these modes.
pub(crate) fn empty(modes: u16, from: Ident32) -> InMemoryEnvelope {
    envelope(Fields::new(modes, from, Vec::new()))
}

/// The fields of a frame that the model uses.
struct Fields {
    modes: u16,
    from: Ident32,
    recipient: Option<Recipient>,
    sequence: Option<SequenceIdV1>,
    /// In the first byte of the auxiliary data.
    hops: Option<u8>,
    payload: Vec<u8>,
}

impl Fields {
    fn new(modes: u16, from: Ident32, payload: Vec<u8>) -> Fields {
        Fields { modes, from, recipient: None, sequence: None, hops: None, payload }
    }
}

/// An envelope that libratman makes.
fn envelope(fields: Fields) -> InMemoryEnvelope {
    let Fields { modes, from, recipient, sequence, hops, payload } = fields;
    let len = payload.len().try_into().expect("a payload that fits");
    let data = hops.map(|hops| [hops; 64]);
    let sender = Address(from);
    let header = CarrierFrameHeaderV1::new(modes, sender, recipient, sequence, data, None, len);
    let header = CarrierFrameHeader::V1(header);
    InMemoryEnvelope::from_header_and_payload(header, payload).expect("an envelope")
}

fn payload(envelope: &InMemoryEnvelope) -> &[u8] {
    let header = envelope.buffer.len() - envelope.header.get_payload_length();
    &envelope.buffer[header..]
}

/// The bytes of a stream that frame `number` carries.
fn content(stream: u32, number: u32, len: usize) -> &'static [u8] {
    let start = (stream as usize + number as usize) % PERIOD;
    &CONTENT[start..start + len]
}

/// What has arrived of one stream.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    arrived: Vec<bool>,
    pub(crate) frames: u32,
    pub(crate) duplicates: u32,
    /// Frames that arrived after a later one did, the first time each.
    pub(crate) reordered: u32,
    /// The number behind the highest that has arrived.
    next: u32,
}

/// A frame of a stream, as far as it names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) stream: u32,
    number: u32,
    frames: u32,
}

impl Position {
    /// Which frame of which stream an envelope carries. `None` if its content is not what was sent.
    pub(crate) fn of(envelope: &InMemoryEnvelope) -> Option<Position> {
        let (prefix, bytes) = payload(envelope).split_at(PREFIX);
        let field = |at: usize| u32::from_be_bytes(prefix[4 * at..4 * at + 4].try_into().unwrap());
        let position = Position { stream: field(0), number: field(1), frames: field(2) };
        let expected = content(position.stream, position.number, bytes.len());
        (bytes == expected).then_some(position)
    }
}

impl Inbound {
    /// Notes the arrival of a frame. Returns whether it is the one that completes the stream.
    pub(crate) fn record(&mut self, position: Position) -> bool {
        let Position { number, frames, .. } = position;
        self.arrived.resize(frames as usize, false);
        if std::mem::replace(&mut self.arrived[number as usize], true) {
            self.duplicates += 1;
            return false;
        }
        self.frames += 1;
        if number < self.next {
            self.reordered += 1;
        }
        self.next = self.next.max(number + 1);
        self.frames == frames
    }
}

#[test]
fn the_frames_of_a_stream_complete_it_in_any_order_and_any_number() {
    let [from, to] = [[1; 32], [2; 32]].map(Ident32::from);
    let bytes = 3 * CHUNK + 5;
    assert_eq!([0, 1, CHUNK, CHUNK + 1, bytes].map(frames), [1, 1, 1, 2, 4]);
    let mut inbound = Inbound::default();
    let mut record = |number| {
        let position = Position::of(&frame(from, to, 7, number, bytes));
        inbound.record(position.expect("its content"))
    };
    assert_eq!([0, 3, 3, 1, 0, 2].map(&mut record), [false, false, false, false, false, true]);
    assert_eq!((inbound.frames, inbound.duplicates, inbound.reordered), (4, 2, 2));
}
