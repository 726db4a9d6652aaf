//! Test harnesses, shared by the tests and the fuzz targets of this crate.

pub mod fuzz;
pub(crate) mod kit;
#[cfg(test)]
mod simulator;
