//! The handshake: Hello and Ack, and between extended nodes the key exchange and the session proof.
//! The caller bounds it by one deadline.

use std::sync::Arc;

use crate::error::{Goodbye, HandshakeError};
use crate::peer::{InitialCredit, SendQueue, Session};
use crate::primitives::random;
use crate::proto::{
    Ack, CONTROL, CloseRecord, EXTENSION_VERSION, Extension, Frame, Hello, Id, InstanceId,
    KeyShare, Nonce, Proof, PublicKey, Role, SessionName, SessionSecret,
};
use crate::session::key_exchange::Encryption;
use crate::session::message_stream::MessageStream;
use crate::shared::Shared;
use crate::transport::Stream;

/// A handshake in progress on one stream.
pub(crate) struct Handshake<'a> {
    messages: MessageStream,
    pub(crate) key_exchange: Encryption<'a>,
}

/// The outcome of a handshake.
pub(crate) enum Negotiated {
    /// The remote node is a plain Ratman node.
    Plain,
    /// Both nodes are extended, and start this session.
    New(Session, InitialCredit),
    /// Both know the secret of the previous session and resume it, from here on.
    Resumed(Progress),
}

/// How far a node has got with the frames of a session that is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// How many it received.
    pub(crate) received: u64,
    /// The credit that it gives.
    pub(crate) credit: u64,
}

impl Progress {
    /// How far the local node has got.
    pub(crate) fn of(queue: &SendQueue) -> Progress {
        Progress { received: queue.received_total(), credit: queue.granted_credit() }
    }

    fn extension(self) -> Extension {
        Extension { ack: Some(self.received), credit: Some(self.credit), ..Extension::default() }
    }
}

/// The local contribution to one handshake: the instance id of this node, a fresh nonce and key
/// share, and the credit for a new session.
pub(crate) struct LocalHello {
    instance_id: InstanceId,
    nonce: Nonce,
    key_share: KeyShare,
    credit: u64,
}

impl LocalHello {
    pub(crate) fn new(instance_id: InstanceId, credit: u64) -> Result<LocalHello, HandshakeError> {
        let (nonce, key_share) = (random::array()?.into(), random::array()?.into());
        Ok(LocalHello { instance_id, nonce, key_share, credit })
    }

    fn extension(&self) -> Extension {
        Extension {
            version: Some((EXTENSION_VERSION, EXTENSION_VERSION)),
            instance_id: Some(self.instance_id),
            nonce: Some(self.nonce),
            key_share: Some(self.key_share),
            credit: Some(self.credit),
            ..Extension::default()
        }
    }
}

/// The extension of the remote Hello or Ack, with every mandatory field present.
pub(crate) struct RemoteExtension {
    pub(crate) instance_id: InstanceId,
    nonce: Nonce,
    key_share: KeyShare,
    /// The credit for a new session.
    credit: u64,
    /// The public name of the session that the remote node wants to resume.
    pub(crate) session: Option<SessionName>,
    proof: Option<Proof>,
    /// The encryption capabilities of the remote node, if it has any.
    pub(crate) noise: Option<u8>,
}

impl RemoteExtension {
    /// Decodes an extension. `None` if the bytes are anything else, or name only unsupported
    /// versions: the remote node is then treated as plain.
    fn read(bytes: &[u8]) -> Option<RemoteExtension> {
        let extension = Extension::decode(bytes)?;
        let (lowest, highest) = extension.version?;
        let known = (lowest..=highest).contains(&EXTENSION_VERSION);
        let remote = RemoteExtension {
            instance_id: extension.instance_id?,
            nonce: extension.nonce?,
            key_share: extension.key_share?,
            credit: extension.credit?,
            session: extension.session,
            proof: extension.proof,
            noise: extension.noise,
        };
        known.then_some(remote)
    }
}

