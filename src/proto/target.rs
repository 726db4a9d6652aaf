use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// The local identifier of a peer. It has no meaning on other nodes.
///
/// Stays the same across reconnects. Once the peer has ended it is reused as late as possible:
/// after 65 535 others. Written as its number, which [`FromStr`] reads.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{InetEndpoint, Target};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let targets: Vec<Target> = endpoint.add_peers(["192.0.2.7:9000"]).await?;
/// assert_eq!(endpoint.peers()[0].target, targets[0]);
/// assert_eq!(u16::from(targets[0]), 0);
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(u16);

impl From<u16> for Target {
    fn from(number: u16) -> Target {
        Target(number)
    }
}

impl From<Target> for u16 {
    fn from(target: Target) -> u16 {
        target.0
    }
}

impl FromStr for Target {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Target, ParseIntError> {
        text.parse().map(Target)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
