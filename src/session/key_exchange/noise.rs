//! The Noise key exchange of a handshake, and the admission rules that depend on a key.
//!
//! The wire format is documented in `proto::noise`.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::{DropReason, Goodbye, GoodbyeReason, HandshakeError};
use crate::peer::Peer;
use crate::proto::{Capabilities, Hello, Id, KeyExchange, PublicKey, Role, Suite};
use crate::session::handshake::{Handshake, RemoteExtension};
use crate::shared::key_policy::KeyPolicy;
use crate::shared::{Shared, TaskRef};
use crate::transport::{AuthError, Link, NoiseHandshake, NoiseStream, Priority};

/// The encryption state of one handshake.
pub(crate) struct Encryption<'a> {
    trust: Option<&'a KeyPolicy>,
    /// The keys of which the remote node must have one. Empty if any will do.
    keys: &'a [PublicKey],
    /// Whether the remote node is expected, as far as this can be known before the key exchange.
    is_expected: bool,
    /// Hello and Ack as sent over the wire, until the key exchange takes them as its prologue.
    transcript: Vec<u8>,
    /// The encrypted stream and the remote key, once the key exchange is complete.
    encrypted: Option<(Arc<NoiseStream>, PublicKey)>,
}

impl<'a> Encryption<'a> {
    pub(crate) fn new(context: Option<&'a Shared>, keys: &'a [PublicKey]) -> Encryption<'a> {
        let trust = context.and_then(|context| context.key_policy.as_ref());
        Encryption { trust, keys, is_expected: false, transcript: Vec::new(), encrypted: None }
    }

    /// Gives an inbound handshake priority if it comes from an address that this node dials, or
    /// claims to be a peer that this node dials or trusts.
    pub(crate) fn mark_expected(
        &mut self,
        running: &TaskRef,
        known: Option<&Peer>,
        addr: SocketAddr,
    ) {
        self.is_expected = self.trust.is_some_and(|trust| {
            let is_known = known.is_some_and(|peer| !running.is_unknown(trust, peer));
            is_known || running.is_configured(addr.ip())
        });
    }

    /// The priority of a handshake step: `otherwise`, unless the remote node is expected.
    fn priority(&self, otherwise: Priority) -> Priority {
        if self.is_expected { Priority::Expected } else { otherwise }
    }

    /// The encryption capabilities of this node, as encoded in the extension.
    pub(crate) fn capabilities(&self) -> Option<u8> {
        self.trust.map(|trust| trust.capabilities().bits())
    }

    /// The key that the remote node has authenticated with.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.encrypted.as_ref().map(|(_, key)| *key)
    }

    /// Appends a plaintext message, sent or received before the key exchange, to the transcript.
    pub(crate) fn record_transcript(&mut self, message: &[u8]) {
        if self.trust.is_some() && self.encrypted.is_none() {
            self.transcript.extend_from_slice(message);
        }
    }

    /// Whether an outbound link must be encrypted.
    fn is_mandatory(&self) -> bool {
        !self.keys.is_empty() || self.trust.is_some_and(KeyPolicy::is_required)
    }

    /// Removes the retry-after of a refusal that is not authenticated. Where encryption is
    /// mandatory, an attacker on the path must not keep this node away for longer than it is on the
    /// path.
    pub(crate) fn strip_retry_after(&self, error: HandshakeError) -> HandshakeError {
        match error {
            HandshakeError::Refused(goodbye) if self.is_mandatory() => {
                HandshakeError::Refused(Goodbye { retry_after: None, ..goodbye })
            }
            error => error,
        }
    }

    /// Lifts the limit on the length of messages: the remote node has been admitted.
    pub(crate) fn lift_limit(&self) {
        if let Some((stream, _)) = &self.encrypted {
            stream.lift_limit();
        }
    }

    /// Starts the key exchange if both nodes can encrypt. `None`: the link stays plain.
    fn begin(
        &mut self,
        role: Role,
        offered: Option<u8>,
    ) -> Result<Option<(&'a KeyPolicy, NoiseHandshake)>, HandshakeError> {
        let (Some(trust), Some(offered)) = (self.trust, offered) else { return Ok(None) };
        let offered = Capabilities::read(offered);
        let Some(suite) = negotiate(trust, offered)? else { return Ok(None) };
        let prologue = KeyExchange::prologue(&std::mem::take(&mut self.transcript));
        let exchange = trust.exchange(suite, role, &prologue);
        exchange.map(|exchange| Some((trust, exchange))).ok_or(HandshakeError::NotAuthentic)
    }
}

/// Negotiates the cipher suite with a node that offers these capabilities. Fails if only one of the
/// two has a network secret.
fn negotiate(trust: &KeyPolicy, offered: Capabilities) -> Result<Option<Suite>, HandshakeError> {
    let Some(suite) = trust.capabilities().choose(offered) else { return Ok(None) };
    let here = trust.capabilities().has_secret();
    match here == offered.has_secret() {
        true => Ok(Some(suite)),
        false => Err(HandshakeError::NetworkSecret { here }),
    }
}

