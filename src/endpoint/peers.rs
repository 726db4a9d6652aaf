//! Adding, removing, redialing and listing peers.

use std::fmt;
use std::sync::Arc;

use crate::endpoint::{InetEndpoint, add};
use crate::error::{AddPeersError, DownReason, UnknownTarget};
use crate::peer::{Closing, PeerInfo};
use crate::proto::Target;
use crate::routes::Routes;
use crate::session::{probe, start_connection};

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
    /// assert_eq!(targets, [0, 1]);
    /// let error = endpoint.add_peers(["192.0.2.8:9000", "192.0.2.7:9000"]).await.unwrap_err();
    /// assert_eq!(error.to_string(), "entry 2: `192.0.2.7:9000` is peer 0 already");
    /// # Ok(()) }) }
    /// ```
    pub async fn add_peers<I>(&self, peers: I) -> Result<Vec<Target>, AddPeersError>
    where
        I: IntoIterator,
        I::Item: fmt::Display,
    {
        let addrs = add::parse_all(peers)?;
        let context = self.context();
        add::check_keys(context, &addrs)?;
        let running = self.handle.running.upgrade().filter(|_| !context.is_stopping());
        let running = running.ok_or(AddPeersError::Closed)?;
        let new = context.add_peers(|known| {
            add::check_new(&addrs, known)?;
            add::reserve(context, addrs, context.outbound_capacity(known))
        })?;
        // A concurrent stop may have missed the new peers.
        if context.is_stopping() {
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
        let peer = self.context().forget_peer(target).ok_or(UnknownTarget(target))?;
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
    /// assert!(endpoint.kick(Some(7)).is_err(), "there is no such peer");
    /// # Ok(()) }) }
    /// ```
    pub fn kick(&self, target: Option<Target>) -> Result<(), UnknownTarget> {
        let peers = match target {
            Some(target) => vec![self.known_peer(target)?],
            None => self.context().peers(),
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
        self.context().peers().iter().map(|peer| peer.info()).collect()
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
        self.context().peer(target).map(|peer| peer.info())
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
