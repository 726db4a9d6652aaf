//! The exchange of keys: three messages.

use std::fmt;
use std::sync::Arc;

use snow::{Builder, HandshakeState, TransportState};

use super::primitives::Primitives;
use super::{Encrypted, Spare};
use crate::keys::{KeyPair, NetworkSecret};
use crate::link::Stream;
use crate::proto::{PublicKey, Role, Suite};

/// Longest of the three messages: an ephemeral key, a static key, and two tags.
const LONGEST: usize = 32 + 32 + 2 * super::primitives::TAG;

/// Where the network secret stands in the pattern: before everything else, so that who has it not
/// gets no answer, and costs no multiplication.
const SECRET_AT: u8 = 0;

/// An exchange of keys that is under way.
pub(crate) struct Exchange(Box<HandshakeState>);

/// Something does not fit: it was changed on the way, or the other side has another secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

impl Exchange {
    /// `None` if there is no randomness to be had, or no primitives, which there always are.
    pub(crate) fn begin(
        suite: Suite,
        role: Role,
        keys: &KeyPair,
        secret: Option<&NetworkSecret>,
        prologue: &[u8],
    ) -> Option<Exchange> {
        let params = suite.protocol(secret.is_some()).parse().ok()?;
        let primitives = Primitives::new().ok()?;
        let secret = secret.map(|secret| primitives.veiled(secret.bytes()));
        let builder = Builder::with_resolver(params, Box::new(primitives));
        let builder = builder.local_private_key(&**keys.private()).ok()?.prologue(prologue).ok()?;
        let builder = match &secret {
            Some(secret) => builder.psk(SECRET_AT, secret).ok()?,
            None => builder,
        };
        let state = match role {
            Role::Dialer => builder.build_initiator(),
            Role::Listener => builder.build_responder(),
        };
        state.ok().map(|state| Exchange(Box::new(state)))
    }

    /// The next message of this side.
    pub(crate) fn write(&mut self) -> Result<Vec<u8>, NotAuthentic> {
        let mut message = vec![0; LONGEST];
        let len = self.0.write_message(&[], &mut message).map_err(|_| NotAuthentic)?;
        message.truncate(len);
        Ok(message)
    }

    /// Reads the next message of the other side, which holds nothing but keys.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<(), NotAuthentic> {
        match self.0.read_message(message, &mut [0; LONGEST]) {
            Ok(0) => Ok(()),
            _ => Err(NotAuthentic),
        }
    }

    /// The key that the other side has shown to have.
    pub(crate) fn other(&self) -> Option<PublicKey> {
        let key = self.0.get_remote_static()?.first_chunk()?;
        Some(PublicKey::from_bytes(*key))
    }

    pub(super) fn into_transport(self) -> Result<TransportState, NotAuthentic> {
        self.0.into_transport_mode().map_err(|_| NotAuthentic)
    }

    /// The encrypted stream, once all three messages were exchanged. `ahead` was read behind them.
    pub(crate) fn finish(
        self,
        stream: Arc<dyn Stream>,
        ahead: Vec<u8>,
        spare: Arc<Spare>,
        most: usize,
    ) -> Result<Encrypted, NotAuthentic> {
        let transport = self.into_transport()?;
        Ok(Encrypted::new(stream, transport, ahead, spare, most))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}
