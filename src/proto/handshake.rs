//! Hello and Ack, the handshake messages: section 4 of the wire format of Ratman.

use std::fmt;

use crate::proto::{Frame, Id};

/// Modes of a Hello.
const HELLO: u16 = 32;
/// Modes of an Ack.
const ACK: u16 = 33;

/// The direction of frames on a [`PeerType::Limited`] link, as seen by the local node.
///
/// ```
/// use netmod_inet::{Direction, PeerAddr, PeerType};
///
/// let addr: PeerAddr = "sensor.example:9000?limited=recv".parse()?;
/// assert_eq!(addr.peer_type(), PeerType::Limited(Direction::Receiving));
/// # Ok::<(), netmod_inet::AddressError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The local node sends, and receives nothing.
    Sending,
    /// The local node receives, and sends nothing.
    Receiving,
}

/// The type of a peer, as seen by the local node. Displayed as `standard`, `cross`,
/// `limited-sending` or `limited-receiving`.
///
/// ```
/// use netmod_inet::{Direction, PeerType};
///
/// assert_eq!(PeerType::default(), PeerType::Standard);
/// assert_eq!(PeerType::Limited(Direction::Sending).to_string(), "limited-sending");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PeerType {
    /// Frames flow both ways; only the dialer redials.
    #[default]
    Standard,
    /// Frames flow both ways; each node lists the other, and either restores the link.
    Cross,
    /// Router frames flow in one direction only.
    Limited(Direction),
}

impl PeerType {
    /// The type of the same link as seen by the remote.
    ///
    /// ```
    /// use netmod_inet::{Direction, PeerType};
    ///
    /// let here = PeerType::Limited(Direction::Sending);
    /// assert_eq!(here.mirrored(), PeerType::Limited(Direction::Receiving));
    /// assert_eq!(PeerType::Cross.mirrored(), PeerType::Cross);
    /// ```
    #[must_use]
    pub fn mirrored(self) -> PeerType {
        match self {
            PeerType::Limited(Direction::Sending) => PeerType::Limited(Direction::Receiving),
            PeerType::Limited(Direction::Receiving) => PeerType::Limited(Direction::Sending),
            both_ways => both_ways,
        }
    }

    /// Whether the local node may send router frames.
    ///
    /// ```
    /// use netmod_inet::{Direction, PeerType};
    ///
    /// assert!(PeerType::Standard.may_send());
    /// assert!(!PeerType::Limited(Direction::Receiving).may_send());
    /// ```
    pub fn may_send(self) -> bool {
        self != PeerType::Limited(Direction::Receiving)
    }

    /// Whether the local node may receive router frames.
    ///
    /// ```
    /// use netmod_inet::{Direction, PeerType};
    ///
    /// assert!(PeerType::Cross.may_receive());
    /// assert!(!PeerType::Limited(Direction::Sending).may_receive());
    /// ```
    pub fn may_receive(self) -> bool {
        self != PeerType::Limited(Direction::Sending)
    }

    /// Whether router frames flow in the same directions over a link of the `other` type.
    pub(crate) fn same_direction(self, other: PeerType) -> bool {
        (self.may_send(), self.may_receive()) == (other.may_send(), other.may_receive())
    }
}

impl fmt::Display for PeerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerType::Standard => "standard",
            PeerType::Cross => "cross",
            PeerType::Limited(Direction::Sending) => "limited-sending",
            PeerType::Limited(Direction::Receiving) => "limited-receiving",
        })
    }
}

/// The first message, sent by the dialer. The peer type is as seen by the *dialer*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) id: Id,
    pub(crate) peer_type: PeerType,
    /// Port that the dialer listens on, or 0 if it does not listen.
    pub(crate) port: u16,
}

