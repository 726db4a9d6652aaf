//! Between two nodes of ours a cut loses nothing, doubles nothing and keeps the order.

mod cuts;
mod line;
mod merges;
mod strangers;
