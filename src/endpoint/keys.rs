//! Changing the list of allowed keys.

use crate::endpoint::InetEndpoint;
use crate::error::NotEncrypting;
use crate::proto::PublicKey;

impl InetEndpoint {
    /// Restricts inbound peers to nodes with these keys, and to those whose key is pinned in the
    /// address of a peer. Existing inbound peers with another key, or none, are dropped, since a
    /// key that is no longer allowed may be compromised. Peers that this node dials stay.
    ///
    /// # Errors
    ///
    /// [`NotEncrypting`] if the endpoint has no key of its own.
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
        let policy = self.shared().key_policy.as_ref().ok_or(NotEncrypting)?;
        self.shared().set_allowed_keys(policy, Some(keys.into_iter().collect()));
        Ok(())
    }

    /// Accepts nodes with any key, and plain ones unless the endpoint requires encryption.
    ///
    /// # Errors
    ///
    /// [`NotEncrypting`] if the endpoint has no key of its own.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Encryption, InetEndpoint, KeyPair, PublicKey};
    /// let allowed = PublicKey::from_bytes([1; 32]);
    /// let encryption = Encryption::new(KeyPair::generate()?).allow(allowed);
    /// let endpoint = InetEndpoint::builder().bind("[::1]:0").encrypt(encryption).start().await?;
    /// endpoint.allow_any_key()?;
    /// # Ok(()) }) }
    /// ```
    pub fn allow_any_key(&self) -> Result<(), NotEncrypting> {
        let policy = self.shared().key_policy.as_ref().ok_or(NotEncrypting)?;
        self.shared().set_allowed_keys(policy, None);
        Ok(())
    }
}
