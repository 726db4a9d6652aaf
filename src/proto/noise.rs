//! How two nodes agree to encrypt, and the frames in which they exchange keys.
//!
//! A node that can encrypt says so by a record in its Hello or Ack: bits that name its
//! [`Means`]. If both did, three frames with the messages of the Noise pattern XX follow at once:
//! modes 34 from the dialer, 35 from the listener, 36 from the dialer. Each has the router id of its
//! Hello or Ack as the sender, the message as its payload, and nothing else. The prologue is the text below and then Hello and Ack as they went over
//! the wire, lengths included, so that nobody can take anything out of them or put anything in.
//!
//! From then on the stream is a run of Noise messages, each behind its length in 4 bytes,
//! big-endian, 17 to 65 535. What they hold, one after the other, is the stream of frames that a
//! plain link would carry, from the dialer's proof on. The listener always answers that with its
//! count, or with a goodbye, since it knows only then whose key it is. Each side makes its key anew, as Noise says,
//! after every 1 024 messages that it sent.
//!
//! | bit | the node |
//! |---|---|
//! | 0 | speaks `25519_ChaChaPoly_BLAKE2s` |
//! | 1 | speaks `25519_AESGCM_BLAKE2s`, and has instructions for it |
//! | 7 | has a network secret: the pattern is XXpsk0 |
//!
//! If both have bit 1 they use that, else bit 0. Bit 7 is set on both sides or on none.

use crate::proto::{Frame, FrameError, Id};

/// Modes of the first of the three frames.
const FIRST: u16 = 34;

/// What the prologue begins with.
const PROLOGUE: &[u8] = b"netmod-inet noise 1";

const CHACHA: u8 = 1;
const AES: u8 = 2;
const SECRET: u8 = 0x80;

/// What a node can encrypt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities(u8);

/// The cipher of a link.
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

    /// The value of the record.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// What the other side's record says.
    pub(crate) fn read(bits: u8) -> Capabilities {
        Capabilities(bits)
    }

    pub(crate) fn has_secret(self) -> bool {
        self.0 & SECRET != 0
    }

    /// What both can use best, if there is something.
    pub(crate) fn choose(self, other: Capabilities) -> Option<Suite> {
        match self.0 & other.0 {
            both if both & AES != 0 => Some(Suite::AesGcm),
            both if both & CHACHA != 0 => Some(Suite::ChaChaPoly),
            _ => None,
        }
    }
}

impl Suite {
    /// The name of the protocol, as Noise writes it.
    pub(crate) fn protocol(self, has_secret: bool) -> &'static str {
        match (self, has_secret) {
            (Suite::ChaChaPoly, false) => "Noise_XX_25519_ChaChaPoly_BLAKE2s",
            (Suite::ChaChaPoly, true) => "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s",
            (Suite::AesGcm, false) => "Noise_XX_25519_AESGCM_BLAKE2s",
            (Suite::AesGcm, true) => "Noise_XXpsk0_25519_AESGCM_BLAKE2s",
        }
    }
}

/// One of the three messages of an exchange of keys.
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

    /// The frame for a message.
    pub(crate) fn encode(self, sender: Id, message: Vec<u8>) -> Result<Frame, FrameError> {
        Frame::builder(self.modes(), sender).payload(message).build()
    }

    /// The message in a frame, if it is the one that is due, and nothing else is in it: what stands
    /// around a message is not encrypted.
    pub(crate) fn decode(self, sender: Id, frame: &Frame) -> Option<&[u8]> {
        let due = self.encode(sender, frame.payload().to_vec()).ok()?;
        (due == *frame).then(|| frame.payload())
    }

    /// What both sides must have seen alike: `spoken` is Hello and Ack, each behind its length.
    pub(crate) fn prologue(spoken: &[u8]) -> Vec<u8> {
        [PROLOGUE, spoken].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_that_both_have_is_chosen() {
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
    fn a_message_is_read_in_its_own_turn_only() {
        let frame = KeyExchange::Second.encode(Id::from_bytes([3; 32]), vec![7; 96]).unwrap();
        assert_eq!((frame.modes(), frame.sender()), (35, Id::from_bytes([3; 32])));
        let sender = frame.sender();
        assert_eq!(KeyExchange::Second.decode(sender, &frame), Some(&[7; 96][..]));
        assert_eq!(KeyExchange::First.decode(sender, &frame), None);
        assert_eq!(KeyExchange::Third.decode(sender, &frame), None);
        assert_eq!(KeyExchange::Second.decode(Id::from_bytes([4; 32]), &frame), None);
    }
}
