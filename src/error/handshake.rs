//! Errors of handshakes and of dials.

use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;

use crate::error::Goodbye;
use crate::primitives::hidden::EscapeHidden;
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
    /// The handshake took longer than `Limits::handshake_timeout`.
    TimedOut,
    /// The remote closed the connection before the handshake was complete.
    Closed,
    /// The connection failed.
    Io(Arc<io::Error>),
    /// The remote sent a message of this many bytes, more than `Limits::handshake_bytes`.
    TooLong(usize),
    /// The remote sent bytes that are not a carrier frame.
    Framing(FramingError),
    /// The remote sent a malformed carrier frame, or one of another version.
    Frame(FrameError),
    /// The remote sent something other than the Hello or Ack that was expected.
    Unexpected(HelloError),
    /// The listener echoed a peer type other than the requested one.
    PeerType {
        /// The peer type that this node, the dialer, requested.
        asked: PeerType,
        /// The peer type that the listener echoed.
        echoed: PeerType,
    },
    /// The remote claims this node's own router id: it is this node, or a copy of it.
    OwnSelf,
    /// The remote named an existing session with this node, and failed to prove that it is part of
    /// it.
    NotProved,
    /// The remote refused the link, and gave a reason.
    Refused(Goodbye),
    /// This node requires encryption, and the remote does not support it, or none of the ways that
    /// this node knows. An attacker on the path who strips the negotiation causes the same error.
    NotEncrypted,
    /// Only one of the two nodes has a network secret.
    NetworkSecret {
        /// Whether the local node is the one that has a secret.
        here: bool,
    },
    /// The key exchange failed: the network secrets differ, or the handshake was tampered with in
    /// transit.
    NotAuthentic,
    /// The remote has this key, but other keys are pinned for its address.
    WrongKey(PublicKey),
    /// The remote's key is not allowed.
    KeyNotAllowed(PublicKey),
    /// The router id that the remote claims belongs to another key.
    IdTaken {
        /// The claimed router id.
        id: Id,
        /// The remote's key; `None` on a plain link.
        key: Option<PublicKey>,
        /// The key of the peer that holds the id; `None` if other keys are pinned for it.
        holder: Option<PublicKey>,
    },
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::TimedOut => f.write_str("handshake timed out"),
            HandshakeError::Closed => f.write_str("closed by the remote during the handshake"),
            HandshakeError::Io(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::TooLong(len) => write!(f, "handshake message of {len} bytes"),
            HandshakeError::Framing(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::Frame(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::Unexpected(error) => write!(f, "handshake failed: {error}"),
            HandshakeError::PeerType { asked, echoed } => {
                write!(f, "asked for a {asked} link, the remote answered {echoed}")
            }
            HandshakeError::OwnSelf => {
                f.write_str("own self: the remote has this node's router id")
            }
            HandshakeError::NotProved => {
                f.write_str("the remote could not prove to be the node that it claims to be")
            }
            HandshakeError::Refused(goodbye) => write!(f, "refused: {goodbye}"),
            HandshakeError::NotEncrypted => {
                f.write_str("the remote does not encrypt, and this node requires it")
            }
            HandshakeError::NetworkSecret { here: true } => {
                f.write_str("this node has a network secret, and the remote has none")
            }
            HandshakeError::NetworkSecret { here: false } => {
                f.write_str("the remote has a network secret, and this node has none")
            }
            HandshakeError::NotAuthentic => f.write_str(
                "the exchange of keys failed: another network secret, or changed on the way",
            ),
            HandshakeError::WrongKey(key) => {
                write!(f, "the remote has the key {key}, which is not pinned for its address")
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

/// Formats the claimant of a router id: its key, or that it has none.
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
    /// The name lookup failed.
    Resolve(Arc<io::Error>),
    /// The name lookup succeeded, but returned no address.
    NoAddress,
    /// The connection could not be opened.
    Connect(Arc<io::Error>),
    /// The handshake failed.
    Handshake(HandshakeError),
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The text is the resolver's, and may be what a name server said.
            AttemptError::Resolve(error) => {
                write!(EscapeHidden(f), "cannot look up the name: {error}")
            }
            AttemptError::NoAddress => f.write_str("the name has no address"),
            AttemptError::Connect(error) => write!(f, "cannot connect: {error}"),
            AttemptError::Handshake(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AttemptError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_resolver_says_is_escaped() {
        let error = Arc::new(io::Error::other("\u{1b}[2Jno such host\u{202e}"));
        let error = AttemptError::Resolve(error).to_string();
        assert_eq!(error, "cannot look up the name: \\u{1b}[2Jno such host\\u{202e}");
    }
}
