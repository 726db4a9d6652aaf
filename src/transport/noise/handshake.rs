//! The Noise handshake: three messages.

use std::fmt;
use std::sync::Arc;

use snow::{Builder, HandshakeState, TransportState};

use crate::config::{KeyPair, NetworkSecret};
use crate::proto::{PublicKey, Role, Suite};
use crate::transport::Stream;
use crate::transport::noise::primitives::SnowResolver;
use crate::transport::noise::{NoiseBuffers, NoiseStream};

/// Size of the longest message: an ephemeral key, a static key, and two tags.
const MAX_MESSAGE: usize = 32 + 32 + 2 * crate::transport::noise::primitives::TAG;

/// Position of the network secret in the pattern: before everything else, so that a remote without
/// it gets no reply and causes no curve multiplication.
const PSK_INDEX: u8 = 0;

/// A Noise handshake in progress.
pub(crate) struct NoiseHandshake(Box<HandshakeState>);

/// Authentication failed: a message was tampered with, or the remote has another network secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuthError;

impl NoiseHandshake {
    /// Starts a handshake. `None` if no randomness or no primitives are available, which does not
    /// happen in practice.
    pub(crate) fn begin(
        suite: Suite,
        role: Role,
        keys: &KeyPair,
        secret: Option<&NetworkSecret>,
        prologue: &[u8],
    ) -> Option<NoiseHandshake> {
        let params = suite.protocol(secret.is_some()).parse().ok()?;
        let primitives = SnowResolver::new().ok()?;
        let secret = secret.map(|secret| primitives.masked(secret.bytes()));
        let builder = Builder::with_resolver(params, Box::new(primitives));
        let builder = builder.local_private_key(&**keys.private()).ok()?.prologue(prologue).ok()?;
        let builder = match &secret {
            Some(secret) => builder.psk(PSK_INDEX, secret).ok()?,
            None => builder,
        };
        let state = match role {
            Role::Dialer => builder.build_initiator(),
            Role::Listener => builder.build_responder(),
        };
        state.ok().map(|state| NoiseHandshake(Box::new(state)))
    }

    /// Writes the next local message.
    pub(crate) fn write(&mut self) -> Result<Vec<u8>, AuthError> {
        let mut message = vec![0; MAX_MESSAGE];
        let len = self.0.write_message(&[], &mut message).map_err(|_| AuthError)?;
        message.truncate(len);
        Ok(message)
    }

    /// Reads the next message of the remote. Its payload must be empty.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<(), AuthError> {
        match self.0.read_message(message, &mut [0; MAX_MESSAGE]) {
            Ok(0) => Ok(()),
            _ => Err(AuthError),
        }
    }

    /// The static key that the remote has proved to own.
    pub(crate) fn remote_static(&self) -> Option<PublicKey> {
        let key = self.0.get_remote_static()?.first_chunk()?;
        Some(PublicKey::from_bytes(*key))
    }

    pub(crate) fn into_transport(self) -> Result<TransportState, AuthError> {
        self.0.into_transport_mode().map_err(|_| AuthError)
    }

    /// Switches to the encrypted stream once all three messages were exchanged. `ahead` was already
    /// read behind them.
    pub(crate) fn finish(
        self,
        stream: Arc<dyn Stream>,
        ahead: Vec<u8>,
        buffers: Arc<NoiseBuffers>,
        max_record: usize,
    ) -> Result<NoiseStream, AuthError> {
        let transport = self.into_transport()?;
        Ok(NoiseStream::new(stream, transport, ahead, buffers, max_record))
    }
}

impl fmt::Debug for NoiseHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseHandshake")
    }
}
