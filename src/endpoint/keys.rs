//! Whose key may come in.

use crate::endpoint::InetEndpoint;
use crate::error::NotEncrypting;
use crate::proto::PublicKey;

impl InetEndpoint {
    /// Lets only nodes with these keys in from now on, and those whose key is pinned by the address
    /// of a peer. Peers that came in with another key, or none, are dropped: a key that is not
    /// allowed any more may be in wrong hands. Peers that this node dials stay.
    ///
    /// # Errors
    ///
    /// [`NotEncrypting`] if the endpoint was given no key of its own.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use netmod_inet::{Encryption, InetEndpoint, KeyPair, PublicKey};
    ///
    /// let encryption = Encryption::new(KeyPair::generate()?);
    /// let endpoint = InetEndpoint::builder().bind("[::1]:0").encrypt(encryption).start().await?;
    /// endpoint.set_allowed_keys([PublicKey::from_bytes([1; 32])])?;
    /// # Ok(()) }) }
    /// ```
    pub fn set_allowed_keys(
        &self,
        keys: impl IntoIterator<Item = PublicKey>,
    ) -> Result<(), NotEncrypting> {
        let trust = self.context().key_policy.as_ref().ok_or(NotEncrypting)?;
        self.context().set_allowed_keys(trust, Some(keys.into_iter().collect()));
        Ok(())
    }

    /// Lets nodes in whatever key they have, and plain ones unless the endpoint requires encryption.
    ///
    /// # Errors
    ///
    /// [`NotEncrypting`] if the endpoint was given no key of its own.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Encryption, InetEndpoint, KeyPair, PublicKey};
    /// let encryption = Encryption::new(KeyPair::generate()?).allow(PublicKey::from_bytes([1; 32]));
    /// let endpoint = InetEndpoint::builder().bind("[::1]:0").encrypt(encryption).start().await?;
    /// endpoint.allow_any_key()?;
    /// # Ok(()) }) }
    /// ```
    pub fn allow_any_key(&self) -> Result<(), NotEncrypting> {
        let trust = self.context().key_policy.as_ref().ok_or(NotEncrypting)?;
        self.context().set_allowed_keys(trust, None);
        Ok(())
    }
}
