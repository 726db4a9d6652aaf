//! Negotiation of encryption, and the frames that carry the Noise handshake.
//!
//! A node that can encrypt announces its [`Capabilities`] as bits in a record of its Hello or Ack.
//! If both nodes did, three frames with the messages of the Noise pattern XX follow: modes 34 from
//! the dialer, 35 from the listener, 36 from the dialer. Each has the router id of its Hello or Ack
//! as the sender, the message as its payload, and nothing else. The prologue is [`PROLOGUE`], then
//! Hello and Ack as they went over the wire, lengths included, so that neither can be tampered
//! with.
//!
//! From then on the stream consists of Noise transport messages, each behind its length: 4 bytes,
//! big-endian, 17 to 65 535. Concatenated, their plaintexts are the stream of frames that a plain
//! link would carry, from the dialer's proof on. The listener always answers the proof with its
//! acknowledgement or with a goodbye, since only then does it know the dialer's key. Each sender
//! rekeys, as specified by Noise, after every 1 024 messages.
//!
//! | bit | the node |
//! |---|---|
//! | 0 | supports `25519_ChaChaPoly_BLAKE2s` |
//! | 1 | supports `25519_AESGCM_BLAKE2s`, with AES instructions |
//! | 7 | has a network secret: the pattern is XXpsk0 |
//!
//! If both nodes have bit 1, they use AES-GCM, else ChaCha20-Poly1305. Bit 7 is set by both or by
//! neither.

use crate::proto::{Frame, FrameError, Id};

/// Modes of the first handshake frame.
const FIRST: u16 = 34;

/// The start of the prologue.
const PROLOGUE: &[u8] = b"netmod-inet noise 1";

const CHACHA: u8 = 1;
const AES: u8 = 2;
const SECRET: u8 = 0x80;

/// The encryption capabilities of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities(u8);

/// The cipher suite of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    ChaChaPoly,
    AesGcm,
}

impl Capabilities {
    pub(crate) fn new(has_aes: bool, has_secret: bool) -> Capabilities {
        let aes = if has_aes { AES } else { 0 };
        let secret = if has_secret { SECRET } else { 0 };
        Capabilities(CHACHA | aes | secret)
    }

    /// The value of the extension record.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// Parses the value of the remote's extension record.
    pub(crate) fn read(bits: u8) -> Capabilities {
        Capabilities(bits)
    }

    pub(crate) fn has_secret(self) -> bool {
        self.0 & SECRET != 0
    }

    /// The best suite that both nodes support, if any.
    pub(crate) fn choose(self, other: Capabilities) -> Option<Suite> {
        match self.0 & other.0 {
            both if both & AES != 0 => Some(Suite::AesGcm),
            both if both & CHACHA != 0 => Some(Suite::ChaChaPoly),
            _ => None,
        }
    }
}

impl Suite {
    /// The name of the Noise protocol.
    pub(crate) fn protocol(self, has_secret: bool) -> &'static str {
        match (self, has_secret) {
            (Suite::ChaChaPoly, false) => "Noise_XX_25519_ChaChaPoly_BLAKE2s",
            (Suite::ChaChaPoly, true) => "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s",
            (Suite::AesGcm, false) => "Noise_XX_25519_AESGCM_BLAKE2s",
            (Suite::AesGcm, true) => "Noise_XXpsk0_25519_AESGCM_BLAKE2s",
        }
    }
}

/// One of the three messages of the Noise handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyExchange {
    First,
    Second,
    Third,
}

impl KeyExchange {
    fn modes(self) -> u16 {
        FIRST + self as u16
    }

    /// Encodes a message as a frame.
    pub(crate) fn encode(self, sender: Id, message: Vec<u8>) -> Result<Frame, FrameError> {
        Frame::builder(self.modes(), sender).payload(message).build()
    }

    /// Returns the message in `frame` if it is the expected one.
    ///
    /// Any other field in the frame makes it invalid, since only the message is authenticated.
    pub(crate) fn decode(self, sender: Id, frame: &Frame) -> Option<&[u8]> {
        let expected = self.encode(sender, frame.payload().to_vec()).ok()?;
        (expected == *frame).then(|| frame.payload())
    }

    /// The prologue, which both ends must agree on. `transcript` is Hello and Ack, each behind its
    /// length.
    pub(crate) fn prologue(transcript: &[u8]) -> Vec<u8> {
        [PROLOGUE, transcript].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_common_suite_is_chosen() {
        let [plain, fast] = [false, true].map(|has_aes| Capabilities::new(has_aes, false));
        assert_eq!(plain.choose(fast), Some(Suite::ChaChaPoly));
        assert_eq!(fast.choose(fast), Some(Suite::AesGcm));
        assert_eq!(fast.choose(Capabilities::read(0x70)), None);
        assert_eq!(fast.choose(Capabilities::read(0xff)), Some(Suite::AesGcm));
        assert!(
            !fast.has_secret()
                && Capabilities::read(Capabilities::new(true, true).bits()).has_secret()
        );
    }

    #[test]
    fn a_message_is_valid_only_at_its_step() {
        let frame = KeyExchange::Second.encode(Id::from_bytes([3; 32]), vec![7; 96]).unwrap();
        assert_eq!((frame.modes(), frame.sender()), (35, Id::from_bytes([3; 32])));
        let sender = frame.sender();
        assert_eq!(KeyExchange::Second.decode(sender, &frame), Some(&[7; 96][..]));
        assert_eq!(KeyExchange::First.decode(sender, &frame), None);
        assert_eq!(KeyExchange::Third.decode(sender, &frame), None);
        assert_eq!(KeyExchange::Second.decode(Id::from_bytes([4; 32]), &frame), None);
    }
}
