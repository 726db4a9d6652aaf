use std::fmt;
use std::time::Duration;

use crate::proto::{End, LONGEST_RETRY_AFTER};
use crate::timer::whole_millis;

/// Why the other side closes or refuses a link, and when to come back. Only nodes of this crate
/// say so.
///
/// ```
/// use netmod_inet::{DownReason, Event};
///
/// fn is_back_soon(event: &Event) -> bool {
///     matches!(event, Event::Down { reason: DownReason::Farewell(farewell), .. }
///         if farewell.retry_after.is_some_and(|time| time.as_secs() < 10))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Farewell {
    /// Why.
    pub reason: FarewellReason,
    /// How long to stay away, if it said so. It is obeyed up to ten minutes.
    pub retry_after: Option<Duration>,
}

/// Why the other side closes or refuses a link.
///
/// ```
/// use netmod_inet::{Farewell, FarewellReason};
///
/// fn wants_us(farewell: &Farewell) -> bool {
///     !matches!(farewell.reason, FarewellReason::NotAllowed | FarewellReason::Removed)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FarewellReason {
    /// It has as many peers as it may.
    Busy,
    /// Its accept policy does not let this node in.
    NotAllowed,
    /// It shuts down.
    ShuttingDown,
    /// It removed this node from its peers.
    Removed,
    /// The two nodes have another link, or are about to.
    Duplicate,
    /// It closes because this node said goodbye.
    Answered,
    /// It has encrypted links only.
    NotEncrypted,
    /// Something that this version does not know.
    Other(u8),
}

impl FarewellReason {
    fn code(self) -> u8 {
        match self {
            FarewellReason::Busy => 1,
            FarewellReason::NotAllowed => 2,
            FarewellReason::ShuttingDown => 3,
            FarewellReason::Removed => 4,
            FarewellReason::Duplicate => 5,
            FarewellReason::Answered => 6,
            FarewellReason::NotEncrypted => 7,
            FarewellReason::Other(code) => code,
        }
    }
}

impl Farewell {
    pub(crate) fn new(reason: FarewellReason) -> Farewell {
        Farewell { reason, retry_after: None }
    }
}

impl From<End> for Farewell {
    fn from(end: End) -> Farewell {
        let reason = match end.reason {
            1 => FarewellReason::Busy,
            2 => FarewellReason::NotAllowed,
            3 => FarewellReason::ShuttingDown,
            4 => FarewellReason::Removed,
            5 => FarewellReason::Duplicate,
            6 => FarewellReason::Answered,
            7 => FarewellReason::NotEncrypted,
            code => FarewellReason::Other(code),
        };
        let retry_after = Duration::from_millis(end.retry_after_ms.into()).min(LONGEST_RETRY_AFTER);
        Farewell { reason, retry_after: Some(retry_after).filter(|time| !time.is_zero()) }
    }
}

impl From<Farewell> for End {
    fn from(farewell: Farewell) -> End {
        let millis = farewell.retry_after.map_or(0, whole_millis);
        let retry_after_ms = u32::try_from(millis).unwrap_or(u32::MAX);
        End { reason: farewell.reason.code(), retry_after_ms }
    }
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            FarewellReason::Busy => f.write_str("it has as many peers as it may")?,
            FarewellReason::NotAllowed => f.write_str("it does not let this node in")?,
            FarewellReason::ShuttingDown => f.write_str("it shuts down")?,
            FarewellReason::Removed => f.write_str("it removed this node from its peers")?,
            FarewellReason::Duplicate => f.write_str("the two nodes have another link")?,
            FarewellReason::Answered => f.write_str("this node said so first")?,
            FarewellReason::NotEncrypted => f.write_str("it has encrypted links only")?,
            FarewellReason::Other(code) => write!(f, "reason {code}")?,
        }
        match self.retry_after {
            Some(time) => write!(f, ", back in {} ms", whole_millis(time)),
            None => Ok(()),
        }
    }
}
