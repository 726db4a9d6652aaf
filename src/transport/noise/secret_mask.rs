//! Masking of the secrets that snow holds in memory.
//!
//! snow keeps the chaining key, the Diffie-Hellman outputs and the network secret in memory that it
//! does not wipe. All of these come from the primitives that it is given here, and are passed back
//! to them. So they are masked on the way out and unmasked on the way in: what snow leaves behind
//! reveals nothing without the mask, which is wiped on drop.

use std::io;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::primitives::lock::Mutex;
use crate::primitives::random;

/// A secret, masked or not. Wiped on drop.
type Secret = Zeroizing<[u8; 32]>;

/// The random mask of one handshake and of the link that results from it.
#[derive(Clone)]
pub(crate) struct SecretMask(Arc<Shared>);

struct Shared {
    /// XORed with each secret. The secrets are random themselves, so one mask serves all of them.
    mask: Secret,
    /// The last Diffie-Hellman output, masked, until it is used. snow passes it back through the
    /// same parameter as public data, so it is recognized by its value.
    last_dh: Mutex<Option<Secret>>,
}

impl SecretMask {
    pub(crate) fn new() -> io::Result<SecretMask> {
        let mut mask = Secret::default();
        random::fill(&mut *mask)?;
        Ok(SecretMask(Arc::new(Shared { mask, last_dh: Mutex::default() })))
    }

    pub(crate) fn mask(&self, secret: &[u8; 32]) -> Secret {
        #[cfg(test)]
        crate::transport::noise::zeroize_test::record(secret);
        self.xor(secret)
    }

    pub(crate) fn unmask(&self, masked: &[u8; 32]) -> Secret {
        self.xor(masked)
    }

    fn xor(&self, secret: &[u8; 32]) -> Secret {
        let mut output = Secret::new(*secret);
        output.iter_mut().zip(self.0.mask.iter()).for_each(|(byte, mask)| *byte ^= mask);
        output
    }

    /// Masks a Diffie-Hellman output.
    pub(crate) fn mask_dh(&self, secret: &[u8; 32]) -> Secret {
        let masked = self.mask(secret);
        *self.0.last_dh.lock() = Some(masked.clone());
        masked
    }

    /// Unmasks `bytes` if they are the last Diffie-Hellman output. `None` for anything else.
    pub(crate) fn unmask_dh(&self, bytes: &[u8]) -> Option<Secret> {
        let mut last_dh = self.0.last_dh.lock();
        let masked = last_dh.take_if(|last_dh| last_dh[..] == *bytes)?;
        Some(self.unmask(&masked))
    }
}
