//! What [`Handshake`] does about encryption in a build that has none: nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use super::handshake::{Handshake, RemoteExtension};
use crate::context::{Shared, TaskRef};
use crate::error::{DropReason, GoodbyeReason, HandshakeError};
use crate::link::Link;
use crate::peer::Peer;
use crate::proto::{Hello, Id, PublicKey};

/// No encryption.
pub(super) struct Encryption<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Encryption<'a> {
    pub(super) fn new(_: Option<&'a Shared>, _: &'a [PublicKey]) -> Encryption<'a> {
        Encryption(std::marker::PhantomData)
    }

    pub(super) fn means(&self) -> Option<u8> {
        None
    }

    pub(super) fn key(&self) -> Option<PublicKey> {
        None
    }

    pub(super) fn note(&mut self, _: &[u8]) {}

    pub(super) fn doubt(&self, error: HandshakeError) -> HandshakeError {
        error
    }

    pub(super) fn expect(&mut self, _: &TaskRef, _: Option<&Peer>, _: SocketAddr) {}

    pub(super) fn open_up(&self) {}
}

impl Handshake<'_> {
    pub(super) async fn encrypt_dialed(
        &mut self,
        _: Id,
        _: Id,
        _: Option<u8>,
    ) -> Result<(), HandshakeError> {
        Ok(())
    }

    pub(super) async fn encrypt_accepted(
        &mut self,
        _: Id,
        _: Id,
        _: Option<u8>,
    ) -> Result<(), HandshakeError> {
        Ok(())
    }
}

pub(super) fn shows_key(_: &TaskRef, _: &RemoteExtension) -> bool {
    false
}

pub(super) fn refusal(
    _: &TaskRef,
    _: &Hello,
    _: Option<&RemoteExtension>,
    _: Option<&Peer>,
) -> Option<(DropReason, GoodbyeReason)> {
    None
}

pub(super) fn judge(
    _: &TaskRef,
    _: Id,
    _: Option<PublicKey>,
    _: Option<&Peer>,
) -> Result<(), HandshakeError> {
    Ok(())
}

pub(super) fn check_claim(
    _: &TaskRef,
    _: Id,
    _: Option<PublicKey>,
    _: Option<&Arc<Peer>>,
) -> Result<(), HandshakeError> {
    Ok(())
}

pub(super) fn enter(
    _: &TaskRef,
    peer: &Peer,
    id: Id,
    link: &Arc<Link>,
) -> Result<(), HandshakeError> {
    peer.link_up(id, link);
    Ok(())
}
