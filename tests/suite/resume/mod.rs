//! Between two nodes of ours a cut loses nothing, doubles nothing and keeps the order.

pub(crate) mod by_hand;
mod cuts;
pub(crate) mod line;
mod merges;
mod strangers;
mod thief;
