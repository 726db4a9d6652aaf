//! The event type. The program shows each kind in `text_lines`, `json_lines` and `open_metrics`.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::{AttemptError, DownReason, DropReason};
use crate::peer::Origin;
use crate::primitives::clock::whole_millis;
use crate::proto::{Id, PeerType, PublicKey, Target};

/// A change of state, with its reason. Displayed as one readable line.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{Event, InetEndpoint};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let events = endpoint.events();
/// endpoint.shutdown().await;
/// while let Ok(event) = events.next().await {
///     match event {
///         Event::Up { target, id, .. } => println!("{target} is {id}"),
///         Event::Stopped => println!("that was it"),
///         other => println!("{other}"),
///     }
/// }
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A link to a peer is up.
    Up {
        /// The target of the peer.
        target: Target,
        /// The router id that it claims.
        id: Id,
        /// The remote address, if known.
        addr: Option<SocketAddr>,
        /// Whether this node or the remote dialed.
        origin: Origin,
        /// The type of the peer.
        peer_type: PeerType,
        /// The key that it authenticated with; `None` on a plain link.
        key: Option<PublicKey>,
    },
    /// A peer's link ended.
    Down {
        /// The target of the peer.
        target: Target,
        /// The reason.
        reason: DownReason,
        /// The delay until this node dials again, if it does.
        retry: Option<Duration>,
    },
    /// A dial attempt failed.
    Attempt {
        /// The target of the peer.
        target: Target,
        /// The socket address that was dialed, or the name that could not be resolved.
        addr: String,
        /// The reason.
        reason: AttemptError,
        /// The delay until this node dials again, if it does.
        retry: Option<Duration>,
    },
    /// An inbound stream was dropped before it became a peer.
    Dropped {
        /// The remote address, if known.
        addr: Option<SocketAddr>,
        /// The reason.
        reason: DropReason,
        /// The number of events of this kind suppressed since the last one, because of the limit
        /// `Limits::drop_events_per_sec`.
        suppressed: usize,
    },
    /// Queued frames of a peer came back; `take_unconfirmed` returns them.
    Unconfirmed {
        /// The target of the peer.
        target: Target,
        /// The number of frames that came back with this event.
        frames: usize,
    },
    /// Two peers are the same node, and were merged.
    Merged {
        /// The target of the remaining peer.
        target: Target,
        /// The target of the other peer, which is an alias from now on.
        retired: Target,
    },
    /// A peer ended, and its target is invalid from now on. Or the target was an alias: at most 8
    /// targets of inbound peers lead to another, and the oldest is retired.
    Removed {
        /// The target of the peer.
        target: Target,
    },
    /// Accepting connections failed for lack of file descriptors or memory. It is retried.
    AcceptFailed {
        /// The local address of the listening socket.
        addr: Option<SocketAddr>,
        /// The error of the system.
        reason: String,
    },
    /// The [spawner](crate::Spawn) panicked. The task that it was given is lost, and with it what
    /// the task served: one peer, one listener, or one inbound handshake.
    SpawnFailed,
    /// Events were not delivered: this subscription was read too slowly, or the links of unknown
    /// nodes came up faster than `Limits::stranger_events_per_sec` allows. In the latter case this
    /// comes within a second, and all events about such a link are missed. What the present state
    /// is, [`peers`](crate::InetEndpoint::peers) tells.
    Missed {
        /// The number of these events.
        count: usize,
    },
    /// The endpoint stopped. No event follows.
    Stopped,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Up { target, id, addr, origin, peer_type, key } => {
                write!(
                    f,
                    "peer {target} up: {} ({peer_type}, {origin}), id {id}",
                    DisplayAddr(*addr)
                )?;
                key.map_or(Ok(()), |key| write!(f, ", key {key}"))
            }
            Event::Down { target, reason, retry } => {
                write!(f, "peer {target} down: {reason}")?;
                next_try(f, *retry)
            }
            Event::Attempt { target, addr, reason, retry } => {
                write!(f, "peer {target} not reached at {addr}: {reason}")?;
                next_try(f, *retry)
            }
            Event::Dropped { addr, reason, suppressed } => {
                write!(f, "dropped {}: {reason}", DisplayAddr(*addr))?;
                match suppressed {
                    0 => Ok(()),
                    more => write!(f, " ({more} more were not reported)"),
                }
            }
            Event::Unconfirmed { target, frames: 1 } => {
                write!(f, "a frame for peer {target} came back")
            }
            Event::Unconfirmed { target, frames } => {
                write!(f, "{frames} frames for peer {target} came back")
            }
            Event::Merged { target, retired } => {
                write!(f, "peer {retired} is the same node as peer {target}, and merged with it")
            }
            Event::Removed { target } => write!(f, "peer {target} ended"),
            Event::AcceptFailed { addr, reason } => {
                write!(f, "cannot accept on {} for now: {reason}", DisplayAddr(*addr))
            }
            Event::SpawnFailed => f.write_str("the spawner panicked, and a task is lost"),
            Event::Missed { count } => write!(f, "{count} events were missed"),
            Event::Stopped => f.write_str("stopped"),
        }
    }
}

fn next_try(f: &mut fmt::Formatter<'_>, retry: Option<Duration>) -> fmt::Result {
    match retry {
        Some(retry) => write!(f, "; next try in {} ms", whole_millis(retry)),
        None => Ok(()),
    }
}

/// Displays an address, or that it is unknown.
struct DisplayAddr(Option<SocketAddr>);

impl fmt::Display for DisplayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(addr) => addr.fmt(f),
            None => f.write_str("unknown address"),
        }
    }
}
