//! The exchange of keys: three messages.

use std::fmt;
use std::sync::Arc;

use snow::{Builder, HandshakeState, TransportState};

use crate::config::{KeyPair, NetworkSecret};
use crate::proto::{PublicKey, Role, Suite};
use crate::transport::Stream;
use crate::transport::noise::primitives::SnowResolver;
use crate::transport::noise::{NoiseBuffers, NoiseStream};

/// Longest of the three messages: an ephemeral key, a static key, and two tags.
const MAX_MESSAGE: usize = 32 + 32 + 2 * crate::transport::noise::primitives::TAG;

/// Where the network secret stands in the pattern: before everything else, so that who has it not
/// gets no answer, and costs no multiplication.
const PSK_INDEX: u8 = 0;

/// An exchange of keys that is under way.
pub(crate) struct NoiseHandshake(Box<HandshakeState>);

/// Something does not fit: it was changed on the way, or the other side has another secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuthError;

impl NoiseHandshake {
    /// `None` if there is no randomness to be had, or no primitives, which there always are.
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

    /// The next message of this side.
    pub(crate) fn write(&mut self) -> Result<Vec<u8>, AuthError> {
        let mut message = vec![0; MAX_MESSAGE];
        let len = self.0.write_message(&[], &mut message).map_err(|_| AuthError)?;
        message.truncate(len);
        Ok(message)
    }

    /// Reads the next message of the other side, which holds nothing but keys.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<(), AuthError> {
        match self.0.read_message(message, &mut [0; MAX_MESSAGE]) {
            Ok(0) => Ok(()),
            _ => Err(AuthError),
        }
    }

    /// The key that the other side has shown to have.
    pub(crate) fn remote_static(&self) -> Option<PublicKey> {
        let key = self.0.get_remote_static()?.first_chunk()?;
        Some(PublicKey::from_bytes(*key))
    }

    pub(crate) fn into_transport(self) -> Result<TransportState, AuthError> {
        self.0.into_transport_mode().map_err(|_| AuthError)
    }

    /// The encrypted stream, once all three messages were exchanged. `ahead` was read behind them.
    pub(crate) fn finish(
        self,
        stream: Arc<dyn Stream>,
        ahead: Vec<u8>,
        spare: Arc<NoiseBuffers>,
        most: usize,
    ) -> Result<NoiseStream, AuthError> {
        let transport = self.into_transport()?;
        Ok(NoiseStream::new(stream, transport, ahead, spare, most))
    }
}

impl fmt::Debug for NoiseHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}
