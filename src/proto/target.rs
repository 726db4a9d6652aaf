/// The local identifier of a peer. It has no meaning on other nodes.
///
/// Stays the same across reconnects. Once the peer has ended it is reused as late as possible:
/// after 65 535 others.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{InetEndpoint, Target};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let targets: Vec<Target> = endpoint.add_peers(["192.0.2.7:9000"]).await?;
/// assert_eq!(endpoint.peers()[0].target, targets[0]);
/// # Ok(()) }) }
/// ```
pub type Target = u16;
