//! Sending: the outbound queue of a peer, and the writer of its link.
//!
//! The way of an outgoing frame, file by file:
//!
//! 1. `enqueue` takes the frame from the caller, who may wait for queue space.
//! 2. `direct_write` decides who writes it: the writer task, or for a lone frame the caller itself.
//! 3. `queue`, with its `state`, checks the limits and reserves memory in the `memory_budget`.
//! 4. `send_buffer` keeps the frame in a `segment`. Small frames are coalesced.
//!    It waits in one of the `lanes` until the remote has given credit for it, by the rules of
//!    `scheduling`.
//! 5. `batch_source` selects what is written next: `control` extensions, then frames.
//! 6. `write_batch` holds the selection as the slices of one vectored write.
//! 7. `writer` writes the slices to the socket. No other file does.
//! 8. `delivery` records the progress in the queue, which keeps the frame until it is acknowledged.
//!    On a plain link it drops the frame as soon as that is written. `ack_progress` tells a slow
//!    path from a remote that acknowledges nothing.

pub(crate) mod ack_progress;
pub(crate) mod batch_source;
pub(crate) mod control;
pub(crate) mod delivery;
pub(crate) mod direct_write;
pub(crate) mod enqueue;
pub(crate) mod lanes;
pub(crate) mod memory_budget;
pub(crate) mod queue;
pub(crate) mod scheduling;
pub(crate) mod segment;
pub(crate) mod send_buffer;
pub(crate) mod state;
#[cfg(test)]
pub(crate) mod test_support;
pub(crate) mod write_batch;
pub(crate) mod writer;
