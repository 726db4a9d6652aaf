//! Errors of adding and naming peers.

use std::fmt;

use crate::error::Closed;
use crate::proto::AddressError;
use crate::proto::Target;

/// Why a list of peers was not added.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::InetEndpoint;
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let error = endpoint.add_peers(["a.example:9000", "b.example"]).await.unwrap_err();
/// assert_eq!(error.to_string(), "entry 2: `b.example`: the port is missing");
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddPeersError {
    /// An entry is malformed.
    Malformed {
        /// The position of the entry, counted from 1.
        entry: usize,
        /// The entry, truncated if it is long.
        addr: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// An entry has the same address as an earlier one of the list.
    Twice {
        /// The position of the entry, counted from 1.
        entry: usize,
        /// The entry.
        addr: String,
    },
    /// An entry has the address of an existing peer.
    Known {
        /// The position of the entry, counted from 1.
        entry: usize,
        /// The entry.
        addr: String,
        /// The peer that has the address.
        target: Target,
    },
    /// An entry pins a key, but the endpoint has no key of its own to encrypt with.
    NoKey {
        /// The position of the entry, counted from 1.
        entry: usize,
        /// The entry.
        addr: String,
    },
    /// The list would exceed `Limits::peers`, or the number of targets.
    TooMany,
    /// The endpoint was shut down.
    Closed,
}

impl fmt::Display for AddPeersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddPeersError::Malformed { entry, addr, source } => {
                write!(f, "entry {entry}: `{addr}`: {source}")
            }
            AddPeersError::Twice { entry, addr } => {
                write!(f, "entry {entry}: `{addr}` is in the list twice")
            }
            AddPeersError::Known { entry, addr, target } => {
                write!(f, "entry {entry}: `{addr}` is peer {target} already")
            }
            AddPeersError::NoKey { entry, addr } => {
                write!(f, "entry {entry}: `{addr}` asks for encryption, and this node has no key")
            }
            AddPeersError::TooMany => f.write_str("there are as many peers as the limit allows"),
            AddPeersError::Closed => Closed.fmt(f),
        }
    }
}

impl std::error::Error for AddPeersError {}

/// No peer has this target, or it has ended.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{InetEndpoint, UnknownTarget};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// assert_eq!(endpoint.kick(Some(7.into())), Err(UnknownTarget(7.into())));
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownTarget(
    /// The target.
    pub Target,
);

impl fmt::Display for UnknownTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no peer with target {}", self.0)
    }
}

impl std::error::Error for UnknownTarget {}
