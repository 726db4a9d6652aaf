//! Receiving: the reader of a link, flow control, and the inbound queue of the router.

pub(crate) mod classify;
pub(crate) mod inbound_queue;
pub(crate) mod read_buffer;
pub(crate) mod reader;
pub(crate) mod receive_window;
