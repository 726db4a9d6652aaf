//! Test doubles: an in-memory duplex stream, a manual clock, a waker, a byte source.

pub(crate) mod byte_source;
pub(crate) mod manual_clock;
pub(crate) mod pipe;
