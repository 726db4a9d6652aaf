//! The neighbours: added, removed, dialed at once, looked at.

use std::fmt;
use std::sync::Arc;

use crate::endpoint::{InetEndpoint, add};
use crate::error::{AddPeersError, DownReason, UnknownTarget};
use crate::peer::{Closing, PeerInfo};
use crate::proto::Target;
use crate::routes::Routes;
use crate::session::{probe, start_connection};

impl InetEndpoint {
    /// Adds peers and starts to dial them. Returns their targets, in the order of the list, at
    /// once: frames may be sent from now on, and wait until the peer is reached.
    ///
    /// The entries are texts or [`PeerAddr`](crate::PeerAddr)s. All are checked before any is added. A
    /// name need not resolve now; it is tried again.
    ///
    /// # Errors
    ///
    /// [`AddPeersError`] names the first entry that cannot be added; none is then.
    ///
    /// # Cancel safety
    ///
    /// It does not wait for anything, so it is done when first polled.
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
        // A handle that stops the endpoint right now may have missed them.
        if context.is_stopping() {
            new.iter().for_each(|peer| peer.stop(Closing::Now, DownReason::ShuttingDown));
        }
        let targets = new.iter().map(|peer| peer.target()).collect();
        new.into_iter().for_each(|peer| start_connection(&running, peer));
        Ok(targets)
    }

    /// Removes a peer: its link closes, nobody dials it again, its target names nobody any more.
    ///
    /// Frames that arrived from it before are still handed out by [`next`](InetEndpoint::next),
    /// under its target. Frames that wait for it come back through
    /// [`take_unconfirmed`](InetEndpoint::take_unconfirmed) once its link has closed, which is when
    /// [`Event::Removed`](crate::Event::Removed) comes.
    ///
    /// # Errors
    ///
    /// [`UnknownTarget`] if there is no such peer.
    ///
    /// # Cancel safety
    ///
    /// The peer is removed when this is first polled.
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

    /// Dials one peer, or with `None` every peer, now instead of when its time comes. A link that is
    /// up has to show within some seconds that it still lives, or is dialed anew. For after a
    /// suspend, or when the network changed.
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

    /// How every neighbour is, and why: those that are down too. Ordered by target.
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

    /// How one neighbour is, and why. `None` if there is no such peer; an alias stands for its peer.
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

    /// The neighbours that this node has shaken hands with.
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
