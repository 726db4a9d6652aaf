//! Encrypted streams: Noise over another stream.

mod buffers;
mod cipher_state;
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
pub(crate) use cipher_state::RecordError;
pub(crate) use handshake::{AuthError, NoiseHandshake};
pub(crate) use handshake_limiter::{HandshakeLimiter, Priority};
pub(crate) use primitives::has_aes;
pub(crate) use stream::NoiseStream;
