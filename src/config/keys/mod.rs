//! Node keys and network secrets, and the files that hold them.

mod file;
mod secret;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use curve25519_dalek::MontgomeryPoint;
use zeroize::Zeroizing;

use crate::proto::{ParseKeyError, PublicKey};

pub use file::{KeyError, KeyFault};
pub(crate) use secret::SecretBytes;
use secret::{random_secret, read_secret};

/// What the secrets in files are for; the first line of a file names it.
const KEY: &str = "the key of a node";
const SECRET: &str = "the secret of a network";

/// The static key pair of a node, which authenticates it on encrypted links.
///
/// Anyone who has the private key can impersonate the node. It is zeroized on drop, and neither
/// `Debug` nor any event or error shows it. Parsed from 64 hexadecimal digits; the only way back to
/// text is [`create`](KeyPair::create), which writes a file.
///
/// ```
/// use netmod_inet::KeyPair;
///
/// let keys = KeyPair::generate()?;
/// println!("others know this node by the key {}", keys.public());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct KeyPair {
    private: SecretBytes,
    public: PublicKey,
}

impl KeyPair {
    /// Generates a new key from the system's random generator.
    ///
    /// # Errors
    ///
    /// The error of the system, if it provides no randomness.
    ///
    /// ```
    /// # use netmod_inet::KeyPair;
    /// assert_ne!(KeyPair::generate()?.public(), KeyPair::generate()?.public());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn generate() -> std::io::Result<KeyPair> {
        random_secret().map(KeyPair::new)
    }

    /// Creates the key pair from its private key: any 32 bytes that nobody can guess.
    ///
    /// ```
    /// # use netmod_inet::KeyPair;
    /// # let kept_elsewhere = || [9; 32];
    /// let keys = KeyPair::from_bytes(kept_elsewhere());
    /// assert_eq!(keys.public(), KeyPair::from_bytes(kept_elsewhere()).public());
    /// ```
    #[must_use]
    pub fn from_bytes(private: [u8; 32]) -> KeyPair {
        KeyPair::new(Zeroizing::new(private))
    }

    fn new(private: SecretBytes) -> KeyPair {
        let public = MontgomeryPoint::mul_base_clamped(*private).to_bytes();
        KeyPair { private, public: PublicKey::from_bytes(public) }
    }

    /// Reads the key from a file written by [`create`](KeyPair::create).
    ///
    /// Blocks the thread on the file system.
    ///
    /// # Errors
    ///
    /// [`KeyError`] with the file and the fault: it cannot be read, others than its owner may read
    /// or write it, it belongs to another user, or it holds no key.
    ///
    /// ```
    /// # use netmod_inet::KeyPair;
    /// # let name = format!("netmod-inet-load-{}.key", std::process::id());
    /// # let path = std::env::temp_dir().join(name);
    /// # let _ = std::fs::remove_file(&path);
    /// let made = KeyPair::create(&path)?;
    /// let keys = KeyPair::load(&path)?;
    /// assert_eq!(keys.public(), made.public());
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<KeyPair, KeyError> {
        file::load(path.as_ref(), KEY).map(KeyPair::new)
    }

    /// Generates a new key and writes it to a new file that only its owner may read.
    ///
    /// Blocks the thread on the file system.
    ///
    /// # Errors
    ///
    /// [`KeyError`] with the file and the fault. An existing file is never overwritten.
    ///
    /// ```
    /// # use netmod_inet::KeyPair;
    /// # let name = format!("netmod-inet-create-{}.key", std::process::id());
    /// # let path = std::env::temp_dir().join(name);
    /// # let _ = std::fs::remove_file(&path);
    /// let keys = KeyPair::create(&path)?;
    /// println!("{} is the key of {}", path.display(), keys.public());
    /// assert!(KeyPair::create(&path).is_err(), "a key is there");
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(path: impl AsRef<Path>) -> Result<KeyPair, KeyError> {
        let path = path.as_ref();
        let keys = KeyPair::generate().map_err(|error| KeyError::io(path, error))?;
        let note = format!("public {}", keys.public);
        file::create(path, &keys.private, KEY, &note)?;
        Ok(keys)
    }

    /// Returns the public key, which other nodes pin or allow.
    ///
    /// ```
    /// # use netmod_inet::KeyPair;
    /// let keys = KeyPair::generate()?;
    /// println!("dial me at mynas.example:9000?key={}", keys.public());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn private(&self) -> &SecretBytes {
        &self.private
    }
}

