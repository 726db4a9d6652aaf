//! What comes in: the reader of a link, and the queue that the router reads.

pub(crate) mod classify;
pub(crate) mod inbound_queue;
pub(crate) mod read_buffer;
pub(crate) mod reader;
pub(crate) mod receive_window;
