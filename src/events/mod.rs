//! Events: what changed in an endpoint, and why.

mod bus;
mod event;
mod log;
mod rate_limiter;
mod subscription;

pub use event::Event;
pub use subscription::Events;

pub(crate) use bus::EventBus;