impl<'a> Handshake<'a> {
    /// Starts a handshake with messages of at most `limit` bytes. `shared` belongs to an endpoint
    /// that may encrypt. If `keys` is not empty, the remote node must have one of them.
    pub(crate) fn new(
        stream: Arc<dyn Stream>,
        limit: usize,
        shared: Option<&'a Shared>,
        keys: &'a [PublicKey],
    ) -> Handshake<'a> {
        let key_exchange = Encryption::new(shared, keys);
        let messages = MessageStream::new(stream, limit, key_exchange.has_policy());
        Handshake { messages, key_exchange }
    }

    /// The key that the remote node has authenticated with, once the stream is encrypted.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.key_exchange.key()
    }

    /// Runs the handshake as the dialer: sends the Hello and receives the Ack. Returns the router
    /// id that the remote node claims, and the negotiated terms.
    ///
    /// `session` is the session to resume, and how far it has got.
    pub(crate) async fn dial(
        &mut self,
        hello: &Hello,
        local: &LocalHello,
        session: Option<(&Session, Progress)>,
    ) -> Result<(Id, Negotiated), HandshakeError> {
        let name = session.map(|(session, _)| session.secret.public_name());
        let noise = self.key_exchange.capabilities();
        let extension = Extension { session: name, noise, ..local.extension() };
        self.messages.send(hello.encode(&extension.encode())).await?;
        let (ack, remote) =
            self.recv_ack().await.map_err(|error| self.key_exchange.strip_retry_after(error))?;
        if ack.id == hello.id
            || remote.as_ref().is_some_and(|remote| remote.instance_id == local.instance_id)
        {
            return Err(HandshakeError::OwnSelf);
        }
        if ack.peer_type != hello.peer_type {
            let (asked, echoed) = (hello.peer_type, ack.peer_type);
            return Err(HandshakeError::PeerType { asked, echoed });
        }
        let noise = remote.as_ref().and_then(|remote| remote.noise);
        self.key_exchange.initiate(&mut self.messages, hello.id, ack.id, noise).await?;
        match remote {
            None => Ok((ack.id, Negotiated::Plain)),
            Some(remote) => {
                // A session with another node cannot be resumed.
                let session = session.filter(|(session, _)| session.key() == self.key());
                let negotiated = self.finish_dial(hello.id, local, &remote, session).await?;
                Ok((ack.id, negotiated))
            }
        }
    }

    /// Runs the dialer's part from the third message on.
    async fn finish_dial(
        &mut self,
        own: Id,
        local: &LocalHello,
        remote: &RemoteExtension,
        session: Option<(&Session, Progress)>,
    ) -> Result<Negotiated, HandshakeError> {
        let (Some((Session { secret, .. }, progress)), Some(proof)) = (session, &remote.proof)
        else {
            let secret = SessionSecret::new(&local.key_share, &remote.key_share);
            let progress = Progress { received: 0, credit: local.credit };
            self.prove(own, &secret, local, remote, progress).await?;
            if self.key().is_some() {
                // Only now does the listener decide whether the key of this node is admitted.
                self.recv_progress().await?;
            }
            return Ok(self.new_session(secret, local, remote));
        };
        if *proof != secret.proof(Role::Listener, &local.nonce, &remote.nonce) {
            return Err(HandshakeError::NotProved);
        }
        self.prove(own, secret, local, remote, progress).await?;
        Ok(Negotiated::Resumed(self.recv_progress().await?))
    }

    /// The terms of a new session.
    fn new_session(
        &self,
        secret: SessionSecret,
        local: &LocalHello,
        remote: &RemoteExtension,
    ) -> Negotiated {
        let credit = InitialCredit { granted: local.credit, received: remote.credit };
        Negotiated::New(Session::new(secret, remote.instance_id, self.key()), credit)
    }

    /// Receives how far the listener has got. With this message it admits this node.
    async fn recv_progress(&mut self) -> Result<Progress, HandshakeError> {
        progress(&self.recv_control().await?)
    }

    /// Sends the dialer's proof that it knows the secret, and how far it has got.
    async fn prove(
        &mut self,
        own: Id,
        secret: &SessionSecret,
        local: &LocalHello,
        remote: &RemoteExtension,
        progress: Progress,
    ) -> Result<(), HandshakeError> {
        let proof = secret.proof(Role::Dialer, &local.nonce, &remote.nonce);
        self.send_control(own, Extension { proof: Some(proof), ..progress.extension() }).await
    }

    /// Receives the Hello, and the extension behind it if there is one.
    pub(crate) async fn recv_hello(
        &mut self,
    ) -> Result<(Hello, Option<RemoteExtension>), HandshakeError> {
        let frame = self.messages.recv().await?;
        let (hello, rest) = Hello::decode(&frame).map_err(HandshakeError::Unexpected)?;
        Ok((hello, RemoteExtension::read(rest)))
    }

    /// Sends the Ack to a plain node.
    pub(crate) async fn send_ack(&mut self, id: Id, hello: &Hello) -> Result<(), HandshakeError> {
        self.messages.send(Ack { id, peer_type: hello.peer_type }.encode(&[])).await
    }

    /// Sends the Ack to an extended node, and runs the key exchange if both can encrypt.
    pub(crate) async fn send_extended_ack(
        &mut self,
        id: Id,
        hello: &Hello,
        local: &LocalHello,
        remote: &RemoteExtension,
        known: Option<&SessionSecret>,
    ) -> Result<(), HandshakeError> {
        let proof = known.map(|secret| secret.proof(Role::Listener, &remote.nonce, &local.nonce));
        let noise = remote.noise.and_then(|_| self.key_exchange.capabilities());
        let extension = Extension { proof, noise, ..local.extension() };
        self.messages
            .send(Ack { id, peer_type: hello.peer_type }.encode(&extension.encode()))
            .await?;
        // A copy of this node closes once it has seen our id; it has nothing to prove.
        if remote.instance_id == local.instance_id || hello.id == id {
            return Err(HandshakeError::OwnSelf);
        }
        self.key_exchange.respond(&mut self.messages, id, hello.id, remote.noise).await
    }

    /// Receives the dialer's proof, and returns the negotiated terms. To admit the dialer, the
    /// caller still has to call [`send_progress`](Handshake::send_progress), unless the session
    /// is new and the link plain.
    pub(crate) async fn recv_proof(
        &mut self,
        local: &LocalHello,
        remote: &RemoteExtension,
        known: Option<&SessionSecret>,
    ) -> Result<Negotiated, HandshakeError> {
        let extension = self.recv_control().await?;
        let new = SessionSecret::new(&remote.key_share, &local.key_share);
        let secret = known.unwrap_or(&new);
        let proof = extension.proof.ok_or(HandshakeError::NotProved)?;
        let progress = progress(&extension)?;
        match proof == secret.proof(Role::Dialer, &remote.nonce, &local.nonce) {
            false => Err(HandshakeError::NotProved),
            true if known.is_some() => Ok(Negotiated::Resumed(progress)),
            true => Ok(self.new_session(new, local, remote)),
        }
    }

    /// Sends how far the local node has got. Call it once the old link delivers no more.
    pub(crate) async fn send_progress(
        &mut self,
        id: Id,
        progress: Progress,
    ) -> Result<(), HandshakeError> {
        self.send_control(id, progress.extension()).await
    }

    /// Sends the reason why an extended node is not admitted.
    pub(crate) async fn send_close(
        &mut self,
        id: Id,
        end: CloseRecord,
    ) -> Result<(), HandshakeError> {
        self.send_control(id, Extension { close: Some(end), ..Extension::default() }).await
    }

    /// Returns the stream, which may be encrypted now, and the bytes that were read past the
    /// handshake.
    pub(crate) fn into_stream(self) -> (Arc<dyn Stream>, Vec<u8>) {
        self.key_exchange.lift_limit();
        self.messages.into_parts()
    }

    async fn recv_ack(&mut self) -> Result<(Ack, Option<RemoteExtension>), HandshakeError> {
        let frame = self.messages.recv().await?;
        check_refusal(&frame)?;
        let (ack, rest) = Ack::decode(&frame).map_err(HandshakeError::Unexpected)?;
        Ok((ack, RemoteExtension::read(rest)))
    }

    async fn recv_control(&mut self) -> Result<Extension, HandshakeError> {
        let frame = self.messages.recv().await?;
        check_refusal(&frame)?;
        match Extension::decode(frame.payload()) {
            Some(extension) if frame.modes() == CONTROL => Ok(extension),
            _ => Err(HandshakeError::NotProved),
        }
    }

    async fn send_control(&mut self, id: Id, extension: Extension) -> Result<(), HandshakeError> {
        self.messages.send(extension.into_frame(id)).await
    }
}

/// How far the remote node has got, according to its message.
fn progress(extension: &Extension) -> Result<Progress, HandshakeError> {
    match (extension.ack, extension.credit) {
        (Some(received), Some(credit)) => Ok(Progress { received, credit }),
        _ => Err(HandshakeError::NotProved),
    }
}

/// Fails if the frame is a refusal by the remote node.
fn check_refusal(frame: &Frame) -> Result<(), HandshakeError> {
    if frame.modes() != CONTROL {
        return Ok(());
    }
    match Extension::decode(frame.payload()).and_then(|extension| extension.close) {
        Some(end) => Err(HandshakeError::Refused(Goodbye::from(end))),
        None => Ok(()),
    }
}