impl Hello {
    /// Encodes the Hello, with the extension block `extension` behind its fields.
    pub(crate) fn encode(&self, extension: &[u8]) -> Result<Frame, crate::proto::FrameError> {
        let mut payload = Vec::with_capacity(54 + extension.len());
        payload.extend_from_slice(&0u32.to_le_bytes());
        put_peer_type(&mut payload, self.peer_type);
        payload.extend_from_slice(&self.port.to_le_bytes());
        put_id(&mut payload, self.id);
        payload.extend_from_slice(extension);
        Frame::builder(HELLO, self.id).payload(payload).build()
    }

    /// Decodes a Hello. Also returns the bytes behind its fields, which a Ratman node ignores.
    pub(crate) fn decode(frame: &Frame) -> Result<(Hello, &[u8]), HelloError> {
        let mut fields = fields_of(frame, HELLO, 0)?;
        let peer_type = fields.peer_type()?;
        let port = u16::from_le_bytes(fields.take()?);
        Ok((Hello { peer_type, port, id: fields.id()? }, fields.0))
    }
}

/// The reply of the listener. The peer type is an echo: as seen by the *dialer*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) id: Id,
    pub(crate) peer_type: PeerType,
}

impl Ack {
    /// Encodes the Ack, with the extension block `extension` behind its fields.
    pub(crate) fn encode(&self, extension: &[u8]) -> Result<Frame, crate::proto::FrameError> {
        let mut payload = Vec::with_capacity(52 + extension.len());
        payload.extend_from_slice(&1u32.to_le_bytes());
        put_peer_type(&mut payload, self.peer_type);
        put_id(&mut payload, self.id);
        payload.extend_from_slice(extension);
        Frame::builder(ACK, self.id).payload(payload).build()
    }

    /// Decodes an Ack. Also returns the bytes behind its fields, which a Ratman node ignores.
    pub(crate) fn decode(frame: &Frame) -> Result<(Ack, &[u8]), HelloError> {
        let mut fields = fields_of(frame, ACK, 1)?;
        let peer_type = fields.peer_type()?;
        Ok((Ack { peer_type, id: fields.id()? }, fields.0))
    }
}

fn put_peer_type(payload: &mut Vec<u8>, peer_type: PeerType) {
    let (kind, direction) = match peer_type {
        PeerType::Standard => (0u32, None),
        PeerType::Cross => (1, None),
        PeerType::Limited(Direction::Sending) => (2, Some(0u32)),
        PeerType::Limited(Direction::Receiving) => (2, Some(1)),
    };
    payload.extend_from_slice(&kind.to_le_bytes());
    if let Some(direction) = direction {
        payload.extend_from_slice(&direction.to_le_bytes());
    }
}

fn put_id(payload: &mut Vec<u8>, id: Id) {
    payload.extend_from_slice(&32u64.to_le_bytes());
    payload.extend_from_slice(id.as_bytes());
}

/// Returns the fields that follow the variant, after checking the modes and the variant.
fn fields_of(frame: &Frame, modes: u16, variant: u32) -> Result<Fields<'_>, HelloError> {
    if frame.modes() != modes {
        return Err(HelloError::Modes { due: modes, found: frame.modes() });
    }
    let mut fields = Fields(frame.payload());
    match u32::from_le_bytes(fields.take()?) {
        found if found == variant => Ok(fields),
        found => Err(HelloError::Variant { due: variant, found }),
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HelloError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(HelloError::Cut)?;
        self.0 = rest;
        Ok(*field)
    }

    fn peer_type(&mut self) -> Result<PeerType, HelloError> {
        match u32::from_le_bytes(self.take()?) {
            0 => Ok(PeerType::Standard),
            1 => Ok(PeerType::Cross),
            2 => self.direction().map(PeerType::Limited),
            other => Err(HelloError::PeerType(other)),
        }
    }

    fn direction(&mut self) -> Result<Direction, HelloError> {
        match u32::from_le_bytes(self.take()?) {
            0 => Ok(Direction::Sending),
            1 => Ok(Direction::Receiving),
            other => Err(HelloError::Direction(other)),
        }
    }

    fn id(&mut self) -> Result<Id, HelloError> {
        match u64::from_le_bytes(self.take()?) {
            32 => self.take().map(Id::from_bytes),
            other => Err(HelloError::IdLength(other)),
        }
    }
}

