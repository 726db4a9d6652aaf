//! Connection set-up and supervision: from a socket or an address to an established link, and from
//! one link of a peer to the next.

mod acceptor;
mod connect;
mod dialer;
pub(crate) mod handshake;
mod key_exchange;
mod merge;
mod message_stream;
mod peer_lease;
mod probe;
mod supervisor;
#[cfg(test)]
pub(crate) mod test_support;

pub(crate) use probe::probe;
pub(crate) use supervisor::{handle_stream, start_connection, start_stream};
