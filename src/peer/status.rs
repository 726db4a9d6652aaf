//! What there is to tell about a neighbour.

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

/// Dials that are kept for each peer: enough for all addresses of a name, tried twice.
const ATTEMPTS: usize = 8;

/// Who opened a link. Shown as `out` or `in`.
///
/// ```
/// assert_eq!(netmod_inet::Origin::Dialed.to_string(), "out");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// This node dialed.
    Dialed,
    /// The other node dialed.
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

/// How a peer is.
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
    /// It is being dialed.
    Connecting,
    /// Its link is up.
    Up,
    /// It has no link; the next dial waits for its time.
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

/// How a neighbour is, and why: one row of [`InetEndpoint::peers`](crate::InetEndpoint::peers).
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
    /// The neighbour's local name.
    pub target: Target,
    /// The router id that it claimed in its last handshake.
    pub id: Option<Id>,
    /// The key that it has shown to have, if its link, or the last that it had, is encrypted. `None`
    /// for a plain one, which anybody on the way can read and change.
    pub key: Option<PublicKey>,
    /// The address of its link, or of the last that it had.
    pub addr: Option<SocketAddr>,
    /// The address that this node was told to dial; `None` for a peer that dialed this node.
    pub dial: Option<PeerAddr>,
    /// The addresses that `dial`, and those of peers that merged with this one, stand for: as they
    /// are if they are numbers, and otherwise as they were looked up last.
    pub resolved: Vec<SocketAddr>,
    /// How it is.
    pub state: PeerState,
    /// For how long it has had its link, or been without one.
    pub since: Duration,
    /// Who opens its links.
    pub origin: Origin,
    /// What kind of peer it is, as this node sees it.
    pub peer_type: PeerType,
    /// Whether its link, or the last that it had, is one with a plain Ratman node, which shares no
    /// records of this crate. `true` before the first link.
    pub is_plain: bool,
    /// Frames that were sent to it: written to a link as a whole.
    pub frames_sent: u64,
    /// Bytes of those frames with their lengths.
    pub bytes_sent: u64,
    /// The same per second, smoothed over the last seconds.
    pub send_rate: u64,
    /// Frames that came from it for the router.
    pub frames_received: u64,
    /// Bytes of those frames with their lengths.
    pub bytes_received: u64,
    /// The same per second, smoothed over the last seconds.
    pub receive_rate: u64,
    /// Frames that came from it and were dropped: of an unknown version, or of modes 32..=63.
    pub frames_ignored: u64,
    /// Frames that wait for it.
    pub queued_frames: usize,
    /// What those frames count against `Limits::queue_bytes`.
    pub queued_bytes: usize,
    /// Links that it has had.
    pub links: u64,
    /// Smoothed round trip, measured by acknowledgements. `None` for a plain Ratman node, and as
    /// long as nothing was sent.
    pub round_trip: Option<Duration>,
    /// Why its last link ended or its last dial failed.
    pub last_error: Option<String>,
    /// When it is dialed next, if it waits for that.
    pub next_retry: Option<Duration>,
    /// The last dials, those that failed and those that did not, the latest last.
    pub attempts: Vec<AttemptInfo>,
}

/// One address that was dialed.
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
    /// The address: a socket address, or the name that could not be looked up.
    pub addr: String,
    /// Why it failed; `None` if it led to a link.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What happened to a peer so far.
pub(crate) struct PeerStatus {
    pub(crate) state: PeerState,
    /// Since when the peer has had a link, or been without one.
    pub(crate) since: Instant,
    pub(crate) id: Option<Id>,
    pub(crate) key: Option<Box<PublicKey>>,
    pub(crate) addr: Option<SocketAddr>,
    /// The link that is up.
    pub(crate) link: Option<Arc<Link>>,
    pub(crate) links: u64,
    pub(crate) dial: LazyBox<DialState>,
    pub(crate) sent: TrafficStats,
    pub(crate) received: TrafficStats,
    /// Frames that had been received when the present link came up.
    pub(crate) received_before: u64,
    pub(crate) ignored: u64,
    pub(crate) close: LazyBox<CloseState>,
    /// Whether a task serves the peer, how many have begun to, and how many want to.
    pub(crate) is_leased: bool,
    /// The task that serves the peer, while it waits for such a wish.
    pub(crate) lease_waker: Option<Waker>,
    pub(crate) lease_epoch: u32,
    pub(crate) lease_requests: u32,
    pub(crate) merge: LazyBox<MergeState>,
    pub(crate) is_merging: bool,
    /// Whether it is the one of the two that goes.
    pub(crate) is_merge_loser: bool,
    /// Whether this node shakes hands as the dialer.
    pub(crate) is_dialing: bool,
    /// Whether a handshake has gone on with the peer, and its link is about to be up.
    pub(crate) is_coming_up: bool,
}

/// What there is to know of a peer that is dialed.
#[derive(Debug, Default)]
pub(crate) struct DialState {
    /// The last addresses that its name stood for.
    pub(crate) resolved: Vec<SocketAddr>,
    pub(crate) next_retry: Option<Instant>,
    /// `None` before the first retry since a good link.
    pub(crate) backoff: Option<Backoff>,
    pub(crate) attempts: VecDeque<AttemptInfo>,
    /// Addresses of peers that turned out to be the same.
    pub(crate) aliases: Vec<AliasAddr>,
}

/// An address of a peer that turned out to be the same as another.
#[derive(Debug, Clone)]
pub(crate) struct AliasAddr {
    pub(crate) addr: PeerAddr,
    /// The key by which it turned out so, if the links were encrypted.
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

/// What there is to know of the end of a peer or of its link.
#[derive(Debug, Default)]
pub(crate) struct CloseState {
    /// Why the peer was told to stop.
    pub(crate) stopping: Option<DownReason>,
    /// How long the neighbour is to stay away after that.
    pub(crate) retry_after: Option<Duration>,
    /// What the other side of the link said when it said goodbye.
    pub(crate) goodbye: Option<Goodbye>,
    /// Why its last link ended or its last dial failed.
    pub(crate) last_error: Option<String>,
}

impl StaticDefault for CloseState {
    const DEFAULT: &'static CloseState =
        &CloseState { stopping: None, retry_after: None, goodbye: None, last_error: None };
}

/// What there is to know of a peer that has another link to the same node.
#[derive(Debug, Default)]
pub(crate) struct MergeState {
    /// The other pair of the same two nodes, once it was proved.
    pub(crate) duplicate_of: Option<[u8; 8]>,
    /// When the other side was last asked to tell a count, and how often it had told one by then.
    pub(crate) pinged: Option<(Instant, u32)>,
    /// What the other side said of the pair that goes, and what it was told.
    pub(crate) merge_ack: Option<([u8; 8], u64)>,
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
        // A peer that is not dialed has none to forget.
        if retry.is_some() || self.dial.next_retry.is_some() {
            self.dial.next_retry = retry.map(|retry| clock::now() + retry);
        }
    }
}

/// Frames and their bytes. Behind a lock rather than in atomics, for 32-bit machines have none of
/// 64 bits; it is taken once for many frames.
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
