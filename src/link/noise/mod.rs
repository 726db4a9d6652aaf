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

pub(crate) use effort::{Effort, Urgency};
pub(crate) use exchange::{Exchange, NotAuthentic};
pub(crate) use primitives::has_aes;
pub(crate) use spare::Spare;
pub(crate) use stream::{Encrypted, Fault};
