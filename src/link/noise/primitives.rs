//! The primitives that Noise is made of, in pure Rust.
//!
//! They are snow's own, which leave keys in memory when they are let go; here keys are wiped.

use std::hint::black_box;

use curve25519_dalek::MontgomeryPoint;
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::{Zeroize, Zeroizing};

use crate::random;

/// Bytes that each message is longer than what it holds.
pub(super) const TAG: usize = 16;

/// Whether the processor has instructions for AES. Without them it is slow, and slower than
/// ChaCha20.
pub(crate) fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq")
    }
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    {
        false
    }
}

/// Hands the primitives out.
pub(super) struct Primitives;

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(System))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::<Curve25519>::default()),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Some(Box::new(Wiped(DefaultResolver.resolve_cipher(choice)?)))
    }
}

/// The system's generator.
struct System;

impl Random for System {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        random::fill(bytes).map_err(|_| Error::Rng)
    }
}

/// A key for Curve25519.
#[derive(Default)]
struct Curve25519 {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Curve25519 {
    fn derive_public(&mut self) {
        self.public = MontgomeryPoint::mul_base_clamped(*self.private).to_bytes();
    }
}

impl Dh for Curve25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        // snow gives it as many bytes as `priv_len` says.
        let len = private.len().min(32);
        self.private[..len].copy_from_slice(&private[..len]);
        self.derive_public();
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        random.try_fill_bytes(&mut *self.private)?;
        self.derive_public();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.private
    }

    /// A key that makes the same secret with everybody is refused.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = public.first_chunk().ok_or(Error::Dh)?;
        let mut shared = MontgomeryPoint(*public).mul_clamped(*self.private);
        let is_nothing = shared.0.iter().fold(0, |all, byte| all | byte) == 0;
        if let Some(out) = out.first_chunk_mut() {
            *out = shared.0;
        }
        shared.zeroize();
        if is_nothing { Err(Error::Dh) } else { Ok(()) }
    }
}

/// A cipher whose key is wiped when it is let go.
struct Wiped(Box<dyn Cipher>);

impl Cipher for Wiped {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0.set(key);
    }

    fn encrypt(&self, nonce: u64, also: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        self.0.encrypt(nonce, also, plain, out)
    }

    fn decrypt(
        &self,
        nonce: u64,
        also: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        self.0.decrypt(nonce, also, sealed, out)
    }

    fn rekey(&mut self) {
        self.0.rekey();
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.set(&[0; 32]);
        // Or it would seem that nobody needs what was just written.
        black_box(&self.0);
    }
}