/// Why a frame is not the expected Hello or Ack.
///
/// ```
/// use netmod_inet::HelloError;
///
/// println!("{}", HelloError::Modes { due: 32, found: 8 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HelloError {
    /// A frame with other modes: 32 is a Hello, 33 an Ack.
    Modes {
        /// The expected modes.
        due: u16,
        /// The modes of the frame.
        found: u16,
    },
    /// The variant in the payload does not match the modes.
    Variant {
        /// The expected variant.
        due: u32,
        /// The variant in the payload.
        found: u32,
    },
    /// A peer type other than Standard (0), Cross (1) and Limited (2).
    PeerType(u32),
    /// A direction other than Sending (0) and Receiving (1).
    Direction(u32),
    /// An id of this many bytes, not 32.
    IdLength(u64),
    /// The payload ends before its last field.
    Cut,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelloError::Modes { due, found } => {
                let due_name = if *due == HELLO { "a Hello" } else { "an Ack" };
                write!(f, "{due_name} (modes {due}) is due, not a frame of modes {found}")
            }
            HelloError::Variant { due, found } => {
                write!(f, "handshake variant {due} is due, not {found}")
            }
            HelloError::PeerType(other) => write!(f, "unknown peer type {other}"),
            HelloError::Direction(other) => write!(f, "unknown direction {other}"),
            HelloError::IdLength(len) => write!(f, "router id of {len} bytes instead of 32"),
            HelloError::Cut => f.write_str("the handshake payload is cut off"),
        }
    }
}

impl std::error::Error for HelloError {}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [PeerType; 4] = [
        PeerType::Standard,
        PeerType::Cross,
        PeerType::Limited(Direction::Sending),
        PeerType::Limited(Direction::Receiving),
    ];

    #[test]
    fn round_trips() {
        for peer_type in TYPES {
            let id = Id::from_bytes([9; 32]);
            let hello = Hello { id, peer_type, port: 0x1234 };
            let frame = hello.encode(b"more").unwrap();
            assert_eq!(Hello::decode(&frame), Ok((hello, &b"more"[..])));
            let ack = Ack { id, peer_type };
            assert_eq!(Ack::decode(&ack.encode(b"").unwrap()), Ok((ack, &b""[..])));
            assert_eq!(peer_type.mirrored().mirrored(), peer_type);
        }
    }

    #[test]
    fn truncation_is_refused_and_trailing_bytes_are_ignored() {
        let id = Id::from_bytes([9; 32]);
        let whole = Hello { id, peer_type: TYPES[2], port: 1 }.encode(b"").unwrap();
        let with = |payload: &[u8]| {
            let frame = Frame::builder(HELLO, id).payload(payload.to_vec()).build().unwrap();
            Hello::decode(&frame).map(|(_, rest)| rest.len())
        };
        for len in 0..whole.payload().len() {
            assert_eq!(with(&whole.payload()[..len]), Err(HelloError::Cut));
        }
        assert_eq!(with(&[whole.payload(), &[0xAA; 380]].concat()), Ok(380));
    }

    #[test]
    fn errors_name_the_fault() {
        let id = Id::from_bytes([9; 32]);
        let ack = Ack { id, peer_type: PeerType::Standard }.encode(b"").unwrap();
        assert_eq!(Hello::decode(&ack), Err(HelloError::Modes { due: 32, found: 33 }));
        let changed = |at: usize, to: u8| {
            let mut payload = ack.payload().to_vec();
            payload[at] = to;
            Ack::decode(&Frame::builder(ACK, id).payload(payload).build().unwrap()).unwrap_err()
        };
        assert_eq!(changed(0, 0), HelloError::Variant { due: 1, found: 0 });
        assert_eq!(changed(4, 3), HelloError::PeerType(3));
        assert_eq!(changed(8, 31), HelloError::IdLength(31));
    }
}
