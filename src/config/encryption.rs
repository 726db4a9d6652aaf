//! The key of this node, and its policy for encrypted links.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::config::{KeyPair, NetworkSecret};
use crate::proto::{Id, PublicKey};

/// The key and encryption policy of an endpoint, for [`Builder::encrypt`](crate::Builder::encrypt).
///
/// By default encryption is opportunistic: links to nodes that support it are encrypted, links to
/// plain nodes are not, and an active attacker on the path can prevent two nodes from encrypting.
/// Each of [`required`](Encryption::required), [`allow`](Encryption::allow),
/// [`network_secret`](Encryption::network_secret), and `key=` in the address of a peer makes
/// encryption mandatory: a link without it is refused.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// use netmod_inet::{Encryption, InetEndpoint, KeyPair};
///
/// let (alices, bobs) = (KeyPair::generate()?, KeyPair::generate()?);
/// let bob_at = |port| format!("127.0.0.1:{port}?key={}", bobs.public());
///
/// let bob = InetEndpoint::builder()
///     .bind("127.0.0.1:0")
///     .encrypt(Encryption::new(bobs.clone()).allow(alices.public()))
///     .start()
///     .await?;
/// let alice = InetEndpoint::builder().encrypt(Encryption::new(alices)).start().await?;
/// alice.add_peers([bob_at(bob.port().unwrap())]).await?;
/// # while alice.peers()[0].key.is_none() {
/// #     smol::Timer::after(std::time::Duration::from_millis(1)).await;
/// # }
/// # alice.shutdown().await; bob.shutdown().await; Ok(()) }) }
/// ```
#[derive(Clone)]
pub struct Encryption {
    pub(crate) keys: KeyPair,
    pub(crate) is_required: bool,
    pub(crate) secret: Option<NetworkSecret>,
    pub(crate) allowed: Option<BTreeSet<PublicKey>>,
    pub(crate) pins: BTreeMap<Id, BTreeSet<PublicKey>>,
}

impl Encryption {
    /// Creates a policy that encrypts links to all nodes that support it, whatever their key.
    ///
    /// ```
    /// # use netmod_inet::{Encryption, KeyPair};
    /// let keys = KeyPair::generate()?;
    /// let encryption = Encryption::new(keys.clone());
    /// assert_eq!(encryption.public(), keys.public());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn new(keys: KeyPair) -> Encryption {
        Encryption { keys, is_required: false, secret: None, allowed: None, pins: BTreeMap::new() }
    }

    /// Refuses unencrypted links, both inbound and outbound.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Encryption, Event, InetEndpoint, KeyPair};
    /// let required = Encryption::new(KeyPair::generate()?).required();
    /// let alice = InetEndpoint::builder().bind("[::1]:0").encrypt(required).start().await?;
    /// let events = alice.events();
    /// let plain = InetEndpoint::start("[::1]:0").await?;
    /// plain.add_peers([format!("[::1]:{}", alice.port().unwrap())]).await?;
    /// while !matches!(events.next().await?, Event::Dropped { .. }) {}
    /// assert!(alice.peers().is_empty(), "there is no inbound peer");
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn required(mut self) -> Encryption {
        self.is_required = true;
        self
    }

    /// Restricts inbound links to nodes with allowed keys: this one, and those of other calls.
    /// Peers whose key is pinned in an address are also accepted. The list can be changed later
    /// with [`InetEndpoint::set_allowed_keys`](crate::InetEndpoint::set_allowed_keys).
    ///
    /// ```
    /// # use netmod_inet::{Encryption, KeyPair, PublicKey};
    /// let [alice, bob] = [[1; 32], [2; 32]].map(PublicKey::from_bytes);
    /// let encryption = Encryption::new(KeyPair::generate()?).allow(alice).allow(bob);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn allow(mut self, key: PublicKey) -> Encryption {
        self.allowed.get_or_insert_default().insert(key);
        self
    }

    /// Restricts links to nodes that have the same secret. Default: none.
    ///
    /// ```
    /// # use netmod_inet::{Encryption, KeyPair, NetworkSecret};
    /// let secret = NetworkSecret::generate()?;
    /// let alice = Encryption::new(KeyPair::generate()?).network_secret(secret.clone());
    /// let bob = Encryption::new(KeyPair::generate()?).network_secret(secret);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn network_secret(mut self, secret: NetworkSecret) -> Encryption {
        self.secret = Some(secret);
        self
    }

    /// Pins a router id to this key: the id is accepted only from a node with this key, or with one
    /// from other calls for the same id.
    ///
    /// Without a pin, a router id is bound to the key of the first peer that claims it, for as long
    /// as that peer exists. A peer whose key is allowed or pinned takes precedence over others, and
    /// one that this node dials over inbound ones.
    ///
    /// ```
    /// # use netmod_inet::{Encryption, Id, KeyPair, PublicKey};
    /// let (alice, her_key) = (Id::from_bytes([7; 32]), PublicKey::from_bytes([1; 32]));
    /// let encryption = Encryption::new(KeyPair::generate()?).pin(alice, her_key);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn pin(mut self, id: Id, key: PublicKey) -> Encryption {
        self.pins.entry(id).or_default().insert(key);
        self
    }

    /// Returns the public key of this node.
    ///
    /// ```
    /// # use netmod_inet::{Encryption, KeyPair};
    /// let encryption = Encryption::new(KeyPair::generate()?);
    /// println!("dial me at mynas.example:9000?key={}", encryption.public());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn public(&self) -> PublicKey {
        self.keys.public()
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption")
            .field("keys", &self.keys)
            .field("is_required", &self.is_required)
            .field("secret", &self.secret)
            .field("allowed", &self.allowed)
            .field("pins", &self.pins)
            .finish()
    }
}
