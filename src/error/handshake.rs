use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::Goodbye;
use crate::proto::{FrameError, FramingError, HelloError, Id, PeerType, PublicKey};

/// Why a handshake failed.
///
/// ```
/// use netmod_inet::HandshakeError;
///
/// let error = HandshakeError::TooLong(4_000);
/// assert_eq!(error.to_string(), "handshake message of 4000 bytes");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HandshakeError {
    /// It took longer than `Limits::handshake_timeout`.
    TimedOut,
    /// The other side closed before it was complete.
    Closed,
    /// The connection failed.
    Io(Arc<io::Error>),
    /// The other side sent a message of this many bytes, over `Limits::handshake_bytes`.
    TooLong(usize),
    /// What the other side sent is no carrier frame.
    Framing(FramingError),
    /// What the other side sent is no carrier frame, or one of another version.
    Frame(FrameError),
    /// What the other side sent is not the Hello or the Ack that is due.
    Unexpected(HelloError),
    /// The listener echoed another peer type than it was asked for.
    PeerType {
        /// What this node asked for.
        asked: PeerType,
        /// What the listener echoed.
        echoed: PeerType,
    },
    /// The other side has this node's own router id: it is this node, or a copy of it.
    OwnSelf,
    /// The other side names a pair with this node, and could not prove that it is one of it.
    NotProved,
    /// The other side said why it does not want to.
    Refused(Goodbye),
    /// The other side does not encrypt, or not in a way that this node knows, and this node wants
    /// it to. Or somebody on the way keeps the two from it.
    NotEncrypted,
    /// One side has a network secret and the other has none.
    NetworkSecret {
        /// Whether it is this node that has one.
        here: bool,
    },
    /// The exchange of keys failed: both have another network secret, or somebody changed something
    /// on the way.
    NotAuthentic,
    /// The other side has this key, and others are pinned for its address.
    WrongKey(PublicKey),
    /// The key of the other side is not allowed in.
    KeyNotAllowed(PublicKey),
    /// The router id that the other side claims belongs to another key.
    IdTaken {
        /// The router id.
        id: Id,
        /// The key of the other side; `None` on a plain link.
        key: Option<PublicKey>,
        /// The key of the peer that has the id; `None` if other keys are pinned for it.
        holder: Option<PublicKey>,
    },
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::TimedOut => f.write_str("handshake timed out"),
            HandshakeError::Closed => f.write_str("closed by the other side during the handshake"),
            HandshakeError::Io(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::TooLong(len) => write!(f, "handshake message of {len} bytes"),
            HandshakeError::Framing(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::Frame(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::Unexpected(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::PeerType { asked, echoed } => {
                write!(f, "asked for a {asked} link, the other side answered {echoed}")
            }
            HandshakeError::OwnSelf => {
                f.write_str("own self: the other side has this node's router id")
            }
            HandshakeError::NotProved => {
                f.write_str("the other side could not prove to be whom it said it was")
            }
            HandshakeError::Refused(goodbye) => write!(f, "refused: {goodbye}"),
            HandshakeError::NotEncrypted => {
                f.write_str("the other side does not encrypt, as this node wants it to")
            }
            HandshakeError::NetworkSecret { here: true } => {
                f.write_str("this node has a network secret, and the other side has none")
            }
            HandshakeError::NetworkSecret { here: false } => {
                f.write_str("the other side has a network secret, and this node has none")
            }
            HandshakeError::NotAuthentic => f.write_str(
                "the exchange of keys failed: another network secret, or changed on the way",
            ),
            HandshakeError::WrongKey(key) => {
                write!(f, "the other side has the key {key}, which is not pinned for its address")
            }
            HandshakeError::KeyNotAllowed(key) => write!(f, "the key {key} is not allowed in"),
            HandshakeError::IdTaken { id, key, holder } => {
                write!(f, "router id {id} was claimed by {}", Holder(key))?;
                match holder {
                    Some(holder) => write!(f, ", and belongs to the peer with the key {holder}"),
                    None => f.write_str(", and other keys are pinned for it"),
                }
            }
        }
    }
}

impl std::error::Error for HandshakeError {}

/// Who has a key, or none.
struct Holder<'a>(&'a Option<PublicKey>);

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "a node with the key {key}"),
            None => f.write_str("a node on a plain link"),
        }
    }
}

/// Why an attempt to dial a peer failed.
///
/// ```
/// use netmod_inet::{AttemptError, HandshakeError};
///
/// let error = AttemptError::Handshake(HandshakeError::TimedOut);
/// assert_eq!(error.to_string(), "handshake timed out");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AttemptError {
    /// The name could not be looked up.
    Resolve(Arc<io::Error>),
    /// The name was looked up, and has no address.
    NoAddress,
    /// The connection could not be opened.
    Connect(Arc<io::Error>),
    /// Both sides did not come to terms.
    Handshake(HandshakeError),
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttemptError::Resolve(error) => write!(f, "cannot look up the name: {error}"),
            AttemptError::NoAddress => f.write_str("the name has no address"),
            AttemptError::Connect(error) => write!(f, "cannot connect: {error}"),
            AttemptError::Handshake(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AttemptError {}
