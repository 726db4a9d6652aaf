//! The secret of a session, and the MACs that prove knowledge of it.
//!
//! In their first handshake dialer and listener contribute 128 random bits each. The secret is
//! derived from both and never sent. Later handshakes prove it by a MAC over both nonces and the
//! role: nobody who did not see the first handshake can impersonate either node, and no proof can
//! be replayed. An eavesdropper on the first handshake sees the contributions; only encryption
//! protects against that.
//!
//! Both the MAC and the derivation of the secret are SipHash-2-4 with 128 bits of output.

use std::fmt;

use siphasher::sip128::SipHasher24;

/// 128 random bits from the system's generator.
pub(crate) type Bits = [u8; 16];

/// The role of a node in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Dialer,
    Listener,
}

/// The secret of a session.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SessionSecret(Bits);

impl SessionSecret {
    /// Derives the secret of a session from the contributions of its dialer and its listener.
    pub(crate) fn new(dialer: &Bits, listener: &Bits) -> SessionSecret {
        SessionSecret(mac(dialer, &[b"netmod-inet pair secret", listener]))
    }

    /// The name of the session, which may be sent in the clear.
    pub(crate) fn public_name(&self) -> [u8; 8] {
        let name = mac(&self.0, &[b"netmod-inet pair name"]);
        let mut short = [0; 8];
        short.copy_from_slice(&name[..8]);
        short
    }

    /// The proof of `role` in the handshake with these nonces.
    pub(crate) fn proof(&self, role: Role, dialer: &Bits, listener: &Bits) -> Bits {
        let role: &[u8] = match role {
            Role::Dialer => b"netmod-inet proof of the dialer",
            Role::Listener => b"netmod-inet proof of the listener",
        };
        mac(&self.0, &[role, dialer, listener])
    }

    /// The MAC by which the instance `boot` proves, over a link of the session called `other`, that
    /// it is an end of this session too.
    pub(crate) fn duplicate_mac(&self, boot: &Bits, other: &[u8; 8]) -> Bits {
        mac(&self.0, &[b"netmod-inet same node", boot, other])
    }

    /// The MAC by which the instance `boot` requests that this session be merged into the one
    /// called `stays`.
    ///
    /// A node in the middle that relayed a handshake, and so has a session with both ends, cannot
    /// compute it.
    pub(crate) fn merge_mac(&self, boot: &Bits, stays: &[u8; 8], received: u64) -> Bits {
        mac(&self.0, &[b"netmod-inet merge", boot, stays, &received.to_be_bytes()])
    }

    /// Checks the proof of `role` in constant time.
    pub(crate) fn verify(&self, shown: &Bits, role: Role, dialer: &Bits, listener: &Bits) -> bool {
        let due = self.proof(role, dialer, listener);
        due.iter().zip(shown).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairSecret")
    }
}

/// SipHash-2-4-128 of the concatenated parts.
fn mac(key: &Bits, parts: &[&[u8]]) -> Bits {
    SipHasher24::new_with_key(key).hash(&parts.concat()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation of SipHash: `vectors_sip128`, key 00..0f, inputs of
    /// 0, 1 and 15 bytes 00, 01, ….
    #[test]
    fn published_vectors_of_the_mac() {
        let key = std::array::from_fn(|at| at as u8);
        let input: Vec<u8> = (0..15).collect();
        for (len, expected) in [
            (0, "a3817f04ba25a8e66df67214c7550293"),
            (1, "da87c1d86b99af44347659119b22fc45"),
            (15, "5493e99933b0a8117e08ec0f97cfc3d9"),
        ] {
            let found: String =
                mac(&key, &[&input[..len]]).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, expected, "{len} bytes");
        }
    }

    #[test]
    fn a_proof_is_good_for_one_role_one_pair_and_one_handshake() {
        let secret = SessionSecret::new(&[1; 16], &[2; 16]);
        let proof = secret.proof(Role::Dialer, &[3; 16], &[4; 16]);
        assert!(secret.verify(&proof, Role::Dialer, &[3; 16], &[4; 16]));
        assert!(!secret.verify(&proof, Role::Listener, &[3; 16], &[4; 16]));
        assert!(!secret.verify(&proof, Role::Dialer, &[4; 16], &[3; 16]));
        assert!(!secret.verify(&proof, Role::Dialer, &[3; 16], &[5; 16]));
        let other = SessionSecret::new(&[2; 16], &[1; 16]);
        assert!(!other.verify(&proof, Role::Dialer, &[3; 16], &[4; 16]));
        assert_ne!(secret.public_name(), other.public_name());
    }
}
