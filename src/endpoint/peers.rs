//! Adding, removing, redialing and listing peers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::endpoint::InetEndpoint;
use crate::error::{AddPeersError, DownReason, UnknownTarget};
use crate::peer::{Closing, Peer, PeerInfo};
use crate::proto::{PeerAddr, Target, first_duplicate, shorten};
use crate::routes::Routes;
use crate::session::{probe, start_connection};
use crate::shared::{Peers, Shared};

impl InetEndpoint {
    /// Adds peers and starts to dial them. Returns their targets in the order of the list, without
    /// waiting for a connection: frames may be sent right away, and are queued until the peer is
    /// connected.
    ///
    /// The entries are strings or [`PeerAddr`](crate::PeerAddr)s. All are checked before any is
    /// added. A name need not resolve now: lookups are retried.
    ///
    /// # Errors
    ///
    /// [`AddPeersError`] for the first entry that cannot be added. In that case no peer is added.
    ///
    /// # Cancel safety
    ///
    /// The future never suspends: it completes when first polled.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000", "mynas.example:9000X"]).await?;
    /// assert_eq!(targets, [0.into(), 1.into()]);
    /// let error = endpoint.add_peers(["192.0.2.8:9000", "192.0.2.7:9000"]).await.unwrap_err();
    /// assert_eq!(error.to_string(), "entry 2: `192.0.2.7:9000` is peer 0 already");
    /// # Ok(()) }) }
    /// ```
    pub async fn add_peers<I>(&self, peers: I) -> Result<Vec<Target>, AddPeersError>
    where
        I: IntoIterator,
        I::Item: fmt::Display,
    {
        let addrs = parse_all(peers)?;
        let shared = self.shared();
        check_keys(shared, &addrs)?;
        let running = self.handle.running.upgrade().filter(|_| !shared.is_stopping());
        let running = running.ok_or(AddPeersError::Closed)?;
        let new = shared.add_peers(|known| {
            check_new(&addrs, known)?;
            reserve(shared, addrs, shared.outbound_capacity(known))
        })?;
        // A concurrent stop may have missed the new peers.
        if shared.is_stopping() {
            new.iter().for_each(|peer| peer.stop(Closing::Now, DownReason::ShuttingDown));
        }
        let targets = new.iter().map(|peer| peer.target()).collect();
        new.into_iter().for_each(|peer| start_connection(&running, peer));
        Ok(targets)
    }

    /// Removes a peer: its link closes, it is not dialed again, and its target becomes invalid.
    ///
    /// Frames received from it before are still returned by [`next`](InetEndpoint::next), under its
    /// target. Frames queued for it come back through
    /// [`take_unconfirmed`](InetEndpoint::take_unconfirmed) once its link has closed, which
    /// [`Event::Removed`](crate::Event::Removed) signals.
    ///
    /// # Errors
    ///
    /// [`UnknownTarget`] if there is no such peer.
    ///
    /// # Cancel safety
    ///
    /// The peer is removed when the future is first polled.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// endpoint.remove_peer(targets[0]).await?;
    /// assert!(endpoint.peers().is_empty());
    /// # Ok(()) }) }
    /// ```
    pub async fn remove_peer(&self, target: Target) -> Result<(), UnknownTarget> {
        let peer = self.shared().forget_peer(target).ok_or(UnknownTarget(target))?;
        peer.stop(Closing::Now, DownReason::Removed);
        self.routes.remove_peer(peer.target()).await;
        Ok(())
    }

    /// Dials one peer, or all with `None`, now instead of after the redial delay. A link that is up
    /// is probed, and redialed if the peer does not answer within seconds. For use after a suspend,
    /// or when the network changed.
    ///
    /// # Errors
    ///
    /// [`UnknownTarget`] if there is no such peer.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// // The network is another one now.
    /// endpoint.kick(None)?;
    /// assert!(endpoint.kick(Some(7.into())).is_err(), "there is no such peer");
    /// # Ok(()) }) }
    /// ```
    pub fn kick(&self, target: Option<Target>) -> Result<(), UnknownTarget> {
        let peers = match target {
            Some(target) => vec![self.known_peer(target)?],
            None => self.shared().peers(),
        };
        peers.iter().for_each(|peer| peer.kick());
        if let Some(running) = self.handle.running.upgrade() {
            probe(&running, &peers);
        }
        Ok(())
    }

