//! The bad bytes that the other modules send.

use crate::scripted::{ack, ack_payload, carrier, hello, hello_payload, prefixed};

/// Bytes that are no valid message, and a part of the reason that the endpoint must give.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) reason: &'static str,
}

fn case(name: &'static str, bytes: Vec<u8>, reason: &'static str) -> Case {
    Case { name, bytes, reason }
}

/// Which message of the handshake is due.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Due {
    Hello,
    Ack,
}

impl Due {
    fn modes(self) -> u16 {
        if self == Due::Hello { 32 } else { 33 }
    }

    /// The good payload for a peer type, which the cases then spoil.
    fn payload(self, peer_type: &[u8]) -> Vec<u8> {
        match self {
            Due::Hello => hello_payload(peer_type, 0, 6),
            Due::Ack => ack_payload(peer_type, 6),
        }
    }
}

/// A good message with some bytes of its payload replaced.
fn spoilt(due: Due, at: usize, with: &[u8]) -> Vec<u8> {
    let mut payload = due.payload(&[0; 4]);
    payload.splice(at..at + with.len(), with.iter().copied());
    prefixed(&carrier(due.modes(), 6, &payload))
}

/// Everything that is no handshake.
pub(super) fn handshakes(due: Due) -> Vec<Case> {
    let id_length_at = if due == Due::Hello { 10 } else { 8 };
    let payload = due.payload(&[0; 4]);
    let direction = [2, 0, 0, 0, 2, 0, 0, 0];
    let too_long = [payload.clone(), vec![0; 600]].concat();
    let other = if due == Due::Hello { ack(&[0; 4], 6) } else { hello(&[0; 4], 0, 6) };
    let mut version = carrier(due.modes(), 6, &payload);
    version[0] = 2;
    let mut cases = unframed(due.modes());
    cases.extend([
        case("unknown version", prefixed(&version), "version"),
        case("unknown peer type", spoilt(due, 4, &[7]), "peer type"),
        case(
            "unknown direction",
            prefixed(&carrier(due.modes(), 6, &due.payload(&direction))),
            "direction",
        ),
        case("the other message", prefixed(&other), "is due"),
        case("a data frame", prefixed(&carrier(8, 6, &payload)), "is due"),
        case("a later netmod frame", prefixed(&carrier(34, 6, &payload)), "is due"),
        case("the variant of the other", spoilt(due, 0, &[1 - payload[0]]), "is due"),
        case("unknown variant", spoilt(due, 0, &[9]), "is due"),
        case("short id", spoilt(due, id_length_at, &[31]), "router id"),
        case("long id", spoilt(due, id_length_at, &[33]), "router id"),
        case("endless id", spoilt(due, id_length_at, &[0xff; 8]), "router id"),
        case(
            "short payload",
            prefixed(&carrier(due.modes(), 6, &payload[..payload.len() - 1])),
            "cut off",
        ),
        case("no payload", prefixed(&carrier(due.modes(), 6, &[])), "cut off"),
        case(
            "more than handshake_bytes",
            prefixed(&carrier(due.modes(), 6, &too_long)),
            "handshake message",
        ),
    ]);
    cases
}

/// Everything that is no carrier frame: on an open link it means that the stream is out of step.
pub(super) fn unframed(modes: u16) -> Vec<Case> {
    let whole = carrier(modes, 6, &[1; 60]);
    let mut tag = whole.clone();
    tag[35] = 3;
    let mut header = whole[..70].to_vec();
    // An address should follow, which would end at byte 68, and then four more fields.
    header[35] = 1;
    vec![
        case("length 0", behind(0), "length"),
        case("length 1", behind(1), "length"),
        case("length 40", behind(40), "length"),
        case("length 65769", behind(65_769), "length"),
        case("length 2^32-1", behind(u32::MAX), "length"),
        case("unknown recipient tag", prefixed(&tag), "recipient"),
        case("truncated header", prefixed(&header), "header"),
        case("payload longer than the rest", prefixed(&whole[..100]), "payload"),
    ]
}

/// A length and some bytes, though not so many as the larger lengths would need.
fn behind(length: u32) -> Vec<u8> {
    [&length.to_be_bytes()[..], &[1; 64]].concat()
}

/// Seeded random bytes (SplitMix64): the same on every machine for ever.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a small bound");
        usize::try_from(self.next() % bound).expect("a small number")
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Nonsense of three kinds: no length even, a fitting length, a valid message with an error.
    pub(super) fn garbage(&mut self, valid: &[u8]) -> Vec<u8> {
        let count = 41 + self.below(300);
        match self.below(3) {
            0 => self.bytes(count),
            1 => prefixed(&self.bytes(count)),
            _ => {
                let mut bytes = prefixed(valid);
                let at = self.below(bytes.len());
                bytes[at] ^= 1 << self.below(8);
                bytes
            }
        }
    }
}
