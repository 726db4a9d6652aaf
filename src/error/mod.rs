//! Error types, one per operation.

mod goodbye;
mod handshake;
mod link;
mod peers;
mod send;
mod start;

use std::fmt;

pub use goodbye::{Goodbye, GoodbyeReason};
pub use handshake::{AttemptError, HandshakeError};
pub use link::{DownReason, DropReason};
pub use peers::{AddPeersError, UnknownTarget};
pub use send::{SendError, SendErrorKind};
pub use start::StartError;

/// The endpoint has no key to encrypt with.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// use netmod_inet::{InetEndpoint, NotEncrypting};
///
/// let plain = InetEndpoint::start("[::1]:0").await?;
/// assert!(matches!(plain.allow_any_key(), Err(NotEncrypting)));
/// # Ok(()) }) }
/// ```
#[cfg(feature = "noise")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotEncrypting;

#[cfg(feature = "noise")]
impl fmt::Display for NotEncrypting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the endpoint has no key, and encrypts nothing")
    }
}

#[cfg(feature = "noise")]
impl std::error::Error for NotEncrypting {}

/// The endpoint was shut down, or its executor is gone.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{Closed, InetEndpoint};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// endpoint.shutdown().await;
/// assert_eq!(endpoint.next().await, Err(Closed));
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the endpoint is closed")
    }
}

impl std::error::Error for Closed {}
