//! Why links end and inbound streams are dropped.

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
/// fn report(event: &Event) {
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
    /// The remote closed the connection between two frames.
    Closed,
    /// The remote closed the connection in the middle of a frame.
    ClosedInsideFrame,
    /// The connection failed.
    Io(Arc<io::Error>),
    /// The received bytes are not a carrier frame: the sender truncated one, or speaks another
    /// protocol.
    Framing(FramingError),
    /// The link is limited to one direction, and a frame arrived against it.
    WrongDirection,
    /// The remote showed no activity for this long, although an answer was outstanding.
    PeerTimeout(Duration),
    /// The remote acknowledged no frame for this long, although it received bytes and acknowledgements
    /// were outstanding. Its router does not take frames, or it violates the protocol.
    NoProgress(Duration),
    /// A frame was incomplete after this long, and arrived at less than 256 bytes per second.
    SlowFrame(Duration),
    /// The remote acknowledged this many frames, which is an impossible count.
    InvalidAck(u64),
    /// The remote sent more than the credit that it was given.
    CreditExceeded,
    /// The remote, a stranger, did not complete a frame within this time, while others waited for
    /// the memory.
    FrameTimeout(Duration),
    /// The remote closed the link with a goodbye that gives the reason.
    Goodbye(Goodbye),
    /// A record of an encrypted link was modified, dropped or replayed in transit.
    Tampered,
    /// The peer's key is no longer allowed; with `None`, plain links are no longer allowed.
    NotAllowed(Option<PublicKey>),
    /// The peer's router id belongs to this key, which is trusted more or claimed it first.
    IdTaken(PublicKey),
    /// A new link to the same peer replaced this one.
    Replaced,
    /// The peer was removed locally.
    Removed,
    /// The memory of the peer's queue was needed for peers that come first: dialed ones, ones whose
    /// key is listed, and strangers that use far less. Its frames came back; see
    /// [`take_unconfirmed`](crate::InetEndpoint::take_unconfirmed).
    Reclaimed,
    /// There are as many unknown peers as the limit allows, and the place of this one, from the
    /// address block that holds most, went to another.
    Evicted,
    /// The local endpoint is shutting down.
    ShuttingDown,
    /// The task that served the link ended without giving a reason. This is a bug; please report
    /// it.
    Failed,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::Closed => f.write_str("closed by the remote"),
            DownReason::ClosedInsideFrame => f.write_str("closed by the remote inside a frame"),
            DownReason::Io(error) => write!(f, "connection lost: {error}"),
            DownReason::Framing(error) => error.fmt(f),
            DownReason::WrongDirection => {
                f.write_str("a frame came the wrong way on a limited link")
            }
            DownReason::PeerTimeout(silence) => {
                write!(f, "no sign of life for {} s", silence.as_secs())
            }
            DownReason::NoProgress(stall) => write!(
                f,
                "no frame acknowledged for {} s: check that the remote's router takes them",
                stall.as_secs()
            ),
            DownReason::SlowFrame(time) => {
                write!(f, "one frame took {} s: the path is too slow, or stuck", time.as_secs())
            }
            DownReason::InvalidAck(count) => {
                write!(f, "the remote acknowledged {count} frames, which is impossible")
            }
            DownReason::CreditExceeded => f.write_str("the remote sent more than its credit"),
            DownReason::FrameTimeout(time) => {
                write!(f, "a frame was not complete after {} s", time.as_secs())
            }
            DownReason::Goodbye(goodbye) => write!(f, "the remote sent goodbye: {goodbye}"),
            DownReason::Tampered => {
                f.write_str("what arrived is not what the remote sent: changed on the way")
            }
            DownReason::NotAllowed(Some(key)) => {
                write!(f, "the key {key} is not allowed in any more")
            }
            DownReason::NotAllowed(None) => f.write_str("plain links are not let in any more"),
            DownReason::IdTaken(key) => write!(f, "its router id belongs to the key {key}"),
            DownReason::Replaced => f.write_str("replaced by a new link"),
            DownReason::Removed => f.write_str("removed"),
            DownReason::Reclaimed => f.write_str(
                "the memory of its queue was needed for peers that come first (limit \
                 total_queue_bytes)",
            ),
            DownReason::Evicted => f.write_str("its place went to another peer"),
            DownReason::ShuttingDown => f.write_str("shutting down"),
            DownReason::Failed => f.write_str("internal failure"),
        }
    }
}

impl std::error::Error for DownReason {}

/// Why an inbound stream was dropped before it became a peer.
///
/// ```
/// use netmod_inet::DropReason;
///
/// assert_eq!(DropReason::NotAllowed.to_string(), "not allowed by the accept policy");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DropReason {
    /// The accept policy does not allow it.
    NotAllowed,
    /// The callback of the accept policy panicked, so it did not allow it.
    CallbackPanicked,
    /// The limit on peers has been reached.
    TooManyPeers,
    /// Too many handshakes were pending, and this was the oldest one.
    Evicted,
    /// Simultaneous open: this node is dialing the same peer, and its own connection wins.
    Duplicate,
    /// The local endpoint is shutting down.
    ShuttingDown,
    /// The handshake failed.
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
            DropReason::CallbackPanicked => f.write_str("the accept callback panicked"),
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
