//! Status and statistics of a peer.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::{DownReason, Goodbye};
use crate::peer::byte_rate::ByteRate;
use crate::primitives::clock;
use crate::primitives::lazy_box::{LazyBox, StaticDefault};
use crate::proto::Target;
use crate::proto::{Backoff, Id, PeerAddr, PeerType, PublicKey};
use crate::transport::Link;

/// Number of dial attempts kept for each peer: enough for all addresses of a name, tried twice.
const ATTEMPTS: usize = 8;

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
///     println!("{address}: {} for {:?}, next try in {:?}", peer.state, peer.since, peer.next_retry);
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

/// The mutable status of a peer.
pub(crate) struct PeerStatus {
    pub(crate) state: PeerState,
    /// When the present link came up, or the last one went down.
    pub(crate) since: Instant,
    pub(crate) id: Option<Id>,
    pub(crate) key: Option<Box<PublicKey>>,
    pub(crate) addr: Option<SocketAddr>,
    /// The present link.
    pub(crate) link: Option<Arc<Link>>,
    pub(crate) links: u64,
    pub(crate) dial: LazyBox<DialState>,
    pub(crate) sent: TrafficStats,
    pub(crate) received: TrafficStats,
    /// Value of `received.frames` when the present link came up.
    pub(crate) received_before: u64,
    /// Number of received frames that were ignored.
    pub(crate) ignored: u64,
    pub(crate) close: LazyBox<CloseState>,
    /// Whether a task holds the [`Lease`](crate::peer::Lease) of the peer.
    pub(crate) is_leased: bool,
    /// The task that holds the lease, while it waits for lease requests.
    pub(crate) lease_waker: Option<Waker>,
    /// Number of leases that were acquired so far; wraps around.
    pub(crate) lease_epoch: u32,
    /// Number of tasks that wait for the lease.
    pub(crate) lease_requests: u32,
    pub(crate) merge: LazyBox<MergeState>,
    /// Whether the peer is part of a merge.
    pub(crate) is_merging: bool,
    /// Whether the peer is the one of two that is merged away.
    pub(crate) is_merge_loser: bool,
    /// Whether an outbound handshake is running.
    pub(crate) is_dialing: bool,
    /// Whether a handshake has succeeded and the link is about to come up.
    pub(crate) is_coming_up: bool,
}

/// State of a peer that is dialed.
#[derive(Debug, Default)]
pub(crate) struct DialState {
    /// The addresses to which the host name last resolved.
    pub(crate) resolved: Vec<SocketAddr>,
    /// When the next dial is due.
    pub(crate) next_retry: Option<Instant>,
    /// `None` until the first redial after a good link.
    pub(crate) backoff: Option<Backoff>,
    /// The last dial attempts. Invariant: at most [`ATTEMPTS`].
    pub(crate) attempts: VecDeque<AttemptInfo>,
    /// Dial addresses of peers that were merged into this one.
    pub(crate) aliases: Vec<AliasAddr>,
}

/// A dial address of a peer that was merged into another.
#[derive(Debug, Clone)]
pub(crate) struct AliasAddr {
    pub(crate) addr: PeerAddr,
    /// The key that proved the peers to be the same node, if their links were encrypted.
    pub(crate) proved: Option<PublicKey>,
}

impl StaticDefault for DialState {
    const DEFAULT: &'static DialState = &DialState {
        resolved: Vec::new(),
        next_retry: None,
        backoff: None,
        attempts: VecDeque::new(),
        aliases: Vec::new(),
    };
}

/// State of a peer or link that closes.
#[derive(Debug, Default)]
pub(crate) struct CloseState {
    /// Why the peer was stopped.
    pub(crate) stopping: Option<DownReason>,
    /// Time for which the remote is asked not to reconnect.
    pub(crate) retry_after: Option<Duration>,
    /// The goodbye that the remote sent on the present or last link.
    pub(crate) goodbye: Option<Goodbye>,
    /// Why the last link ended or the last dial failed.
    pub(crate) last_error: Option<String>,
}

impl StaticDefault for CloseState {
    const DEFAULT: &'static CloseState =
        &CloseState { stopping: None, retry_after: None, goodbye: None, last_error: None };
}

/// State of a peer that has another link to the same node.
#[derive(Debug, Default)]
pub(crate) struct MergeState {
    /// Name of the other session with the same node, once that was proved.
    pub(crate) duplicate_of: Option<[u8; 8]>,
    /// When the last ping was sent, and the number of acknowledgements received by then.
    pub(crate) pinged: Option<(Instant, u32)>,
    /// The remote's reply about the session that is merged away: its name, and the frames received.
    pub(crate) merge_ack: Option<([u8; 8], u64)>,
    /// The local reply about the session that was merged away.
    pub(crate) merge_reply: Option<([u8; 8], u64)>,
}

impl StaticDefault for MergeState {
    const DEFAULT: &'static MergeState =
        &MergeState { duplicate_of: None, pinged: None, merge_ack: None, merge_reply: None };
}

impl PeerStatus {
    pub(crate) fn new() -> PeerStatus {
        PeerStatus {
            state: PeerState::Connecting,
            since: clock::now(),
            id: None,
            key: None,
            addr: None,
            link: None,
            links: 0,
            dial: LazyBox::default(),
            sent: TrafficStats::default(),
            received: TrafficStats::default(),
            received_before: 0,
            ignored: 0,
            close: LazyBox::default(),
            is_leased: false,
            lease_waker: None,
            lease_epoch: 0,
            lease_requests: 0,
            merge: LazyBox::default(),
            is_merging: false,
            is_merge_loser: false,
            is_dialing: false,
            is_coming_up: false,
        }
    }

    pub(crate) fn set_state(&mut self, state: PeerState) {
        if (self.state == PeerState::Up) != (state == PeerState::Up) {
            self.since = clock::now();
        }
        self.state = state;
    }

    pub(crate) fn record_attempt(&mut self, attempt: AttemptInfo) {
        if self.dial.attempts.len() == ATTEMPTS {
            self.dial.attempts.pop_front();
        }
        self.dial.attempts.push_back(attempt);
    }

    pub(crate) fn on_down(&mut self, error: String, retry: Option<Duration>) {
        self.set_state(PeerState::Down);
        self.close.last_error = Some(error);
        // Do not allocate the dial state of a peer that is not dialed.
        if retry.is_some() || self.dial.next_retry.is_some() {
            self.dial.next_retry = retry.map(|retry| clock::now() + retry);
        }
    }
}

/// Counters of frames and bytes.
///
/// They are behind a lock, since 32-bit targets lack 64-bit atomics. It is taken once per batch.
#[derive(Debug, Default)]
pub(crate) struct TrafficStats {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) rate: ByteRate,
}

impl TrafficStats {
    pub(crate) fn add(&mut self, frames: usize, bytes: usize) {
        self.frames += frames as u64;
        self.bytes += bytes as u64;
        self.rate.add(bytes, clock::now());
    }
}
