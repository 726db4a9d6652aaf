//! The part of the handshake in which both sides exchange keys, and what a key decides.
//!
//! See `proto::noise` for what goes over the wire.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::{DropReason, Goodbye, GoodbyeReason, HandshakeError};
use crate::peer::Peer;
use crate::proto::{Capabilities, Hello, Id, KeyExchange, PublicKey, Role, Suite};
use crate::session::handshake::{Handshake, RemoteExtension};
use crate::shared::key_policy::KeyPolicy;
use crate::shared::{Shared, TaskRef};
use crate::transport::{AuthError, Link, NoiseHandshake, NoiseStream, Priority};

/// What a handshake knows about encryption.
pub(crate) struct Encryption<'a> {
    trust: Option<&'a KeyPolicy>,
    /// Of which the other side must have one, if there are any.
    keys: &'a [PublicKey],
    /// Whether this node waits for the other side, as far as it can know before keys are exchanged.
    is_expected: bool,
    /// Hello and Ack as they went over the wire.
    transcript: Vec<u8>,
    encrypted: Option<(Arc<NoiseStream>, PublicKey)>,
}

impl<'a> Encryption<'a> {
    pub(crate) fn new(context: Option<&'a Shared>, keys: &'a [PublicKey]) -> Encryption<'a> {
        let trust = context.and_then(|context| context.key_policy.as_ref());
        Encryption { trust, keys, is_expected: false, transcript: Vec::new(), encrypted: None }
    }

    /// Has a stranger go before others, if it comes from where this node dials, or claims to be a
    /// peer that this node dials or trusts.
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

    fn priority(&self, otherwise: Priority) -> Priority {
        if self.is_expected { Priority::Expected } else { otherwise }
    }

    /// What this node can encrypt with, as the record says it.
    pub(crate) fn capabilities(&self) -> Option<u8> {
        self.trust.map(|trust| trust.capabilities().bits())
    }

    /// The key that the other side has shown to have.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.encrypted.as_ref().map(|(_, key)| *key)
    }

    /// Notes a message that was said or heard, in plain, before keys are exchanged.
    pub(crate) fn record_transcript(&mut self, message: &[u8]) {
        if self.trust.is_some() && self.encrypted.is_none() {
            self.transcript.extend_from_slice(message);
        }
    }

    /// Whether this node dials only to encrypt.
    fn is_mandatory(&self) -> bool {
        !self.keys.is_empty() || self.trust.is_some_and(KeyPolicy::is_required)
    }

    /// What is left of a refusal that anybody may have said: where encryption is wanted, nobody on
    /// the way is to keep this node away for longer than he is there himself.
    pub(crate) fn strip_retry_after(&self, error: HandshakeError) -> HandshakeError {
        match error {
            HandshakeError::Refused(goodbye) if self.is_mandatory() => {
                HandshakeError::Refused(Goodbye { retry_after: None, ..goodbye })
            }
            error => error,
        }
    }

    /// The other side is let in: from now on its messages may be as long as they can be.
    pub(crate) fn lift_limit(&self) {
        if let Some((stream, _)) = &self.encrypted {
            stream.lift_limit();
        }
    }

    /// Begins to exchange keys, if both sides can. `None`: the link is to be plain.
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

/// What this node and one that offers these can use.
fn negotiate(trust: &KeyPolicy, offered: Capabilities) -> Result<Option<Suite>, HandshakeError> {
    let Some(suite) = trust.capabilities().choose(offered) else { return Ok(None) };
    let here = trust.capabilities().has_secret();
    match here == offered.has_secret() {
        true => Ok(Some(suite)),
        false => Err(HandshakeError::NetworkSecret { here }),
    }
}

impl Handshake<'_> {
    /// The dialer's part, behind the Ack of a node that offers these means.
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
        // Before this node shows its own.
        if !self.key_exchange.keys.is_empty() && !self.key_exchange.keys.contains(&key) {
            return Err(HandshakeError::WrongKey(key));
        }
        self.send_key_message(own, KeyExchange::Third, exchange.write()?).await?;
        self.switch_to_encrypted(trust, exchange, key)
    }

    /// The listener's part, behind its own Ack.
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
        // Costs next to nothing, and is the end if the other side should have a secret and has not.
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

    /// What follows goes over the encrypted stream, and what was read already came over it.
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

/// Whether a stranger that offers this is about to show its key.
pub(crate) fn will_authenticate(running: &TaskRef, offer: &RemoteExtension) -> bool {
    let suite = |trust| negotiate(trust, Capabilities::read(offer.noise?)).ok()?;
    running.key_policy.as_ref().and_then(suite).is_some()
}

/// Why a stranger may not come in that has said Hello, and what it is told.
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

/// Whether a stranger may come in that has shown this key, or none, and claims a router id.
pub(crate) fn check_policy(
    running: &TaskRef,
    id: Id,
    key: Option<PublicKey>,
    known: Option<&Peer>,
) -> Result<(), HandshakeError> {
    if let Some(trust) = &running.key_policy {
        // Of a plain one too: what is asked for may have changed since its Hello.
        running.check_key(trust, key)?;
    }
    running.check_claim(id, key, known)
}

/// Whether a node that was dialed may have the router id that it claims.
pub(crate) fn check_claim(
    running: &TaskRef,
    id: Id,
    key: Option<PublicKey>,
    own: Option<&Arc<Peer>>,
) -> Result<(), HandshakeError> {
    running.check_claim(id, key, own.map(|own| &**own))
}

/// Notes that a peer's link is up, if the other side may have the router id that it claims.
pub(crate) fn claim_id(
    running: &TaskRef,
    peer: &Peer,
    id: Id,
    link: &Arc<Link>,
) -> Result<(), HandshakeError> {
    running.claim_id(peer, id, link)
}
