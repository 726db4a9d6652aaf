//! Receiving: the reader of a link, flow control, and the inbound queue of the router.
//!
//! The way of an incoming frame, file by file. The `reader` takes it from step to step:
//!
//! 1. `read_buffer` reads from the socket, and keeps what was not decoded yet. How much a peer may
//!    send is its `receive_window`, a part of the `receive_pool`. What strangers really hold is
//!    bounded by the `stranger_memory`, and `partial_frame` tells how long a link has stayed inside
//!    one frame.
//! 2. `classify` finds a run of whole frames with the same destination.
//! 3. `decode` takes the run from the buffer as a `batch`. Control frames end here.
//! 4. `inbox` holds the batches of one peer, until the router has released them.
//! 5. `inbound_queue` hands out the frames of all inboxes in turn. A frame that is forwarded keeps
//!    its part of the window, by a `permit`, until it is delivered.

pub(crate) mod batch;
pub(crate) mod classify;
pub(crate) mod decode;
pub(crate) mod inbound_queue;
pub(crate) mod inbox;
pub(crate) mod partial_frame;
pub(crate) mod permit;
pub(crate) mod read_buffer;
pub(crate) mod reader;
pub(crate) mod receive_pool;
pub(crate) mod receive_window;
pub(crate) mod stranger_memory;
#[cfg(test)]
pub(crate) mod test_support;
