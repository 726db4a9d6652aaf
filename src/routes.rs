//! The routing table: what callers see of the targets, and the numbers that are free.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use async_lock::RwLock;

use crate::peer::Peer;
use crate::primitives::lock::Mutex;
use crate::proto::Target;

/// The routing table: all neighbours with a completed handshake, by target.
///
/// A dialed neighbour stays in the table while its link is being restored. The endpoint maintains
/// the table; callers only read it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::InetEndpoint;
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let routes = endpoint.routes();
/// for peer in routes.get_all_valid().await {
///     println!("{}", peer.target());
/// }
/// # Ok(()) }) }
/// ```
pub struct Routes {
    /// The next target that was never used. Invariant: `u16::MAX` once all have been.
    latest: AtomicU16,
    /// Free targets that were used before, oldest first, so that reuse comes as late as possible.
    retired: Mutex<VecDeque<Target>>,
    inner: RwLock<BTreeMap<Target, Arc<Peer>>>,
}

impl Routes {
    pub(crate) fn new() -> Routes {
        Routes {
            latest: AtomicU16::new(0),
            retired: Mutex::default(),
            inner: RwLock::new(BTreeMap::new()),
        }
    }

    /// Allocates an unused target. There are 65 535; `None` if all are in use.
    pub(crate) fn next_target(&self) -> Option<Target> {
        let next = |latest: u16| latest.checked_add(1);
        self.latest
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()
            .map(Target::from)
            .or_else(|| self.retired().pop_front())
    }

    /// Releases a target that no peer uses any longer.
    pub(crate) fn retire(&self, target: Target) {
        self.retired().push_back(target);
    }

    /// Adds a neighbour whose handshake has completed, and drops entries of ended ones.
    pub(crate) async fn add_peer(&self, target: Target, peer: Arc<Peer>) {
        let mut inner = self.inner.write().await;
        inner.retain(|_, peer| !peer.has_ended());
        inner.insert(target, peer);
    }

    /// Removes an ended neighbour, from contexts that cannot wait. If the lock is taken, the entry
    /// stays until the next peer is added; reads skip it.
    pub(crate) fn forget_ended(&self, target: Target) {
        if let Some(mut inner) = self.inner.try_write() {
            if inner.get(&target).is_some_and(|peer| peer.has_ended()) {
                inner.remove(&target);
            }
        }
    }

    /// Removes a neighbour.
    pub(crate) async fn remove_peer(&self, target: Target) -> Option<Arc<Peer>> {
        self.inner.write().await.remove(&target)
    }

    /// Returns whether there is a neighbour with this target whose handshake has completed.
    ///
    /// # Cancel safety
    ///
    /// This and the other reads have no side effect, so they can be dropped at any time.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// assert!(!endpoint.routes().exists(targets[0]).await, "there is no link yet");
    /// # Ok(()) }) }
    /// ```
    pub async fn exists(&self, target: Target) -> bool {
        self.get_peer_by_id(target).await.is_some()
    }

    /// Returns the neighbour with this target, if its handshake has completed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert!(endpoint.routes().get_peer_by_id(0.into()).await.is_none());
    /// # Ok(()) }) }
    /// ```
    pub async fn get_peer_by_id(&self, target: Target) -> Option<Arc<Peer>> {
        self.inner.read().await.get(&target).filter(|peer| !peer.has_ended()).cloned()
    }

    /// Returns all neighbours whose handshake has completed, ordered by target.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let up = endpoint.routes().get_all_valid().await.len();
    /// assert_eq!(up, 0);
    /// # Ok(()) }) }
    /// ```
    pub async fn get_all_valid(&self) -> Vec<Arc<Peer>> {
        self.inner.read().await.values().filter(|peer| !peer.has_ended()).cloned().collect()
    }

    fn retired(&self) -> std::sync::MutexGuard<'_, VecDeque<Target>> {
        self.retired.lock()
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("latest", &self.latest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retired_targets_are_reused_as_late_as_possible() {
        let routes = Routes::new();
        assert_eq!(
            [0, 1, 2].map(|_| routes.next_target()),
            [Some(0.into()), Some(1.into()), Some(2.into())]
        );
        routes.retire(1.into());
        routes.retire(0.into());
        for target in 3..u16::MAX {
            assert_eq!(routes.next_target(), Some(target.into()));
        }
        assert_eq!([0, 1, 2].map(|_| routes.next_target()), [Some(1.into()), Some(0.into()), None]);
        routes.retire(9.into());
        assert_eq!(routes.next_target(), Some(9.into()));
    }
}
