//! Why a remote closed or refused a link.

use std::fmt;
use std::time::Duration;

use crate::primitives::clock::whole_millis;
use crate::proto::{CloseRecord, MAX_RETRY_AFTER};

/// Why the remote closed or refused a link, and when to dial it again. Sent only by nodes of this
/// crate.
///
/// ```
/// use netmod_inet::{DownReason, Event};
///
/// fn is_back_soon(event: &Event) -> bool {
///     matches!(event, Event::Down { reason: DownReason::Goodbye(goodbye), .. }
///         if goodbye.retry_after.is_some_and(|time| time.as_secs() < 10))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Goodbye {
    /// The reason.
    pub reason: GoodbyeReason,
    /// How long the remote asks this node to wait before it dials again, if it asked. At most ten
    /// minutes: a longer time is clamped.
    pub retry_after: Option<Duration>,
}

/// The reason why the remote closed or refused a link.
///
/// ```
/// use netmod_inet::{Goodbye, GoodbyeReason};
///
/// fn wants_us(goodbye: &Goodbye) -> bool {
///     !matches!(goodbye.reason, GoodbyeReason::NotAllowed | GoodbyeReason::Removed)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GoodbyeReason {
    /// The remote has reached its limit on peers, or on the memory for peers that it does not know.
    Busy,
    /// The remote's accept policy does not allow this node.
    NotAllowed,
    /// The remote is shutting down.
    ShuttingDown,
    /// The remote removed this node from its peers.
    Removed,
    /// The two nodes already have another link, or are about to have one.
    Duplicate,
    /// The remote closes in response to a goodbye from this node.
    Answered,
    /// The remote accepts encrypted links only.
    NotEncrypted,
    /// A reason code that this version does not know.
    Other(u8),
}

impl GoodbyeReason {
    fn code(self) -> u8 {
        match self {
            GoodbyeReason::Busy => 1,
            GoodbyeReason::NotAllowed => 2,
            GoodbyeReason::ShuttingDown => 3,
            GoodbyeReason::Removed => 4,
            GoodbyeReason::Duplicate => 5,
            GoodbyeReason::Answered => 6,
            GoodbyeReason::NotEncrypted => 7,
            GoodbyeReason::Other(code) => code,
        }
    }
}

impl Goodbye {
    pub(crate) fn new(reason: GoodbyeReason) -> Goodbye {
        Goodbye { reason, retry_after: None }
    }
}

impl From<CloseRecord> for Goodbye {
    fn from(end: CloseRecord) -> Goodbye {
        let reason = match end.reason {
            1 => GoodbyeReason::Busy,
            2 => GoodbyeReason::NotAllowed,
            3 => GoodbyeReason::ShuttingDown,
            4 => GoodbyeReason::Removed,
            5 => GoodbyeReason::Duplicate,
            6 => GoodbyeReason::Answered,
            7 => GoodbyeReason::NotEncrypted,
            code => GoodbyeReason::Other(code),
        };
        let retry_after = Duration::from_millis(end.retry_after_ms.into()).min(MAX_RETRY_AFTER);
        Goodbye { reason, retry_after: Some(retry_after).filter(|time| !time.is_zero()) }
    }
}

impl From<Goodbye> for CloseRecord {
    fn from(goodbye: Goodbye) -> CloseRecord {
        let millis = goodbye.retry_after.map_or(0, whole_millis);
        let retry_after_ms = u32::try_from(millis).unwrap_or(u32::MAX);
        CloseRecord { reason: goodbye.reason.code(), retry_after_ms }
    }
}

impl fmt::Display for Goodbye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            GoodbyeReason::Busy => f.write_str("it has as many peers as it may")?,
            GoodbyeReason::NotAllowed => f.write_str("it does not let this node in")?,
            GoodbyeReason::ShuttingDown => f.write_str("it shuts down")?,
            GoodbyeReason::Removed => f.write_str("it removed this node from its peers")?,
            GoodbyeReason::Duplicate => f.write_str("the two nodes have another link")?,
            GoodbyeReason::Answered => f.write_str("this node sent its goodbye first")?,
            GoodbyeReason::NotEncrypted => f.write_str("it has encrypted links only")?,
            GoodbyeReason::Other(code) => write!(f, "reason {code}")?,
        }
        match self.retry_after {
            Some(time) => write!(f, ", back in {} ms", whole_millis(time)),
            None => Ok(()),
        }
    }
}
