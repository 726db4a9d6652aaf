//! The `log` feature, in one place.

use crate::events::Event;

/// Writes an event to the log, if the feature is on.
#[cfg(feature = "log")]
pub(crate) fn event(event: &Event) {
    let level = match event {
        Event::AcceptFailed { .. } | Event::Missed { .. } => log::Level::Warn,
        Event::Dropped { .. } | Event::Attempt { .. } => log::Level::Debug,
        _ => log::Level::Info,
    };
    log::log!(target: "netmod_inet", level, "{event}");
}

#[cfg(not(feature = "log"))]
pub(crate) fn event(_: &Event) {}
