//! Streams that are encrypted: Noise over another stream.

mod buffers;
mod decrypt;
mod encrypt;
mod handshake;
mod handshake_limiter;
mod masked_hash;
mod primitives;
mod secret_mask;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod zeroize_test;

pub(crate) use buffers::NoiseBuffers;
pub(crate) use handshake::{AuthError, NoiseHandshake};
pub(crate) use handshake_limiter::{HandshakeLimiter, Priority};
pub(crate) use primitives::has_aes;
pub(crate) use stream::{NoiseStream, RecordError};
