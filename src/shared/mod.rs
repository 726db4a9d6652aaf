//! The state that the handles of an endpoint share with its tasks.
//!
//! | file | holds |
//! |---|---|
//! | `peer_table` | every peer, by target |
//! | `queues` | enqueuing by target, and returning frames |
//! | `reclaim` | taking memory back from those that come last |
//! | `returned_frames` | frames that peers returned, until the router takes them |
//! | `sessions`, `resume` | sessions that may be resumed |
//! | `capacity` | how many peers there may be |
//! | `handshake_slots` | how many handshakes may run |
//! | `file_shares` | how many of these there may be under the limit on open files |
//! | `fair_share` | which address block is evicted if one of these is used up |
//! | `key_policy`, `id_claims` | which keys are admitted, and which router ids they may claim |
//! | `stop_signal`, `task_ref` | how the tasks stop, and what ends with the last of them |

mod capacity;
mod fair_share;
mod file_shares;
pub(crate) mod handshake_slots;
#[cfg(feature = "noise")]
mod id_claims;
#[cfg(feature = "noise")]
pub(crate) mod key_policy;
mod peer_table;
mod queues;
mod reclaim;
mod resume;
mod returned_frames;
mod sessions;
mod stop_signal;
mod task_ref;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::{Duration, Instant};

#[cfg(feature = "noise")]
use crate::config::Encryption;
use crate::config::{AcceptPolicy, Incoming, Limits, Resolve, Spawn};
use crate::error::{DownReason, DropReason};
use crate::events::{Event, EventBus};
use crate::peer::{Closing, Inbound, MemoryBudget, Peer};
use crate::primitives::callback::catch_panic;
use crate::primitives::lock::{Mutex, RwLock};
use crate::proto::{Id, InstanceId, Target, staggered_retry_after};
use crate::routes::Routes;
use crate::transport::Connect;

use file_shares::FileShares;
use handshake_slots::HandshakeSlots;
#[cfg(feature = "noise")]
use key_policy::KeyPolicy;
use peer_table::PeerTable;
use returned_frames::ReturnedFrames;
use sessions::Sessions;
use stop_signal::StopSignal;

pub(crate) use peer_table::Peers;
pub(crate) use task_ref::{PeerGuard, TaskRef};

/// The shared state of an endpoint.
pub(crate) struct Shared {
    // Lock order: `policy` or the claims of `key_policy`, then `peers`, then the locks of `routes`
    // and of a peer. Each lock of `sessions` and `returned` is acquired with no other lock of this
    // struct held. None is held across an await.
    pub(crate) id: Id,
    /// The same id, shared with the extended links, which send control frames under it.
    pub(crate) control_sender: Arc<Id>,
    pub(crate) instance_id: InstanceId,
    pub(crate) limits: Limits,
    pub(crate) routes: Arc<Routes>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) inbound: Inbound,
    pub(crate) events: EventBus,
    pub(crate) resolver: Box<dyn Resolve>,
    pub(crate) connector: Box<dyn Connect>,
    spawner: Box<dyn Spawn>,
    pub(crate) handshake_slots: HandshakeSlots,
    file_shares: FileShares,
    pub(crate) policy: RwLock<AcceptPolicy>,
    /// The key policy. `None` if this node does not encrypt.
    #[cfg(feature = "noise")]
    pub(crate) key_policy: Option<KeyPolicy>,
    /// The port that a Hello advertises. 0 if this node does not listen.
    pub(crate) port: AtomicU16,
    peers: PeerTable,
    sessions: Sessions,
    returned: ReturnedFrames,
    /// When memory for a stranger was last sought in vain.
    futile_reclaim: Mutex<Option<Instant>>,
    stop_signal: StopSignal,
}

/// The configuration from which the builder makes a [`Shared`].
pub(crate) struct SharedConfig {
    pub(crate) id: Id,
    pub(crate) instance_id: InstanceId,
    pub(crate) limits: Limits,
    /// Whether queued frames are bound to a router id, rather than to any node at the address of a
    /// peer.
    pub(crate) frames_follow_id: bool,
    pub(crate) resolver: Box<dyn Resolve>,
    pub(crate) connector: Box<dyn Connect>,
    pub(crate) policy: AcceptPolicy,
    #[cfg(feature = "noise")]
    pub(crate) encryption: Option<Encryption>,
    pub(crate) spawner: Box<dyn Spawn>,
}

impl Shared {
    pub(crate) fn new(config: SharedConfig, inbound: Inbound) -> Shared {
        let limits = config.limits;
        #[cfg(feature = "noise")]
        let key_policy = config.encryption.map(|own| KeyPolicy::new(own, limits.handshake_cpu));
        let file_shares = FileShares::now(&limits);
        let handshake_slots =
            HandshakeSlots::new(file_shares.handshakes, file_shares.handshakes_per_host);
        Shared {
            id: config.id,
            control_sender: Arc::new(config.id),
            instance_id: config.instance_id,
            routes: Arc::new(Routes::new()),
            budget: MemoryBudget::new(limits.total_queue_bytes),
            inbound,
            events: EventBus::new(
                limits.events,
                limits.drop_events_per_sec,
                limits.stranger_events_per_sec,
            ),
            resolver: config.resolver,
            connector: config.connector,
            spawner: config.spawner,
            handshake_slots,
            file_shares,
            policy: RwLock::new(config.policy),
            #[cfg(feature = "noise")]
            key_policy,
            port: AtomicU16::new(0),
            peers: PeerTable::default(),
            sessions: Sessions::new(config.frames_follow_id),
            returned: ReturnedFrames::new(limits.unconfirmed_bytes),
            futile_reclaim: Mutex::default(),
            stop_signal: StopSignal::new(),
            limits,
        }
    }

