//! Sending: the outbound queue of a peer, and the writer of its link.

pub(crate) mod batch_source;
pub(crate) mod close;
pub(crate) mod control;
pub(crate) mod direct_write;
pub(crate) mod memory_budget;
pub(crate) mod queue;
pub(crate) mod send_buffer;
pub(crate) mod write_batch;
pub(crate) mod writer;
