//! Forwards events to the `log` facade, with the feature `log`.

use crate::events::Event;

/// Logs an event, if the feature is enabled.
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
