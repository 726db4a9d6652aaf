use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_lock::RwLock;

use crate::peer::Peer;
use crate::proto::Target;

/// The neighbours that this node has shaken hands with, by their targets.
///
/// A dialed neighbour stays in the table while its link is being restored. The table is the
/// endpoint's own: read it, and leave adding and removing to the endpoint.
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
    /// The next target that was never used; [`Target::MAX`] once all were.
    latest: AtomicU16,
    /// Targets that are free again, oldest first, so that reuse comes as late as it can.
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

    /// A target that names nobody. There are 65 535; `None` when all are taken.
    pub(crate) fn next_target(&self) -> Option<Target> {
        let fresh = |latest: Target| latest.checked_add(1);
        self.latest
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fresh)
            .ok()
            .or_else(|| self.retired().pop_front())
    }

    /// Gives a target back that names nobody any more.
    pub(crate) fn retire(&self, target: Target) {
        self.retired().push_back(target);
    }

    /// Enters a neighbour that has shaken hands.
    pub(crate) async fn add_peer(&self, target: Target, peer: Arc<Peer>) {
        let mut inner = self.inner.write().await;
        inner.retain(|_, peer| !peer.has_ended());
        inner.insert(target, peer);
    }

    /// Takes out a neighbour that has ended, from where nobody can wait. If somebody reads just now
    /// it stays until another one comes in; it is not handed out any more.
    pub(crate) fn forget_ended(&self, target: Target) {
        if let Some(mut inner) = self.inner.try_write() {
            if inner.get(&target).is_some_and(|peer| peer.has_ended()) {
                inner.remove(&target);
            }
        }
    }

    /// Takes a neighbour out.
    pub(crate) async fn remove_peer(&self, target: Target) -> Option<Arc<Peer>> {
        self.inner.write().await.remove(&target)
    }

    /// Whether there is a neighbour with this target that has shaken hands.
    ///
    /// # Cancel safety
    ///
    /// This and the other reads have no effect, so they can be dropped at any time.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// assert!(!endpoint.routes().exists(targets[0]).await, "it was not reached yet");
    /// # Ok(()) }) }
    /// ```
    pub async fn exists(&self, target: Target) -> bool {
        self.get_peer_by_id(target).await.is_some()
    }

    /// The neighbour with this target, if it has shaken hands.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert!(endpoint.routes().get_peer_by_id(0).await.is_none());
    /// # Ok(()) }) }
    /// ```
    pub async fn get_peer_by_id(&self, target: Target) -> Option<Arc<Peer>> {
        self.inner.read().await.get(&target).filter(|peer| !peer.has_ended()).cloned()
    }

    /// All neighbours that have shaken hands, ordered by target.
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
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_target_comes_back_as_late_as_it_can() {
        let routes = Routes::new();
        assert_eq!([0, 1, 2].map(|_| routes.next_target()), [Some(0), Some(1), Some(2)]);
        routes.retire(1);
        routes.retire(0);
        for target in 3..Target::MAX {
            assert_eq!(routes.next_target(), Some(target));
        }
        assert_eq!([0, 1, 2].map(|_| routes.next_target()), [Some(1), Some(0), None]);
        routes.retire(9);
        assert_eq!(routes.next_target(), Some(9));
    }
}
