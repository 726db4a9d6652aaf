//! The hash function, and the key derivation built on it.

use snow::types::Hash;
use zeroize::Zeroizing;

use crate::transport::noise::secret_mask::SecretMask;

/// Block and output size of BLAKE2s, in bytes.
const BLOCK: usize = 64;
const HASH: usize = 32;

type Digest = Zeroizing<[u8; HASH]>;

/// BLAKE2s with an HKDF that returns masked keys and wipes its intermediate values.
pub(crate) struct MaskedHash {
    hash: Box<dyn Hash>,
    mask: SecretMask,
    /// Whether the next chaining key is the first. It is the protocol name; later ones are masked.
    is_first: bool,
}

impl MaskedHash {
    pub(crate) fn new(hash: Box<dyn Hash>, mask: SecretMask) -> MaskedHash {
        MaskedHash { hash, mask, is_first: true }
    }

    fn chaining_key(&mut self, key: &[u8]) -> Digest {
        let mut chaining = Digest::default();
        copy(key, &mut *chaining);
        match std::mem::take(&mut self.is_first) {
            true => chaining,
            false => self.mask.unmask(&chaining),
        }
    }

    fn hmac(&mut self, key: &Digest, inputs: [&[u8]; 2]) -> Digest {
        let padded = |pad: u8| {
            let mut block = Zeroizing::new([pad; BLOCK]);
            block.iter_mut().zip(key.iter()).for_each(|(byte, key)| *byte ^= key);
            block
        };
        let mut digest = Digest::default();
        self.hash.reset();
        self.hash.input(&*padded(0x36));
        inputs.into_iter().for_each(|input| self.hash.input(input));
        self.hash.result(&mut *digest);
        self.hash.reset();
        self.hash.input(&*padded(0x5c));
        self.hash.input(&*digest);
        self.hash.result(&mut *digest);
        digest
    }
}

impl Hash for MaskedHash {
    fn name(&self) -> &'static str {
        self.hash.name()
    }

    fn block_len(&self) -> usize {
        self.hash.block_len()
    }

    fn hash_len(&self) -> usize {
        self.hash.hash_len()
    }

    fn reset(&mut self) {
        self.hash.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.hash.input(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        self.hash.result(out);
    }

    /// HKDF as specified by Noise. Of three outputs the second is mixed into the hash, so it stays
    /// unmasked. All others are keys.
    fn hkdf(
        &mut self,
        chaining_key: &[u8],
        material: &[u8],
        outputs: usize,
        out1: &mut [u8],
        out2: &mut [u8],
        out3: &mut [u8],
    ) {
        let chaining = self.chaining_key(chaining_key);
        let unmasked = match material.first_chunk() {
            // The network secret: only its derivation has three outputs.
            Some(masked) if outputs == 3 => Some(self.mask.unmask(masked)),
            _ => self.mask.unmask_dh(material),
        };
        let material = unmasked.as_ref().map_or(material, |unmasked| &unmasked[..]);
        let key = self.hmac(&chaining, [material, &[]]);
        let first = self.hmac(&key, [&[], &[1]]);
        let second = self.hmac(&key, [&*first, &[2]]);
        copy(&*self.mask.mask(&first), out1);
        match outputs {
            3 => {
                let third = self.hmac(&key, [&*second, &[3]]);
                copy(&*second, out2);
                copy(&*self.mask.mask(&third), out3);
            }
            _ => copy(&*self.mask.mask(&second), out2),
        }
        // The hash state retains its last input, so overwrite it.
        self.hash.reset();
        self.hash.input(&[0; 2 * BLOCK]);
        self.hash.result(&mut [0; BLOCK]);
        self.hash.reset();
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    let len = from.len().min(to.len());
    to[..len].copy_from_slice(&from[..len]);
}