impl Handshake<'_> {
    /// Runs the dialer's part of the key exchange, after the Ack of a node that offers these
    /// capabilities.
    pub(crate) async fn initiate(
        &mut self,
        own: Id,
        other: Id,
        offered: Option<u8>,
    ) -> Result<(), HandshakeError> {
        let Some((trust, mut exchange)) = self.key_exchange.begin(Role::Dialer, offered)? else {
            return match self.key_exchange.is_mandatory() {
                true => Err(HandshakeError::NotEncrypted),
                false => Ok(()),
            };
        };
        self.send_key_message(own, KeyExchange::First, exchange.write()?).await?;
        let second = self.recv_key_message(other, KeyExchange::Second).await?;
        exchange.read(&second)?;
        let key = exchange.remote_static().ok_or(HandshakeError::NotAuthentic)?;
        // Checked before this node reveals its own key.
        if !self.key_exchange.keys.is_empty() && !self.key_exchange.keys.contains(&key) {
            return Err(HandshakeError::WrongKey(key));
        }
        self.send_key_message(own, KeyExchange::Third, exchange.write()?).await?;
        self.switch_to_encrypted(trust, exchange, key)
    }

    /// Runs the listener's part of the key exchange, after its own Ack.
    pub(crate) async fn respond(
        &mut self,
        own: Id,
        other: Id,
        offered: Option<u8>,
    ) -> Result<(), HandshakeError> {
        let Some((trust, mut exchange)) = self.key_exchange.begin(Role::Listener, offered)? else {
            return Ok(());
        };
        let first = self.recv_key_message(other, KeyExchange::First).await?;
        // Cheap, and fails if the dialer does not have the network secret.
        exchange.read(&first)?;
        let priority = self.key_exchange.priority(Priority::Unknown);
        let write = || {
            self.check_open()?;
            exchange.write().map_err(HandshakeError::from)
        };
        let second = trust.effort.run(priority, write).await?;
        self.send_key_message(own, KeyExchange::Second, second).await?;
        let third = self.recv_key_message(other, KeyExchange::Third).await?;
        let priority = self.key_exchange.priority(Priority::InProgress);
        trust.effort.run(priority, || exchange.read(&third)).await?;
        let key = exchange.remote_static().ok_or(HandshakeError::NotAuthentic)?;
        self.switch_to_encrypted(trust, exchange, key)
    }

    /// Switches to the encrypted stream. Bytes that were read ahead are ciphertext, and are passed
    /// to it.
    fn switch_to_encrypted(
        &mut self,
        trust: &KeyPolicy,
        exchange: NoiseHandshake,
        key: PublicKey,
    ) -> Result<(), HandshakeError> {
        let (stream, ahead) = (self.stream.clone(), std::mem::take(&mut self.buffer));
        let encrypted = exchange.finish(stream, ahead, trust.spare.clone(), self.limit)?;
        let encrypted = Arc::new(encrypted);
        self.stream = encrypted.clone();
        self.key_exchange.encrypted = Some((encrypted, key));
        Ok(())
    }

    async fn send_key_message(
        &mut self,
        own: Id,
        which: KeyExchange,
        message: Vec<u8>,
    ) -> Result<(), HandshakeError> {
        self.send(which.encode(own, message)).await
    }

    async fn recv_key_message(
        &mut self,
        other: Id,
        which: KeyExchange,
    ) -> Result<Vec<u8>, HandshakeError> {
        let frame = self.recv().await?;
        which.decode(other, &frame).map(<[u8]>::to_vec).ok_or(HandshakeError::NotAuthentic)
    }
}

impl From<AuthError> for HandshakeError {
    fn from(_: AuthError) -> HandshakeError {
        HandshakeError::NotAuthentic
    }
}

/// Whether a dialer with this extension will authenticate with a key.
pub(crate) fn will_authenticate(running: &TaskRef, offer: &RemoteExtension) -> bool {
    let suite = |trust| negotiate(trust, Capabilities::read(offer.noise?)).ok()?;
    running.key_policy.as_ref().and_then(suite).is_some()
}

/// Why a dialer is not admitted after its Hello, and the reason to send to it.
pub(crate) fn admission_error(
    running: &TaskRef,
    hello: &Hello,
    offer: Option<&RemoteExtension>,
    known: Option<&Peer>,
) -> Option<(DropReason, GoodbyeReason)> {
    let trust = running.key_policy.as_ref()?;
    let offered = offer.and_then(|offer| offer.noise).map(Capabilities::read);
    let refused = match offered.map(|offered| negotiate(trust, offered)) {
        Some(Ok(Some(_))) => return None,
        Some(Err(error)) => Some(error),
        _ if trust.is_required() => Some(HandshakeError::NotEncrypted),
        _ => None,
    };
    match refused {
        Some(error) => Some((DropReason::Handshake(error), GoodbyeReason::NotEncrypted)),
        None => {
            let claimed = running.check_claim(hello.id, None, known);
            let error = claimed.err()?;
            Some((DropReason::Handshake(error), GoodbyeReason::NotAllowed))
        }
    }
}

/// Checks whether a dialer that authenticated with this key, or with none, is admitted under the
/// router id that it claims.
pub(crate) fn check_policy(
    running: &TaskRef,
    id: Id,
    key: Option<PublicKey>,
    known: Option<&Peer>,
) -> Result<(), HandshakeError> {
    if let Some(trust) = &running.key_policy {
        // Plain links are checked again too: the policy may have changed since the Hello.
        running.check_key(trust, key)?;
    }
    running.check_claim(id, key, known)
}

/// Checks whether a node that was dialed may have the router id that it claims.
pub(crate) fn check_claim(
    running: &TaskRef,
    id: Id,
    key: Option<PublicKey>,
    own: Option<&Arc<Peer>>,
) -> Result<(), HandshakeError> {
    running.check_claim(id, key, own.map(|own| &**own))
}

/// Marks the link of a peer as up, if the remote node may have the router id that it claims.
pub(crate) fn claim_id(
    running: &TaskRef,
    peer: &Peer,
    id: Id,
    link: &Arc<Link>,
) -> Result<(), HandshakeError> {
    running.claim_id(peer, id, link)
}
