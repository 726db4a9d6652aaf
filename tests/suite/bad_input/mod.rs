//! Bad input of every kind against a running endpoint: it gets a clear reason, and after each case
//! the endpoint still serves a good peer.

mod addresses;
mod answers;
mod caller;
mod crowd;
mod garbage;
mod invalid_hello;
mod link;
