//! Harnesses: what tests and fuzz targets of this crate share.

pub mod fuzz;
pub(crate) mod kit;
#[cfg(test)]
mod simulator;
