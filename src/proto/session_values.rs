//! The fixed-length values of a handshake: one type for each meaning.

use std::array::TryFromSliceError;

/// Defines newtypes over byte arrays.
macro_rules! byte_arrays {
    ($($(#[$meta:meta])+ $name:ident: $len:literal;)+) => {$(
        $(#[$meta])+
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name([u8; $len]);

        impl $name {
            pub(crate) fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> $name {
                $name(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = TryFromSliceError;

            fn try_from(bytes: &[u8]) -> Result<$name, TryFromSliceError> {
                bytes.try_into().map($name)
            }
        }
    )+};
}

byte_arrays! {
    /// Identifies one run of a node: 128 random bits, drawn when it starts.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    InstanceId: 16;

    /// Binds the proofs of a handshake to it: 128 random bits, drawn for each handshake.
    #[derive(Default, PartialEq, Eq)]
    Nonce: 16;

    /// A node's half of a new session secret: 128 random bits.
    #[derive(Default, PartialEq, Eq)]
    KeyShare: 16;

    /// A MAC under a session secret. Compared in constant time.
    #[derive(Eq)]
    Proof: 16;

    /// The public name of a session, derived from its secret.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    SessionName: 8;
}

impl SessionName {
    /// The name that sorts before all others.
    pub(crate) const MIN: SessionName = SessionName([0; 8]);
}

impl PartialEq for Proof {
    fn eq(&self, other: &Proof) -> bool {
        // No early exit: the time must not tell how many of the bytes are right.
        self.0.iter().zip(&other.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}
