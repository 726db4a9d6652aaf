//! Configuration: limits, accept policy, keys, resolver, executor.

mod accept_policy;
#[cfg(feature = "noise")]
mod encryption;
#[cfg(feature = "noise")]
mod keys;
mod limits;
mod resolver;
mod router_id;
mod spawn;

pub use accept_policy::{AcceptPolicy, Incoming, IpRange, ParseIpRangeError};
#[cfg(feature = "noise")]
pub use encryption::Encryption;
#[cfg(feature = "noise")]
pub use keys::{KeyError, KeyFault, KeyPair, NetworkSecret};
pub use limits::{LimitError, Limits};
pub use resolver::{PoolResolver, Resolve, ResolveFuture};
pub use spawn::{Spawn, Task};

pub(crate) use resolver::SystemResolver;
pub(crate) use spawn::Global;
