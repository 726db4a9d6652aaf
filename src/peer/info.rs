//! What users see of a peer.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::proto::{Id, PeerAddr, PeerType, PublicKey, Target};

/// Which end opened a link. Displayed as `out` or `in`.
///
/// ```
/// assert_eq!(netmod_inet::Origin::Dialed.to_string(), "out");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The local node dialed: an outbound link.
    Dialed,
    /// The remote node dialed: an inbound link.
    Accepted,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Dialed => "out",
            Origin::Accepted => "in",
        })
    }
}

/// The connection state of a peer.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{InetEndpoint, PeerState};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let up = endpoint.peers().into_iter().filter(|peer| peer.state == PeerState::Up).count();
/// assert_eq!(up, 0);
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerState {
    /// The peer is being dialed.
    Connecting,
    /// The link is up.
    Up,
    /// There is no link; a redial may be scheduled.
    Down,
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerState::Connecting => "connecting",
            PeerState::Up => "up",
            PeerState::Down => "down",
        })
    }
}

/// A snapshot of a peer: one entry of [`InetEndpoint::peers`](crate::InetEndpoint::peers).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::InetEndpoint;
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// endpoint.add_peers(["192.0.2.7:9000"]).await?;
/// for peer in endpoint.peers() {
///     let address = peer.dial.map_or_else(|| "unknown".to_owned(), |dial| dial.to_string());
///     println!("{address}: {} for {:?}", peer.state, peer.since);
///     println!("next dial in {:?}", peer.next_retry);
/// }
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The target number by which the local node addresses the peer.
    pub target: Target,
    /// The router id that the remote claimed in its last handshake.
    pub id: Option<Id>,
    /// The key with which the remote authenticated itself, if the present or last link is
    /// encrypted. `None` for an unencrypted link, which anybody on the path can read and modify.
    pub key: Option<PublicKey>,
    /// The remote address of the present or last link.
    pub addr: Option<SocketAddr>,
    /// The configured address to dial. `None` for an inbound peer.
    pub dial: Option<PeerAddr>,
    /// The socket addresses of `dial`, and of peers that were merged into this one: literal
    /// addresses as they are, and for host names the result of the last lookup.
    pub resolved: Vec<SocketAddr>,
    /// The connection state.
    pub state: PeerState,
    /// Time since the link came up, or went down.
    pub since: Duration,
    /// Which end opens the links.
    pub origin: Origin,
    /// The peer type, from the point of view of the local node.
    pub peer_type: PeerType,
    /// Whether the present or last link is one to a plain Ratman node, which does not support the
    /// protocol extension of this crate. `true` before the first link.
    pub is_plain: bool,
    /// Frames sent: completely written to a link.
    pub frames_sent: u64,
    /// Bytes of the sent frames, with their length prefixes.
    pub bytes_sent: u64,
    /// Sent bytes per second, smoothed over the last seconds.
    pub send_rate: u64,
    /// Frames received and delivered to the router.
    pub frames_received: u64,
    /// Bytes of the received frames, with their length prefixes.
    pub bytes_received: u64,
    /// Received bytes per second, smoothed over the last seconds.
    pub receive_rate: u64,
    /// Frames received and ignored: of an unknown version, or with modes 32..=63.
    pub frames_ignored: u64,
    /// Frames in the outbound queue.
    pub queued_frames: usize,
    /// What the queued frames count against `Limits::queue_bytes`.
    pub queued_bytes: usize,
    /// Number of links that came up so far.
    pub links: u64,
    /// Smoothed round-trip time, measured by acknowledgements. `None` before the first sample, and
    /// for a plain Ratman node.
    pub round_trip: Option<Duration>,
    /// Why the last link ended or the last dial failed.
    pub last_error: Option<String>,
    /// Time until the next dial, if one is scheduled.
    pub next_retry: Option<Duration>,
    /// The last dial attempts, successful or not, the most recent one last.
    pub attempts: Vec<AttemptInfo>,
}

/// The outcome of dialing one address.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::InetEndpoint;
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// for attempt in endpoint.peers().iter().flat_map(|peer| &peer.attempts) {
///     println!("{} in {:?}: {:?}", attempt.addr, attempt.took, attempt.error);
/// }
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptInfo {
    /// The socket address, or the host name that could not be resolved.
    pub addr: String,
    /// Why the attempt failed; `None` if it led to a link.
    pub error: Option<String>,
    /// How long the attempt took.
    pub took: Duration,
}
