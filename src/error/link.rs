use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Goodbye, HandshakeError};
use crate::proto::{FramingError, PublicKey};

/// Why a link ended.
///
/// ```
/// use netmod_inet::{DownReason, Event};
///
/// fn tell(event: &Event) {
///     match event {
///         Event::Down { reason: DownReason::Goodbye(goodbye), .. } => println!("bye: {goodbye}"),
///         Event::Down { reason, .. } => println!("lost: {reason}"),
///         _ => {}
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DownReason {
    /// The other side closed, between two frames.
    Closed,
    /// The other side closed inside a frame.
    ClosedInsideFrame,
    /// The connection failed.
    Io(Arc<io::Error>),
    /// What arrived is no carrier frame: the sender tore one, or speaks something else.
    Framing(FramingError),
    /// The link is limited, and a frame came the wrong way.
    WrongDirection,
    /// The other side gave no sign of life for so long, though it owed one.
    PeerTimeout(Duration),
    /// The other side told that it received a number of frames which it cannot have.
    InvalidAck(u64),
    /// The other side said goodbye, and why.
    Goodbye(Goodbye),
    /// On an encrypted link arrived what the other side did not send: it was changed, left out or
    /// repeated on the way.
    Tampered,
    /// The key of the peer, or with `None` a plain link, is not allowed in any more.
    NotAllowed(Option<PublicKey>),
    /// The router id of the peer belongs to this key, which is trusted more or came first.
    IdTaken(PublicKey),
    /// The same peer has a new link.
    Replaced,
    /// This node removed the peer.
    Removed,
    /// This node shuts down.
    ShuttingDown,
    /// The task that served the link stopped without a word: a bug, please report it.
    Failed,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::Closed => f.write_str("closed by the other side"),
            DownReason::ClosedInsideFrame => f.write_str("closed by the other side inside a frame"),
            DownReason::Io(error) => write!(f, "connection lost: {error}"),
            DownReason::Framing(error) => error.fmt(f),
            DownReason::WrongDirection => {
                f.write_str("a frame came the wrong way on a limited link")
            }
            DownReason::PeerTimeout(silence) => {
                write!(f, "no sign of life for {} s", silence.as_secs())
            }
            DownReason::InvalidAck(count) => {
                write!(f, "the other side told an impossible count of frames, {count}")
            }
            DownReason::Goodbye(goodbye) => write!(f, "the other side said goodbye: {goodbye}"),
            DownReason::Tampered => {
                f.write_str("what arrived is not what the other side sent: changed on the way")
            }
            DownReason::NotAllowed(Some(key)) => {
                write!(f, "the key {key} is not allowed in any more")
            }
            DownReason::NotAllowed(None) => f.write_str("plain links are not let in any more"),
            DownReason::IdTaken(key) => write!(f, "its router id belongs to the key {key}"),
            DownReason::Replaced => f.write_str("replaced by a new link"),
            DownReason::Removed => f.write_str("removed"),
            DownReason::ShuttingDown => f.write_str("shutting down"),
            DownReason::Failed => f.write_str("internal failure"),
        }
    }
}

impl std::error::Error for DownReason {}

/// Why the stream of a stranger was dropped before it became a peer.
///
/// ```
/// use netmod_inet::DropReason;
///
/// assert_eq!(DropReason::NotAllowed.to_string(), "not allowed by the accept policy");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DropReason {
    /// The accept policy does not let it in.
    NotAllowed,
    /// There are as many peers as the limit allows.
    TooManyPeers,
    /// Too many handshakes were pending, and this was the oldest.
    Evicted,
    /// This node dials the same peer itself just now, and its link goes first.
    Duplicate,
    /// This node shuts down.
    ShuttingDown,
    /// Both sides did not come to terms.
    Handshake(HandshakeError),
}

impl From<HandshakeError> for DropReason {
    fn from(error: HandshakeError) -> DropReason {
        DropReason::Handshake(error)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DropReason::NotAllowed => f.write_str("not allowed by the accept policy"),
            DropReason::TooManyPeers => f.write_str("there are as many peers as the limit allows"),
            DropReason::Evicted => {
                f.write_str("too many handshakes were pending, and this was the oldest")
            }
            DropReason::Duplicate => f.write_str("this node dials the same peer just now"),
            DropReason::ShuttingDown => f.write_str("shutting down"),
            DropReason::Handshake(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DropReason {}
