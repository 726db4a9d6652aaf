//! The stub of the key exchange in a build without encryption. See the `noise` module for what each
//! function does with it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::{DropReason, GoodbyeReason, HandshakeError};
use crate::peer::Peer;
use crate::proto::{Hello, Id, PublicKey};
use crate::session::message_stream::MessageStream;
use crate::shared::{Shared, TaskRef};
use crate::transport::Link;

/// The encryption state of a handshake: none.
pub(crate) struct Encryption<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Encryption<'a> {
    pub(crate) fn new(_: Option<&'a Shared>, _: &'a [PublicKey]) -> Encryption<'a> {
        Encryption(std::marker::PhantomData)
    }

    pub(crate) fn capabilities(&self) -> Option<u8> {
        None
    }

    pub(crate) fn key(&self) -> Option<PublicKey> {
        None
    }

    pub(crate) fn has_policy(&self) -> bool {
        false
    }

    pub(crate) fn strip_retry_after(&self, error: HandshakeError) -> HandshakeError {
        error
    }

    pub(crate) fn mark_expected(&mut self, _: &TaskRef, _: Option<&Peer>, _: SocketAddr) {}

    pub(crate) fn lift_limit(&self) {}

    pub(crate) async fn initiate(
        &mut self,
        _: &mut MessageStream,
        _: Id,
        _: Id,
        _: Option<u8>,
    ) -> Result<(), HandshakeError> {
        Ok(())
    }

    pub(crate) async fn respond(
        &mut self,
        _: &mut MessageStream,
        _: Id,
        _: Id,
        _: Option<u8>,
    ) -> Result<(), HandshakeError> {
        Ok(())
    }
}

pub(crate) fn will_authenticate(_: &TaskRef, _: Option<u8>) -> bool {
    false
}

pub(crate) fn admission_error(
    _: &TaskRef,
    _: &Hello,
    _: Option<u8>,
    _: Option<&Peer>,
) -> Option<(DropReason, GoodbyeReason)> {
    None
}

pub(crate) fn check_policy(
    _: &TaskRef,
    _: Id,
    _: Option<PublicKey>,
    _: Option<&Peer>,
) -> Result<(), HandshakeError> {
    Ok(())
}

pub(crate) fn is_trusted(_: &TaskRef, _: Option<PublicKey>) -> bool {
    false
}

pub(crate) fn check_claim(
    _: &TaskRef,
    _: Id,
    _: Option<PublicKey>,
    _: Option<&Arc<Peer>>,
) -> Result<(), HandshakeError> {
    Ok(())
}

pub(crate) fn claim_id(
    _: &TaskRef,
    peer: &Peer,
    id: Id,
    link: &Arc<Link>,
) -> Result<(), HandshakeError> {
    peer.link_up(id, link);
    Ok(())
}
