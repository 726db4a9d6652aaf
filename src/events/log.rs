//! Forwards events to the `log` facade, with the feature `log`.

use crate::events::event::Event;
#[cfg(feature = "log")]
use crate::primitives::callback::catch_panic;

/// Logs an event, if the feature is enabled.
#[cfg(feature = "log")]
pub(crate) fn event(event: &Event) {
    let level = match event {
        Event::SpawnFailed => log::Level::Error,
        Event::AcceptFailed { .. } | Event::Missed { .. } => log::Level::Warn,
        Event::Dropped { .. } | Event::Attempt { .. } => log::Level::Debug,
        _ => log::Level::Info,
    };
    // A logger that panics loses this line. Who subscribes to events still gets it.
    let _ = catch_panic(|| log::log!(target: "netmod_inet", level, "{event}"));
}

#[cfg(not(feature = "log"))]
pub(crate) fn event(_: &Event) {}

#[cfg(all(test, feature = "log"))]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static PANICS: Cell<bool> = const { Cell::new(false) };
    }

    /// Panics on the threads that ask for it, and logs nothing on others.
    struct Panicking;

    impl log::Log for Panicking {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            PANICS.get()
        }

        fn log(&self, _: &log::Record<'_>) {
            assert!(!PANICS.get(), "on purpose: the logger");
        }

        fn flush(&self) {}
    }

    #[test]
    fn a_panicking_logger_loses_a_line() {
        log::set_logger(&Panicking).expect("no other logger");
        log::set_max_level(log::LevelFilter::Trace);
        PANICS.set(true);
        event(&Event::Stopped);
        PANICS.set(false);
    }
}
