//! The Noise key exchange of a handshake, and the admission rules that depend on a key.
//!
//! The wire format is documented in `proto::noise`.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::{DropReason, Goodbye, GoodbyeReason, HandshakeError};
use crate::peer::Peer;
use crate::proto::{Capabilities, Hello, Id, KeyExchange, PublicKey, Role, Suite};
use crate::session::message_stream::MessageStream;
use crate::shared::key_policy::KeyPolicy;
use crate::shared::{Shared, TaskRef};
use crate::transport::{AuthError, Link, NoiseHandshake, NoiseStream, Priority};

/// The encryption state of one handshake.
pub(crate) struct Encryption<'a> {
    policy: Option<&'a KeyPolicy>,
    /// The keys of which the remote node must have one. Empty if any will do.
    keys: &'a [PublicKey],
    /// Whether the remote node is expected, as far as this can be known before the key exchange.
    is_expected: bool,
    /// The encrypted stream and the remote key, once the key exchange is complete.
    encrypted: Option<(Arc<NoiseStream>, PublicKey)>,
}

impl<'a> Encryption<'a> {
    pub(crate) fn new(shared: Option<&'a Shared>, keys: &'a [PublicKey]) -> Encryption<'a> {
        let policy = shared.and_then(|shared| shared.key_policy.as_ref());
        Encryption { policy, keys, is_expected: false, encrypted: None }
    }

    /// Gives an inbound handshake priority if it comes from an address that this node dials, or
    /// claims to be a peer that this node dials or trusts.
    pub(crate) fn mark_expected(
        &mut self,
        running: &TaskRef,
        known: Option<&Peer>,
        addr: SocketAddr,
    ) {
        self.is_expected = self.policy.is_some_and(|policy| {
            let is_known = known.is_some_and(|peer| !running.is_unknown(policy, peer));
            is_known || running.is_configured(addr.ip())
        });
    }

    /// The priority of a handshake step: `otherwise`, unless the remote node is expected.
    fn priority(&self, otherwise: Priority) -> Priority {
        if self.is_expected { Priority::Expected } else { otherwise }
    }

    /// The encryption capabilities of this node, as encoded in the extension.
    pub(crate) fn capabilities(&self) -> Option<u8> {
        self.policy.map(|policy| policy.capabilities().bits())
    }

    /// The key that the remote node has authenticated with.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.encrypted.as_ref().map(|(_, key)| *key)
    }

    /// Whether the key exchange may need the transcript of the messages before it.
    pub(crate) fn has_policy(&self) -> bool {
        self.policy.is_some()
    }

    /// Whether an outbound link must be encrypted.
    fn is_mandatory(&self) -> bool {
        !self.keys.is_empty() || self.policy.is_some_and(KeyPolicy::is_required)
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
    ///
    /// Its prologue are Hello and Ack, as they were sent over the wire.
    fn begin(
        &self,
        messages: &mut MessageStream,
        role: Role,
        offered: Option<u8>,
    ) -> Result<Option<(&'a KeyPolicy, NoiseHandshake)>, HandshakeError> {
        let (Some(policy), Some(offered)) = (self.policy, offered) else { return Ok(None) };
        let offered = Capabilities::read(offered);
        let Some(suite) = negotiate(policy, offered)? else { return Ok(None) };
        let prologue = KeyExchange::prologue(&messages.take_transcript());
        let noise = policy.start_handshake(suite, role, &prologue);
        noise.map(|noise| Some((policy, noise))).ok_or(HandshakeError::NotAuthentic)
    }
}

/// Negotiates the cipher suite with a node that offers these capabilities. Fails if only one of the
/// two has a network secret.
fn negotiate(policy: &KeyPolicy, offered: Capabilities) -> Result<Option<Suite>, HandshakeError> {
    let Some(suite) = policy.capabilities().choose(offered) else { return Ok(None) };
    let here = policy.capabilities().has_secret();
    match here == offered.has_secret() {
        true => Ok(Some(suite)),
        false => Err(HandshakeError::NetworkSecret { here }),
    }
}

