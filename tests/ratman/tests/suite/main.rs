//! The tests of the adapter. Those in `line` know nothing of it but Ratman's trait.

mod blocks;
mod endpoint;
mod hostile;
mod line;
mod names;
mod node;

mod settings;
