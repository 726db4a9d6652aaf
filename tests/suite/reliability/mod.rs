//! Links that hold: what is measured of it, each by a short run that always happens.
//!
//! Environment variables make the runs as long as anybody likes; each test names its own, and
//! prints its figure in one line (`cargo test --release reliability -- --nocapture`).

mod both_send;
#[cfg(feature = "node")]
mod cable;
mod closing;
mod dead_address;
mod descriptors;
pub(crate) mod figures;
mod goodbye;
mod half_open;
mod lossy;
#[cfg(feature = "node")]
mod names;
mod network;
mod overhead;
mod probing;
pub(crate) mod process;
mod segments;
mod silent;
mod stalled;
mod tunnel;