impl Encryption<'_> {
    /// Runs the dialer's part of the key exchange, after the Ack of a node that offers these
    /// capabilities.
    pub(crate) async fn initiate(
        &mut self,
        messages: &mut MessageStream,
        own: Id,
        remote: Id,
        offered: Option<u8>,
    ) -> Result<(), HandshakeError> {
        let Some((policy, mut noise)) = self.begin(messages, Role::Dialer, offered)? else {
            return match self.is_mandatory() {
                true => Err(HandshakeError::NotEncrypted),
                false => Ok(()),
            };
        };
        send_key_message(messages, own, KeyExchange::First, noise.write()?).await?;
        let second = recv_key_message(messages, remote, KeyExchange::Second).await?;
        noise.read(&second)?;
        let key = noise.remote_static().ok_or(HandshakeError::NotAuthentic)?;
        // Checked before this node reveals its own key.
        if !self.keys.is_empty() && !self.keys.contains(&key) {
            return Err(HandshakeError::WrongKey(key));
        }
        send_key_message(messages, own, KeyExchange::Third, noise.write()?).await?;
        self.switch_to_encrypted(messages, policy, noise, key)
    }

    /// Runs the listener's part of the key exchange, after its own Ack.
    pub(crate) async fn respond(
        &mut self,
        messages: &mut MessageStream,
        own: Id,
        remote: Id,
        offered: Option<u8>,
    ) -> Result<(), HandshakeError> {
        let Some((policy, mut noise)) = self.begin(messages, Role::Listener, offered)? else {
            return Ok(());
        };
        let first = recv_key_message(messages, remote, KeyExchange::First).await?;
        // Cheap, and fails if the dialer does not have the network secret.
        noise.read(&first)?;
        let priority = self.priority(Priority::Unknown);
        let write = || {
            messages.check_open()?;
            noise.write().map_err(HandshakeError::from)
        };
        let second = policy.handshake_limiter.run(priority, write).await?;
        send_key_message(messages, own, KeyExchange::Second, second).await?;
        let third = recv_key_message(messages, remote, KeyExchange::Third).await?;
        let priority = self.priority(Priority::InProgress);
        policy.handshake_limiter.run(priority, || noise.read(&third)).await?;
        let key = noise.remote_static().ok_or(HandshakeError::NotAuthentic)?;
        self.switch_to_encrypted(messages, policy, noise, key)
    }

    /// Switches to the encrypted stream. Bytes that were read ahead are ciphertext, and are passed
    /// to it.
    fn switch_to_encrypted(
        &mut self,
        messages: &mut MessageStream,
        policy: &KeyPolicy,
        noise: NoiseHandshake,
        key: PublicKey,
    ) -> Result<(), HandshakeError> {
        let encrypted = messages.wrap(|stream, ahead, limit| {
            Ok(noise.finish(stream, ahead, policy.buffers.clone(), limit)?)
        })?;
        self.encrypted = Some((encrypted, key));
        Ok(())
    }
}

async fn send_key_message(
    messages: &mut MessageStream,
    own: Id,
    which: KeyExchange,
    message: Vec<u8>,
) -> Result<(), HandshakeError> {
    messages.send(which.encode(own, message)).await
}

async fn recv_key_message(
    messages: &mut MessageStream,
    remote: Id,
    which: KeyExchange,
) -> Result<Vec<u8>, HandshakeError> {
    let frame = messages.recv().await?;
    which.decode(remote, &frame).map(<[u8]>::to_vec).ok_or(HandshakeError::NotAuthentic)
}

impl From<AuthError> for HandshakeError {
    fn from(_: AuthError) -> HandshakeError {
        HandshakeError::NotAuthentic
    }
}

/// Whether a dialer that offers these capabilities will authenticate with a key.
pub(crate) fn will_authenticate(running: &TaskRef, offered: Option<u8>) -> bool {
    let suite = |policy| negotiate(policy, Capabilities::read(offered?)).ok()?;
    running.key_policy.as_ref().and_then(suite).is_some()
}

/// Why a dialer is not admitted after its Hello, and the reason to send to it.
pub(crate) fn admission_error(
    running: &TaskRef,
    hello: &Hello,
    offered: Option<u8>,
    known: Option<&Peer>,
) -> Option<(DropReason, GoodbyeReason)> {
    let policy = running.key_policy.as_ref()?;
    let offered = offered.map(Capabilities::read);
    let refused = match offered.map(|offered| negotiate(policy, offered)) {
        Some(Ok(Some(_))) => return None,
        Some(Err(error)) => Some(error),
        _ if policy.is_required() => Some(HandshakeError::NotEncrypted),
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
    if let Some(policy) = &running.key_policy {
        // Plain links are checked again too: the policy may have changed since the Hello.
        running.check_key(policy, key)?;
    }
    running.check_claim(id, key, known)
}

/// Whether a key is listed or pinned.
pub(crate) fn is_trusted(running: &TaskRef, key: Option<PublicKey>) -> bool {
    running.is_trusted_key(key)
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