impl FromStr for KeyPair {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<KeyPair, ParseKeyError> {
        read_secret(text).map(KeyPair::new)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A secret shared by all nodes of one network: 32 bytes that nobody can guess.
///
/// A node with a network secret has links only with nodes that have the same. A node without it
/// learns no key, and costs almost no CPU time. It is not a password: an eavesdropper could mount a
/// dictionary attack on words. Parsed from 64 hexadecimal digits.
///
/// ```
/// use netmod_inet::{Encryption, KeyPair, NetworkSecret};
///
/// let secret: NetworkSecret = NetworkSecret::generate()?;
/// let encryption = Encryption::new(KeyPair::generate()?).network_secret(secret);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct NetworkSecret(SecretBytes);

impl NetworkSecret {
    /// Generates a new secret from the system's random generator.
    ///
    /// # Errors
    ///
    /// The error of the system, if it provides no randomness.
    ///
    /// ```
    /// # use netmod_inet::NetworkSecret;
    /// let secret = NetworkSecret::generate()?;
    /// assert_eq!(format!("{secret:?}"), "NetworkSecret", "nothing shows it");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn generate() -> std::io::Result<NetworkSecret> {
        random_secret().map(NetworkSecret)
    }

    /// Creates the secret from its bytes.
    ///
    /// ```
    /// # use netmod_inet::NetworkSecret;
    /// # let kept_elsewhere = || [7; 32];
    /// let secret = NetworkSecret::from_bytes(kept_elsewhere());
    /// ```
    #[must_use]
    pub fn from_bytes(secret: [u8; 32]) -> NetworkSecret {
        NetworkSecret(Zeroizing::new(secret))
    }

    /// Reads the secret from a file written by [`create`](NetworkSecret::create). Blocks the thread
    /// on the file system.
    ///
    /// # Errors
    ///
    /// The same as those of [`KeyPair::load`].
    ///
    /// ```
    /// # use netmod_inet::{KeyFault, NetworkSecret};
    /// # let name = format!("netmod-inet-load-{}.secret", std::process::id());
    /// # let path = std::env::temp_dir().join(name);
    /// std::fs::write(&path, "1f".repeat(32))?;
    /// let error = NetworkSecret::load(&path).unwrap_err();
    /// assert!(matches!(error.fault(), KeyFault::Permissions(_)), "others may read it");
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<NetworkSecret, KeyError> {
        file::load(path.as_ref(), SECRET).map(NetworkSecret)
    }

    /// Generates a new secret and writes it to a new file that only its owner may read. Blocks the
    /// thread on the file system.
    ///
    /// # Errors
    ///
    /// The same as those of [`KeyPair::create`].
    ///
    /// ```
    /// # use netmod_inet::NetworkSecret;
    /// # let name = format!("netmod-inet-create-{}.secret", std::process::id());
    /// # let path = std::env::temp_dir().join(name);
    /// # let _ = std::fs::remove_file(&path);
    /// NetworkSecret::create(&path)?;
    /// let secret = NetworkSecret::load(&path)?;
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(path: impl AsRef<Path>) -> Result<NetworkSecret, KeyError> {
        let path = path.as_ref();
        let secret = NetworkSecret::generate().map_err(|error| KeyError::io(path, error))?;
        file::create(path, &secret.0, SECRET, "for all of its nodes")?;
        Ok(secret)
    }

    pub(crate) fn bytes(&self) -> &SecretBytes {
        &self.0
    }
}

impl FromStr for NetworkSecret {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<NetworkSecret, ParseKeyError> {
        read_secret(text).map(NetworkSecret)
    }
}

impl fmt::Debug for NetworkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748, 5.2: one iteration from the base point.
    #[test]
    fn the_public_key_is_that_of_the_standard() {
        let mut nine = [0; 32];
        nine[0] = 9;
        let public = KeyPair::from_bytes(nine).public().to_string();
        assert_eq!(public, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let text = "5e".repeat(32);
        let keys: KeyPair = text.parse().unwrap();
        let secret: NetworkSecret = text.parse().unwrap();
        let shown = format!("{keys:?} {keys:#?} {secret:?} {secret:#?}");
        assert!(!shown.contains("5e5e") && !shown.contains("94"), "{shown}");
        assert!(shown.contains(&keys.public().to_string()));
        let error = format!("{0:?} {0}", format!("{text}x").parse::<KeyPair>().unwrap_err());
        assert!(!error.contains("5e"), "{error}");
    }
}
