//! The handshake: Hello and Ack, and between extended nodes the key exchange and the session proof.
//! The caller bounds it by one deadline.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::error::{Goodbye, HandshakeError};
use crate::peer::Session;
use crate::primitives::random;
use crate::proto::{
    Ack, Bits, CONTROL, CloseRecord, Frame, FrameError, Hello, Id, LENGTH_PREFIX, PublicKey,
    RECORDS_VERSION, Records, Role, SessionSecret, encode_length, peek_len,
};
use crate::session::key_exchange::Encryption;
use crate::shared::Shared;
use crate::transport::Stream;

/// A handshake in progress on one stream.
///
/// Reads no more than `limit` bytes ahead, and keeps bytes that follow the message that it waited
/// for.
pub(crate) struct Handshake<'a> {
    pub(crate) stream: Arc<dyn Stream>,
    /// Bytes that were read and not decoded yet. Invariant: at most `limit` bytes long.
    pub(crate) buffer: Vec<u8>,
    /// The longest message that is accepted, in bytes, including its length prefix.
    pub(crate) limit: usize,
    pub(crate) key_exchange: Encryption<'a>,
}

/// The outcome of a handshake.
pub(crate) enum Negotiated {
    /// The remote node is a plain Ratman node.
    Plain,
    /// Both nodes are extended, and start this session.
    New(Session),
    /// Both know the secret of the previous session and resume it. The remote node has received
    /// `received` of its frames.
    Resumed { received: u64 },
}

/// The local contribution to one handshake: the instance id of this node, and a fresh nonce and key
/// share.
pub(crate) struct LocalHello {
    instance_id: Bits,
    nonce: Bits,
    share: Bits,
}

impl LocalHello {
    pub(crate) fn new(instance_id: Bits) -> Result<LocalHello, HandshakeError> {
        let (mut nonce, mut share) = ([0; 16], [0; 16]);
        random::fill(&mut nonce)?;
        random::fill(&mut share)?;
        Ok(LocalHello { instance_id, nonce, share })
    }

    fn records(&self) -> Records {
        Records {
            version: Some((RECORDS_VERSION, RECORDS_VERSION)),
            boot: Some(self.instance_id),
            nonce: Some(self.nonce),
            share: Some(self.share),
            ..Records::default()
        }
    }
}

/// The extension of the remote Hello or Ack, with every mandatory field present.
pub(crate) struct RemoteExtension {
    pub(crate) instance_id: Bits,
    nonce: Bits,
    share: Bits,
    /// The public name of the session that the remote node wants to resume.
    pub(crate) session: Option<[u8; 8]>,
    proof: Option<Bits>,
    /// The encryption capabilities of the remote node, if it has any.
    pub(crate) noise: Option<u8>,
}

impl RemoteExtension {
    /// Decodes an extension. `None` if the bytes are anything else, or name only unsupported
    /// versions: the remote node is then treated as plain.
    fn read(bytes: &[u8]) -> Option<RemoteExtension> {
        let records = Records::decode(bytes)?;
        let (lowest, highest) = records.version?;
        let known = (lowest..=highest).contains(&RECORDS_VERSION);
        let offer = RemoteExtension {
            instance_id: records.boot?,
            nonce: records.nonce?,
            share: records.share?,
            session: records.pair,
            proof: records.proof,
            noise: records.noise,
        };
        known.then_some(offer)
    }
}

