//! Errors of starting an endpoint.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::config::LimitError;

/// Why an endpoint did not start.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// use netmod_inet::{InetEndpoint, StartError};
///
/// match InetEndpoint::start("nowhere").await {
///     Err(StartError::Address(text)) => assert_eq!(text, "nowhere"),
///     _ => panic!(),
/// }
/// # Ok(()) }) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The text is not a socket address, such as `[::]:9000` or `0.0.0.0:9000`.
    Address(String),
    /// The socket could not be opened: the address is in use, not local, or not permitted.
    Bind {
        /// The address.
        addr: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// A listener or stream passed by the caller could not be used.
    Socket(io::Error),
    /// A limit is outside its valid range.
    Limits(LimitError),
    /// The system provided no randomness for ids.
    Random(io::Error),
    /// More streams were passed than `Limits::peers` allows.
    TooManyStreams,
    /// The spawner dropped every task: its executor is gone.
    ExecutorGone,
}

impl StartError {
    /// Returns whether the cause is that this machine has no IPv6 at all.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::InetEndpoint;
    ///
    /// let endpoint = match InetEndpoint::start("[::]:0").await {
    ///     Err(error) if error.is_ipv6_unavailable() => InetEndpoint::start("0.0.0.0:0").await?,
    ///     started => started?,
    /// };
    /// # Ok(()) }) }
    /// ```
    pub fn is_ipv6_unavailable(&self) -> bool {
        match self {
            StartError::Bind { addr, source } => {
                addr.is_ipv6() && addr.ip().is_unspecified() && lacks_family(source)
            }
            _ => false,
        }
    }
}

/// Returns whether the system lacks the address family, as opposed to the address being in use or
/// refused.
fn lacks_family(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT)
    )
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Address(text) => {
                write!(f, "`{text}` is no address to listen on (write [::]:9000 or 0.0.0.0:9000)")
            }
            StartError::Bind { addr, source } => write!(f, "cannot listen on {addr}: {source}"),
            StartError::Socket(source) => write!(f, "cannot use the socket given: {source}"),
            StartError::Limits(error) => error.fmt(f),
            StartError::Random(source) => write!(f, "cannot make a random router id: {source}"),
            StartError::TooManyStreams => {
                f.write_str("there are more streams than the limit allows")
            }
            StartError::ExecutorGone => f.write_str("the executor is gone"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Bind { source, .. }
            | StartError::Socket(source)
            | StartError::Random(source) => Some(source),
            StartError::Limits(error) => Some(error),
            _ => None,
        }
    }
}
