//! What keeps secrets out of snow's memory.
//!
//! snow keeps the chaining key, the secrets that two keys make and the network secret in places that
//! it does not wipe. All of these come from the primitives that it is given here, and go back to
//! them: so they are veiled on their way out and unveiled on their way in, and what snow leaves
//! behind says nothing to who has not got the veil, which is wiped.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::primitives::random;

/// A secret, veiled or not.
type Secret = Zeroizing<[u8; 32]>;

/// The veil of one exchange of keys and its link.
#[derive(Clone)]
pub(crate) struct SecretMask(Arc<Shared>);

struct Shared {
    /// What secrets are mixed with. They are random to begin with, so one for all of them will do.
    pad: Secret,
    /// What two keys made last, veiled, until it is used: it comes back in the same way as what is
    /// no secret.
    made: Mutex<Option<Secret>>,
}

impl SecretMask {
    pub(crate) fn new() -> io::Result<SecretMask> {
        let mut pad = Secret::default();
        random::fill(&mut *pad)?;
        Ok(SecretMask(Arc::new(Shared { pad, made: Mutex::default() })))
    }

    pub(crate) fn mask(&self, secret: &[u8; 32]) -> Secret {
        #[cfg(test)]
        crate::transport::noise::zeroize_test::note(secret);
        self.xor(secret)
    }

    pub(crate) fn unmask(&self, veiled: &[u8; 32]) -> Secret {
        self.xor(veiled)
    }

    fn xor(&self, secret: &[u8; 32]) -> Secret {
        let mut turned = Secret::new(*secret);
        turned.iter_mut().zip(self.0.pad.iter()).for_each(|(byte, pad)| *byte ^= pad);
        turned
    }

    /// Veils what two keys made.
    pub(crate) fn mask_dh(&self, secret: &[u8; 32]) -> Secret {
        let veiled = self.mask(secret);
        *self.0.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(veiled.clone());
        veiled
    }

    /// Unveils these bytes if they are what two keys made last.
    pub(crate) fn unmask_dh(&self, bytes: &[u8]) -> Option<Secret> {
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        let veiled = made.take_if(|made| made[..] == *bytes)?;
        Some(self.unmask(&veiled))
    }
}
