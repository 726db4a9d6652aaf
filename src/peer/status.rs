//! The mutable status of a peer, and its statistics.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::{DownReason, Goodbye};
use crate::peer::byte_rate::ByteRate;
use crate::peer::info::{AttemptInfo, PeerState};
use crate::primitives::clock;
use crate::primitives::lazy_box::{LazyBox, StaticDefault};
use crate::proto::{Backoff, Id, PeerAddr, PublicKey, SessionName};
use crate::transport::Link;

/// Number of dial attempts kept for each peer: enough for all addresses of a name, tried twice.
const ATTEMPTS: usize = 8;

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
    /// Value of `received.bytes` when the present link came up.
    pub(crate) received_before: u64,
    /// Number of received frames that were ignored.
    pub(crate) ignored: u64,
    pub(crate) close: LazyBox<CloseState>,
    /// Whether an event reported that the present link is up.
    pub(crate) is_up_reported: bool,
    /// Whether an event ever named the peer.
    pub(crate) is_reported: bool,
    /// Whether a link of the peer stood for a while and carried frames.
    pub(crate) was_used: bool,
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
    pub(crate) duplicate_of: Option<SessionName>,
    /// When the last ping was sent, and the number of acknowledgements received by then.
    pub(crate) pinged: Option<(Instant, u32)>,
    /// The remote's reply about the session that is merged away: its name, and the frames received.
    pub(crate) merge_ack: Option<(SessionName, u64)>,
    /// The local reply about the session that was merged away.
    pub(crate) merge_reply: Option<(SessionName, u64)>,
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
            is_up_reported: false,
            is_reported: false,
            was_used: false,
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
        let attempts = &mut self.dial.get_or_allocate().attempts;
        if attempts.len() == ATTEMPTS {
            attempts.pop_front();
        }
        attempts.push_back(attempt);
    }

    pub(crate) fn on_down(&mut self, error: String, retry: Option<Duration>) {
        self.set_state(PeerState::Down);
        self.close.get_or_allocate().last_error = Some(error);
        self.dial.set(|dial| &mut dial.next_retry, retry.map(|retry| clock::now() + retry));
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
