//! The bytes of a secret.

use std::io;

use zeroize::Zeroizing;

use crate::primitives::random;
use crate::proto::{ParseKeyError, read_digits};

/// The bytes of a secret, zeroized on drop.
pub(crate) type SecretBytes = Zeroizing<[u8; 32]>;

/// Generates a secret.
pub(crate) fn random_secret() -> io::Result<SecretBytes> {
    let mut secret = SecretBytes::default();
    random::fill(&mut *secret)?;
    Ok(secret)
}

/// Parses a secret from its hexadecimal digits.
pub(crate) fn read_secret(text: &str) -> Result<SecretBytes, ParseKeyError> {
    let mut secret = SecretBytes::default();
    read_digits(text, &mut secret).map(|()| secret)
}