    /// Returns the status of every peer, including those that are down, ordered by target.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// for peer in endpoint.peers() {
    ///     println!("{} is {}: {:?}", peer.target, peer.state, peer.last_error);
    /// }
    /// # Ok(()) }) }
    /// ```
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared().peers().iter().map(|peer| peer.info()).collect()
    }

    /// Returns the status of one peer; `None` if there is no such peer. An alias resolves to its
    /// peer.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let peer = endpoint.peer(targets[0]).expect("it was added");
    /// println!("{} after {} links: {:?}", peer.state, peer.links, peer.last_error);
    /// # Ok(()) }) }
    /// ```
    pub fn peer(&self, target: Target) -> Option<PeerInfo> {
        self.shared().peer(target).map(|peer| peer.info())
    }

    /// Returns the table of neighbours whose handshake has completed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert!(endpoint.routes().get_all_valid().await.is_empty());
    /// # Ok(()) }) }
    /// ```
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }
}

/// Parses the addresses. Fails if two of them are the same.
fn parse_all(
    peers: impl IntoIterator<Item = impl fmt::Display>,
) -> Result<Vec<PeerAddr>, AddPeersError> {
    let mut addrs: Vec<PeerAddr> = Vec::new();
    let mut malformed = Ok(());
    for (index, peer) in peers.into_iter().enumerate() {
        let text = peer.to_string();
        match text.parse() {
            Ok(addr) => addrs.push(addr),
            Err(source) => {
                let (entry, addr) = (index + 1, shorten(&text));
                malformed = Err(AddPeersError::Malformed { entry, addr, source });
                break;
            }
        }
    }
    // The duplicate precedes the malformed entry, so it is the first error of the list.
    match first_duplicate(&addrs) {
        Some((at, _)) => Err(AddPeersError::Twice { entry: at + 1, addr: addrs[at].to_string() }),
        None => malformed.map(|()| addrs),
    }
}

/// Checks that this node has a key of its own if one of `addrs` pins a key.
fn check_keys(shared: &Shared, addrs: &[PeerAddr]) -> Result<(), AddPeersError> {
    #[cfg(feature = "noise")]
    let has_key = shared.key_policy.is_some();
    #[cfg(not(feature = "noise"))]
    let has_key = false;
    let _ = shared;
    match addrs.iter().position(|addr| !has_key && !addr.keys().is_empty()) {
        Some(at) => Err(AddPeersError::NoKey { entry: at + 1, addr: addrs[at].to_string() }),
        None => Ok(()),
    }
}

/// Checks that none of `addrs` belongs to an existing peer.
fn check_new(addrs: &[PeerAddr], known: &Peers) -> Result<(), AddPeersError> {
    let mut entries = BTreeMap::new();
    // `extend` instead of `collect`, which would add a whole sort to the binary.
    entries.extend(addrs.iter().map(PeerAddr::addr_key).zip(0..));
    let entry = |own: &PeerAddr| entries.get(&own.addr_key()).copied();
    let same = |peer: &Arc<Peer>| peer.min_dial_addr(entry).map(|at| (at, peer.target()));
    match known.values().filter_map(same).min() {
        Some((at, target)) => {
            let addr = addrs[at].to_string();
            Err(AddPeersError::Known { entry: at + 1, addr, target })
        }
        None => Ok(()),
    }
}

/// Creates the peers, all or none.
fn reserve(
    shared: &Shared,
    addrs: Vec<PeerAddr>,
    capacity: usize,
) -> Result<Vec<Arc<Peer>>, AddPeersError> {
    let targets: Vec<Target> =
        addrs.iter().take(capacity).map_while(|_| shared.routes.next_target()).collect();
    if targets.len() < addrs.len() {
        targets.into_iter().for_each(|target| shared.routes.retire(target));
        return Err(AddPeersError::TooMany);
    }
    let new = |(addr, target)| Arc::new(Peer::dialed(target, addr, shared.new_queue()));
    Ok(addrs.into_iter().zip(targets).map(new).collect())
}
