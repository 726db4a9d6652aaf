//! Streams that are encrypted: Noise over another stream.

mod effort;
mod exchange;
mod hash;
mod primitives;
mod reading;
mod spare;
mod stream;
#[cfg(test)]
mod tests;
mod veil;
#[cfg(test)]
mod wiping;
mod writing;

pub(crate) use effort::{HandshakeLimiter, Priority};
pub(crate) use exchange::{AuthError, NoiseHandshake};
pub(crate) use primitives::has_aes;
pub(crate) use spare::NoiseBuffers;
pub(crate) use stream::{NoiseStream, RecordError};
