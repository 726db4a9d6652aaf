//! Between two nodes of ours a cut loses nothing, doubles nothing and keeps the order.

pub(crate) mod by_hand;
mod cuts;
mod hijack;
mod merges;
pub(crate) mod proxy;
mod strangers;
