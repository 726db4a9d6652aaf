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

use crate::proto::session_values::{InstanceId, KeyShare, Nonce, Proof, SessionName};

/// The role of a node in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Dialer,
    Listener,
}

/// The secret of a session.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SessionSecret([u8; 16]);

impl SessionSecret {
    /// Derives the secret of a session from the key shares of its dialer and its listener.
    pub(crate) fn new(dialer: &KeyShare, listener: &KeyShare) -> SessionSecret {
        let parts: [&[u8]; 2] = [b"netmod-inet pair secret", listener.as_bytes()];
        SessionSecret(mac(dialer.as_bytes(), &parts))
    }

    /// The name of the session, which may be sent in the clear.
    pub(crate) fn public_name(&self) -> SessionName {
        let [a, b, c, d, e, f, g, h, ..] = mac(&self.0, &[b"netmod-inet pair name"]);
        [a, b, c, d, e, f, g, h].into()
    }

    /// The proof of `role` in the handshake with these nonces.
    pub(crate) fn proof(&self, role: Role, dialer: &Nonce, listener: &Nonce) -> Proof {
        let role: &[u8] = match role {
            Role::Dialer => b"netmod-inet proof of the dialer",
            Role::Listener => b"netmod-inet proof of the listener",
        };
        mac(&self.0, &[role, dialer.as_bytes(), listener.as_bytes()]).into()
    }

    /// The MAC by which the node `instance` proves, over a link of the session called `other`, that
    /// it is an end of this session too.
    pub(crate) fn duplicate_mac(&self, instance: &InstanceId, other: &SessionName) -> Proof {
        let parts: [&[u8]; 3] = [b"netmod-inet same node", instance.as_bytes(), other.as_bytes()];
        mac(&self.0, &parts).into()
    }

    /// The MAC by which the node `instance` requests that this session be merged into the one
    /// called `stays`.
    ///
    /// A node in the middle that relayed a handshake, and so has a session with both ends, cannot
    /// compute it.
    pub(crate) fn merge_mac(
        &self,
        instance: &InstanceId,
        stays: &SessionName,
        received: u64,
    ) -> Proof {
        let parts: [&[u8]; 4] =
            [b"netmod-inet merge", instance.as_bytes(), stays.as_bytes(), &received.to_be_bytes()];
        mac(&self.0, &parts).into()
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret")
    }
}

/// SipHash-2-4-128 of the concatenated parts.
fn mac(key: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
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
    fn a_proof_is_valid_for_one_role_one_session_and_one_handshake() {
        let nonce = |byte| Nonce::from([byte; 16]);
        let new = |dialer, listener| {
            SessionSecret::new(&KeyShare::from([dialer; 16]), &KeyShare::from([listener; 16]))
        };
        let (secret, other) = (new(1, 2), new(2, 1));
        let proof = secret.proof(Role::Dialer, &nonce(3), &nonce(4));
        assert_eq!(secret.proof(Role::Dialer, &nonce(3), &nonce(4)), proof);
        for invalid in [
            secret.proof(Role::Listener, &nonce(3), &nonce(4)),
            secret.proof(Role::Dialer, &nonce(4), &nonce(3)),
            secret.proof(Role::Dialer, &nonce(3), &nonce(5)),
            other.proof(Role::Dialer, &nonce(3), &nonce(4)),
        ] {
            assert_ne!(invalid, proof);
        }
        assert_ne!(secret.public_name(), other.public_name());
    }

    #[test]
    fn proofs_differ_if_any_byte_does() {
        for at in 0..16 {
            let mut bytes = [7; 16];
            bytes[at] = 6;
            assert_ne!(Proof::from(bytes), Proof::from([7; 16]));
        }
    }
}
