//! Stand-ins that a test controls: a stream in memory, a clock, a waker, a source of bytes.

pub(crate) mod byte_source;
pub(crate) mod manual_clock;
pub(crate) mod pipe;
