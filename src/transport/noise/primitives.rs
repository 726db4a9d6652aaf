//! The cryptographic primitives of Noise, in pure Rust.
//!
//! Ciphers and hash are snow's own, which leave keys in memory when dropped; these wrappers wipe
//! them. What remains are short-lived copies on the stack, until they are overwritten.

use std::hint::black_box;
use std::io;

use curve25519_dalek::MontgomeryPoint;
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::{Zeroize, Zeroizing};

use crate::primitives::random;
use crate::transport::noise::masked_hash::MaskedHash;
use crate::transport::noise::secret_mask::SecretMask;

/// Size of the authentication tag of each record, in bytes.
pub(crate) const TAG: usize = 16;

/// Whether the processor has AES instructions. Without them AES-GCM is slower than
/// ChaCha20-Poly1305.
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

/// Provides snow with the primitives of one handshake.
pub(crate) struct SnowResolver(SecretMask);

impl SnowResolver {
    pub(crate) fn new() -> io::Result<SnowResolver> {
        SecretMask::new().map(SnowResolver)
    }

    /// Masks a network secret, in the form in which snow expects it here.
    pub(crate) fn masked(&self, secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        self.0.mask(secret)
    }
}

impl CryptoResolver for SnowResolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OsRng))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(Curve25519::new(self.0.clone()))),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        // The masked key derivation is written for BLAKE2s.
        match choice {
            HashChoice::Blake2s => {
                let hash = DefaultResolver.resolve_hash(choice)?;
                Some(Box::new(MaskedHash::new(hash, self.0.clone())))
            }
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        let cipher = DefaultResolver.resolve_cipher(choice)?;
        Some(Box::new(ZeroizingCipher { cipher, mask: self.0.clone() }))
    }
}

/// The random number generator of the operating system.
struct OsRng;

impl Random for OsRng {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        random::fill(bytes).map_err(|_| Error::Rng)
    }
}

/// A Curve25519 key pair.
struct Curve25519 {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
    mask: SecretMask,
}

impl Curve25519 {
    fn new(mask: SecretMask) -> Curve25519 {
        Curve25519 { private: Zeroizing::default(), public: [0; 32], mask }
    }

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
        // snow passes `priv_len` bytes.
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

    /// Fails for low-order public keys, which yield the same shared secret with every key.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = public.first_chunk().ok_or(Error::Dh)?;
        let mut shared = MontgomeryPoint(*public).mul_clamped(*self.private);
        let is_zero = shared.0.iter().fold(0, |all, byte| all | byte) == 0;
        if let Some(out) = out.first_chunk_mut() {
            *out = *self.mask.mask_dh(&shared.0);
        }
        shared.zeroize();
        if is_zero { Err(Error::Dh) } else { Ok(()) }
    }
}

/// A cipher that takes masked keys, and is wiped on drop.
struct ZeroizingCipher {
    cipher: Box<dyn Cipher>,
    mask: SecretMask,
}

impl Cipher for ZeroizingCipher {
    fn name(&self) -> &'static str {
        self.cipher.name()
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.cipher.set(&self.mask.unmask(key));
    }

    fn encrypt(&self, nonce: u64, associated: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        self.cipher.encrypt(nonce, associated, plaintext, out)
    }

    fn decrypt(
        &self,
        nonce: u64,
        associated: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        self.cipher.decrypt(nonce, associated, ciphertext, out)
    }

    /// Rekeys as specified by Noise, like snow's default.
    fn rekey(&mut self) {
        let mut ciphertext = Zeroizing::new([0; 32 + TAG]);
        self.cipher.encrypt(u64::MAX, &[], &[0; 32], &mut *ciphertext);
        if let Some(key) = ciphertext.first_chunk() {
            self.cipher.set(key);
        }
    }
}

impl Drop for ZeroizingCipher {
    fn drop(&mut self) {
        self.cipher.set(&[0; 32]);
        // Keeps the compiler from eliminating the write above.
        black_box(&self.cipher);
    }
}