impl<'a> Handshake<'a> {
    /// Starts a handshake. `context` belongs to an endpoint that may encrypt. If `keys` is not
    /// empty, the remote node must have one of them.
    pub(crate) fn new(
        stream: Arc<dyn Stream>,
        limit: usize,
        context: Option<&'a Shared>,
        keys: &'a [PublicKey],
    ) -> Handshake<'a> {
        Handshake {
            stream,
            buffer: Vec::new(),
            limit,
            key_exchange: Encryption::new(context, keys),
        }
    }

    /// The key that the remote node has authenticated with, once the stream is encrypted.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.key_exchange.key()
    }

    /// Runs the handshake as the dialer: sends the Hello and receives the Ack. Returns the router
    /// id that the remote node claims, and the negotiated terms.
    ///
    /// `pair` is the session to resume, and how many of its frames have been received.
    pub(crate) async fn dial(
        &mut self,
        hello: &Hello,
        fresh: &LocalHello,
        pair: Option<(&Session, u64)>,
    ) -> Result<(Id, Negotiated), HandshakeError> {
        let name = pair.map(|(pair, _)| pair.secret.public_name());
        let noise = self.key_exchange.capabilities();
        let records = Records { pair: name, noise, ..fresh.records() };
        self.send(hello.encode(&records.encode())).await?;
        let (ack, offer) =
            self.recv_ack().await.map_err(|error| self.key_exchange.strip_retry_after(error))?;
        if ack.id == hello.id
            || offer.as_ref().is_some_and(|offer| offer.instance_id == fresh.instance_id)
        {
            return Err(HandshakeError::OwnSelf);
        }
        if ack.peer_type != hello.peer_type {
            let (asked, echoed) = (hello.peer_type, ack.peer_type);
            return Err(HandshakeError::PeerType { asked, echoed });
        }
        let noise = offer.as_ref().and_then(|offer| offer.noise);
        self.initiate(hello.id, ack.id, noise).await?;
        match offer {
            None => Ok((ack.id, Negotiated::Plain)),
            Some(offer) => {
                // A session with another node cannot be resumed.
                let pair = pair.filter(|(pair, _)| pair.key() == self.key());
                let terms = self.finish_dial(hello.id, fresh, &offer, pair).await?;
                Ok((ack.id, terms))
            }
        }
    }

    /// Runs the dialer's part from the third message on.
    async fn finish_dial(
        &mut self,
        own: Id,
        fresh: &LocalHello,
        offer: &RemoteExtension,
        pair: Option<(&Session, u64)>,
    ) -> Result<Negotiated, HandshakeError> {
        let (Some((Session { secret, .. }, received)), Some(proof)) = (pair, &offer.proof) else {
            let secret = SessionSecret::new(&fresh.share, &offer.share);
            self.prove(own, &secret, fresh, offer, 0).await?;
            if self.key().is_some() {
                // Only now does the listener decide whether the key of this node is admitted.
                self.recv_ack_count().await?;
            }
            return Ok(Negotiated::New(Session::new(secret, offer.instance_id, self.key())));
        };
        if !secret.verify(proof, Role::Listener, &fresh.nonce, &offer.nonce) {
            return Err(HandshakeError::NotProved);
        }
        self.prove(own, secret, fresh, offer, received).await?;
        Ok(Negotiated::Resumed { received: self.recv_ack_count().await? })
    }

    /// Receives how many frames the listener received. With this message it admits this node.
    async fn recv_ack_count(&mut self) -> Result<u64, HandshakeError> {
        self.recv_control().await?.received.ok_or(HandshakeError::NotProved)
    }

    /// Sends the dialer's proof that it knows the secret, and how many frames it received.
    async fn prove(
        &mut self,
        own: Id,
        secret: &SessionSecret,
        fresh: &LocalHello,
        offer: &RemoteExtension,
        received: u64,
    ) -> Result<(), HandshakeError> {
        let proof = secret.proof(Role::Dialer, &fresh.nonce, &offer.nonce);
        self.send_control(
            own,
            Records { proof: Some(proof), received: Some(received), ..Records::default() },
        )
        .await
    }

    /// Receives the Hello, and the extension behind it if there is one.
    pub(crate) async fn recv_hello(
        &mut self,
    ) -> Result<(Hello, Option<RemoteExtension>), HandshakeError> {
        let frame = self.recv().await?;
        let (hello, rest) = Hello::decode(&frame).map_err(HandshakeError::Unexpected)?;
        Ok((hello, RemoteExtension::read(rest)))
    }

    /// Sends the Ack to a plain node.
    pub(crate) async fn send_ack(&mut self, id: Id, hello: &Hello) -> Result<(), HandshakeError> {
        self.send(Ack { id, peer_type: hello.peer_type }.encode(&[])).await
    }

    /// Sends the Ack to an extended node, and runs the key exchange if both can encrypt.
    pub(crate) async fn send_extended_ack(
        &mut self,
        id: Id,
        hello: &Hello,
        fresh: &LocalHello,
        offer: &RemoteExtension,
        known: Option<&SessionSecret>,
    ) -> Result<(), HandshakeError> {
        let proof = known.map(|secret| secret.proof(Role::Listener, &offer.nonce, &fresh.nonce));
        let noise = offer.noise.and_then(|_| self.key_exchange.capabilities());
        let records = Records { proof, noise, ..fresh.records() };
        self.send(Ack { id, peer_type: hello.peer_type }.encode(&records.encode())).await?;
        // A copy of this node closes once it has seen our id; it has nothing to prove.
        if offer.instance_id == fresh.instance_id || hello.id == id {
            return Err(HandshakeError::OwnSelf);
        }
        self.respond(id, hello.id, offer.noise).await
    }

    /// Receives the dialer's proof, and returns the negotiated terms. To admit the dialer, the
    /// caller still has to call [`send_ack_count`](Handshake::send_ack_count), unless the session
    /// is new and the link plain.
    pub(crate) async fn recv_proof(
        &mut self,
        fresh: &LocalHello,
        offer: &RemoteExtension,
        known: Option<&SessionSecret>,
    ) -> Result<Negotiated, HandshakeError> {
        let answer = self.recv_control().await?;
        let new = SessionSecret::new(&offer.share, &fresh.share);
        let secret = known.unwrap_or(&new);
        let shown = answer.proof.ok_or(HandshakeError::NotProved)?;
        let received = answer.received.ok_or(HandshakeError::NotProved)?;
        match secret.verify(&shown, Role::Dialer, &offer.nonce, &fresh.nonce) {
            false => Err(HandshakeError::NotProved),
            true if known.is_some() => Ok(Negotiated::Resumed { received }),
            true => Ok(Negotiated::New(Session::new(new, offer.instance_id, self.key()))),
        }
    }

    /// Sends how many frames were received. Call it once the old link delivers no more.
    pub(crate) async fn send_ack_count(
        &mut self,
        id: Id,
        received: u64,
    ) -> Result<(), HandshakeError> {
        let records = Records { received: Some(received), ..Records::default() };
        self.send_control(id, records).await
    }

    /// Sends the reason why an extended node is not admitted.
    pub(crate) async fn send_close(
        &mut self,
        id: Id,
        end: CloseRecord,
    ) -> Result<(), HandshakeError> {
        self.send_control(id, Records { end: Some(end), ..Records::default() }).await
    }

    /// Returns the stream, which may be encrypted now, and the bytes that were read past the
    /// handshake.
    pub(crate) fn into_stream(self) -> (Arc<dyn Stream>, Vec<u8>) {
        self.key_exchange.lift_limit();
        (self.stream, self.buffer)
    }

    async fn recv_ack(&mut self) -> Result<(Ack, Option<RemoteExtension>), HandshakeError> {
        let frame = self.recv().await?;
        check_refusal(&frame)?;
        let (ack, rest) = Ack::decode(&frame).map_err(HandshakeError::Unexpected)?;
        Ok((ack, RemoteExtension::read(rest)))
    }

    async fn recv_control(&mut self) -> Result<Records, HandshakeError> {
        let frame = self.recv().await?;
        check_refusal(&frame)?;
        match Records::decode(frame.payload()) {
            Some(records) if frame.modes() == CONTROL => Ok(records),
            _ => Err(HandshakeError::NotProved),
        }
    }

    async fn send_control(&mut self, id: Id, records: Records) -> Result<(), HandshakeError> {
        self.send(records.into_frame(id)).await
    }

    /// Writes a message, and records it in the transcript.
    pub(crate) async fn send(
        &mut self,
        frame: Result<Frame, FrameError>,
    ) -> Result<(), HandshakeError> {
        let frame = frame.map_err(HandshakeError::Frame)?;
        let message = [&encode_length(frame.len()), frame.as_bytes()].concat();
        self.key_exchange.record_transcript(&message);
        let mut rest = &message[..];
        while !rest.is_empty() {
            // One slice for the whole message: the reader of a plain node may fail on a length
            // prefix that is split over two segments.
            match self.stream.try_write(&[IoSlice::new(rest)], true) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| self.stream.poll_writable(cx)).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads the next message.
    pub(crate) async fn recv(&mut self) -> Result<Frame, HandshakeError> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(frame);
            }
            self.buffer.reserve_exact(self.limit - self.buffer.len());
            match self.stream.try_read(&mut self.buffer) {
                Ok(0) => return Err(HandshakeError::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Many handshakes may wait here at the same time, so none keeps an unused
                    // buffer.
                    self.buffer.shrink_to_fit();
                    poll_fn(|cx| self.stream.poll_readable(cx)).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Fails if the remote node has closed the stream, while no message is due. Bytes that arrived
    /// early are kept.
    #[cfg(feature = "noise")]
    pub(crate) fn check_open(&mut self) -> Result<(), HandshakeError> {
        self.buffer.reserve_exact(self.limit - self.buffer.len());
        if self.buffer.len() == self.buffer.capacity() {
            return Ok(());
        }
        match self.stream.try_read(&mut self.buffer) {
            Ok(0) => Err(HandshakeError::Closed),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Decodes a message from the front of the buffer. `None` if it is not complete yet.
    fn take_frame(&mut self) -> Result<Option<Frame>, HandshakeError> {
        let whole = peek_len(&self.buffer).map_err(HandshakeError::Framing)?;
        let Some(len) = whole else { return Ok(None) };
        if len > self.limit {
            return Err(HandshakeError::TooLong(len));
        }
        let Some(message) = self.buffer.get(..len) else { return Ok(None) };
        let frame =
            Frame::parse(message[LENGTH_PREFIX..].to_vec()).map_err(HandshakeError::Frame)?;
        self.key_exchange.record_transcript(message);
        self.buffer.drain(..len);
        Ok(Some(frame))
    }
}

/// Fails if the frame is a refusal by the remote node.
fn check_refusal(frame: &Frame) -> Result<(), HandshakeError> {
    if frame.modes() != CONTROL {
        return Ok(());
    }
    match Records::decode(frame.payload()).and_then(|records| records.end) {
        Some(end) => Err(HandshakeError::Refused(Goodbye::from(end))),
        None => Ok(()),
    }
}