    /// Returns the peer with this target.
    pub(crate) fn peer(&self, target: Target) -> Option<Arc<Peer>> {
        self.peers.read().get(&target).cloned()
    }

    /// Returns all peers, ordered by target.
    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        let mut peers = Vec::new();
        self.for_each_peer(|peer| peers.push(peer.clone()));
        peers
    }

    /// Calls `f` for each peer, ordered by target. Aliases are skipped.
    pub(crate) fn for_each_peer(&self, f: impl FnMut(&Arc<Peer>)) {
        self.peers.read().for_each(f);
    }

    /// Adds the peers that `make` returns. It is called with the current table under the write
    /// lock, so no other peer is added in between.
    pub(crate) fn add_peers<E>(
        &self,
        make: impl FnOnce(&Peers) -> Result<Vec<Arc<Peer>>, E>,
    ) -> Result<Vec<Arc<Peer>>, E> {
        self.peers.add(make)
    }

    /// Removes a peer, and all its aliases, from the table.
    pub(crate) fn forget_peer(&self, target: Target) -> Option<Arc<Peer>> {
        let peer = self.peer(target)?;
        self.remove_peer(&peer);
        Some(peer)
    }

    /// Removes a peer and retires its aliases. Its own target is retired when it ends.
    fn remove_peer(&self, peer: &Peer) {
        self.peers.remove(peer, |target| self.routes.retire(target));
    }

    /// Ends a peer: removes it and its targets, and stores its unsent and unacknowledged frames.
    pub(crate) fn end_peer(&self, peer: &Peer) {
        // Already ended, possibly as an alias of another peer.
        let Some(frames) = peer.end_and_drain() else { return };
        let target = peer.target();
        self.routes.forget_ended(target);
        self.remove_peer(peer);
        self.forget_session(peer);
        self.store_unconfirmed(peer, frames);
        if peer.was_announced() {
            self.events.emit_about(peer, Event::Removed { target });
        }
        self.routes.retire(target);
    }

    /// Makes the target of one peer an alias of another, and transfers the queued frames to it.
    /// Returns whether it did: not if the surviving peer has ended.
    pub(crate) fn make_alias(&self, goes: &Peer, stays: &Arc<Peer>) -> bool {
        // Under the lock of the table, so that the next lookup of the target finds the surviving
        // peer, and frames enqueued earlier are sent first.
        let mut retired = Vec::new();
        let transfer = || goes.queue.transfer_to(&stays.queue);
        if !self
            .peers
            .alias(goes, stays, transfer, |alias, is_reported| retired.push((alias, is_reported)))
        {
            return false;
        }
        for (target, is_reported) in retired {
            if is_reported {
                self.events.emit_about(stays, Event::Removed { target });
            }
            self.routes.retire(target);
        }
        self.forget_session(goes);
        goes.mark_ended();
        true
    }

    /// Hands out what was received of a peer that is about to be merged into another one before
    /// what comes of that one: the remote node sends the remaining frames over its link.
    pub(crate) fn deliver_in_order(&self, goes: &Peer, stays: &Peer) {
        if let Some(inbox) = goes.inbox().filter(|inbox| inbox.held() > 0) {
            stays.get_inbox(self.inbound.pool()).wait_for(inbox);
        }
    }

    /// Whether this node was configured to dial this address.
    pub(crate) fn is_configured(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let mut is_configured = false;
        self.for_each_peer(|peer| is_configured = is_configured || peer.is_configured_at(ip));
        is_configured
    }

    /// Whether the accept policy lets a connection from this address start a handshake.
    pub(crate) fn admits_addr(&self, addr: SocketAddr) -> bool {
        let policy = self.policy.read();
        policy.admits_addr(addr.ip(), |ip| self.is_configured(ip))
    }

    /// Checks whether the accept policy admits an inbound link after its Hello.
    pub(crate) fn check_callback(&self, incoming: &Incoming) -> Result<(), DropReason> {
        // Called without the lock: the callback is the caller's, and may change the policy.
        let policy = self.policy.read().clone();
        match catch_panic(|| policy.admits(incoming)) {
            Some(true) => Ok(()),
            Some(false) => Err(DropReason::NotAllowed),
            None => Err(DropReason::CallbackPanicked),
        }
    }

    /// Signals all tasks to stop. With [`Closing::Drain`], links send what is queued first.
    pub(crate) fn stop(&self, how: Closing) {
        self.stop_signal.set_stopping();
        for peer in self.peers() {
            peer.stop(how, DownReason::ShuttingDown);
        }
    }

    /// Sends a goodbye over every link that is up, and closes it for writing, before this returns.
    pub(crate) fn close_links(&self) {
        self.peers().iter().for_each(|peer| peer.close_link());
    }

    /// Sets the retry-after that links announce when they close. The times are staggered from
    /// `time` on, so that the remote nodes come back one after the other.
    pub(crate) fn announce_retry_after(&self, time: Duration) {
        let peers = self.peers();
        for (peer, time) in peers.iter().zip(staggered_retry_after(peers.len(), time)) {
            peer.set_retry_after(time);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_signal.is_stopping()
    }

    /// Waits until the tasks are signalled to stop.
    pub(crate) async fn stopping(&self) {
        self.stop_signal.stopping().await;
    }

    /// Waits until all tasks have ended.
    pub(crate) async fn stopped(&self) {
        self.stop_signal.stopped().await;
    }

    /// Whether no thread holds the lock of the table.
    #[cfg(test)]
    pub(crate) fn is_table_free(&self) -> bool {
        self.peers.is_free()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("id", &self.id).finish_non_exhaustive()
    }
}
