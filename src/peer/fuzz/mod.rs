//! The receive loop, and two peers with all that they keep, driven by bytes.

mod session;
mod stream;

pub(crate) use session::session;
pub(crate) use stream::stream;
