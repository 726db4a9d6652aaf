//! Scripted strangers: nodes that dial a victim and misbehave, for as long as they exist.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use super::*;
use crate::primitives::clock::within;
use crate::proto::{CONTROL, Extension, Hello, LENGTH_PREFIX, PeerType, encode_length, peek_len};
use crate::session::handshake::{Handshake, LocalHello, Negotiated};
use crate::transport::{Connect, Stream};

/// What strangers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misdeed {
    /// As fast as they can, plain nodes send frames of an unknown version.
    UnknownVersion,
    /// The same with the modes of handshakes.
    ReservedModes,
    /// The same with control frames, which plain nodes do not have.
    PlainControl,
    /// The same with pings, each of which requests an acknowledgement.
    Pings,
    /// The same with ordinary frames. TCP pushes back.
    PlainFlood,
    /// Nodes of this crate send as much as their credit permits. Not scripted: they are real ones.
    WithinCredit,
    /// The same, beyond their credit.
    BeyondCredit,
    /// They read everything and acknowledge nothing.
    NoAcknowledgements,
    /// They stop inside a frame.
    HalfFrames,
    /// They come and go under a new identity each time.
    IdentityChurn,
    /// They merge links with themselves.
    AliasGames,
}

/// How long a stranger waits before it dials again.
const REDIAL: Duration = Duration::from_millis(20);

/// How long a stranger of [`Misdeed::AliasGames`] waits for a merge.
const MERGE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the victim may send to one that acknowledges nothing.
const LARGE_CREDIT: u64 = 1 << 40;

/// Bytes that a flood writes at once.
const FLOOD: usize = 16 << 10;

/// A stranger.
pub(super) struct Stranger {
    pub(super) dialer: Dialer,
    pub(super) victim: Host,
    pub(super) random: fastrand::Rng,
    /// Length of the payload of its frames.
    pub(super) payload: usize,
}

impl Stranger {
    /// Misbehaves for as long as it is polled.
    pub(super) async fn run(mut self, misdeed: Misdeed) {
        loop {
            // Over as soon as the victim closes the link.
            let _ = self.attempt(misdeed).await;
            clock::after(REDIAL).await;
        }
    }

    async fn attempt(&mut self, misdeed: Misdeed) -> io::Result<()> {
        let payload = vec![7; self.payload];
        let ping = Extension { ping: Some(()), ..Extension::default() };
        // What follows the records is ignored.
        let ping = [ping.encode(), payload.clone()].concat();
        match misdeed {
            Misdeed::UnknownVersion => {
                let mut message = self.message(8, payload);
                message[LENGTH_PREFIX] = 7;
                self.dial_plain().await?.flood(&message).await
            }
            Misdeed::ReservedModes => {
                let modes = [32, 39, 63][self.random.usize(..3)];
                let message = self.message(modes, payload);
                self.dial_plain().await?.flood(&message).await
            }
            Misdeed::PlainControl => {
                let message = self.message(CONTROL, ping);
                self.dial_plain().await?.flood(&message).await
            }
            Misdeed::Pings => {
                let message = self.message(CONTROL, ping);
                self.dial_extended(0).await?.flood(&message).await
            }
            Misdeed::PlainFlood => {
                let message = self.message(8, payload);
                self.dial_plain().await?.flood(&message).await
            }
            Misdeed::BeyondCredit => {
                let message = self.message(8, payload);
                self.dial_extended(0).await?.flood(&message).await
            }
            Misdeed::WithinCredit => Err(io::ErrorKind::Unsupported.into()),
            Misdeed::NoAcknowledgements => self.acknowledge_nothing().await,
            Misdeed::HalfFrames => self.stop_inside_frame().await,
            Misdeed::IdentityChurn => self.come_and_go().await,
            Misdeed::AliasGames => self.merge_with_itself().await,
        }
    }

    async fn acknowledge_nothing(&mut self) -> io::Result<()> {
        let connection = self.dial_extended(LARGE_CREDIT).await?;
        let paused = Extension { paused: Some(()), ..Extension::default() };
        let message = self.message(CONTROL, paused.encode());
        let pausing = async {
            loop {
                connection.write(&message).await?;
                clock::after(SECOND).await;
            }
        };
        future::or(pausing, connection.discard()).await
    }

    async fn stop_inside_frame(&mut self) -> io::Result<()> {
        let connection = match self.random.bool() {
            true => self.dial_plain().await?,
            false => self.dial_extended(0).await?,
        };
        let message = self.message(8, vec![7; 65_000]);
        let len = self.random.usize(1..message.len());
        connection.write(&message[..len]).await?;
        connection.discard().await
    }

    async fn come_and_go(&mut self) -> io::Result<()> {
        let connection = self.dial_extended(LARGE_CREDIT).await?;
        let frames = self.random.usize(..2);
        connection.write(&self.message(8, vec![7; 100]).repeat(frames)).await?;
        let stays = [0, 10, 1_100][self.random.usize(..3)];
        let leaving = async {
            clock::after(Duration::from_millis(stays)).await;
            Ok(())
        };
        future::or(leaving, connection.discard()).await
    }

    async fn merge_with_itself(&mut self) -> io::Result<()> {
        // Lower than all others, so that it decides on merges.
        let mut bytes = [0; 16];
        bytes[14..].copy_from_slice(&self.dialer.host.to_be_bytes());
        let instance_id = InstanceId::from(bytes);
        let mut before = self.dial_as(instance_id, 0).await?;
        loop {
            let next = self.dial_as(instance_id, 0).await?;
            let [goes, stays] = [&before, &next].map(Connection::secret);
            let (name, other) = (goes.public_name(), stays.public_name());
            let received = u64::from(self.random.u8(..4) == 0);
            let duplicate = Some((name, goes.duplicate_mac(&instance_id, &other)));
            let merge = Some((name, (received, goes.merge_mac(&instance_id, &other, received))));
            for extension in [
                Extension { duplicate, ..Extension::default() },
                Extension { merge, ..Extension::default() },
            ] {
                next.write(&self.message(CONTROL, extension.encode())).await?;
            }
            // One that was refused stays, as a peer of its own, until the next one.
            before = next;
            within(MERGE_TIMEOUT, before.until_merged()).await.unwrap_or(Ok(()))?;
        }
    }

    async fn dial(&self) -> io::Result<Arc<dyn Stream>> {
        self.dialer.connect(SocketAddr::new(ip(self.victim, false), PORT)).await
    }

    fn hello(&mut self) -> Hello {
        let mut id = [0xBA; 32];
        self.random.fill(&mut id[16..]);
        Hello { id: Id::from_bytes(id), peer_type: PeerType::Standard, port: 0 }
    }

    /// Dials as a plain node.
    async fn dial_plain(&mut self) -> io::Result<Connection> {
        let stream = self.dial().await?;
        let mut connection = Connection { stream, buffer: Vec::new(), session: None };
        let hello = self.hello().encode(&[]).expect("a small frame");
        connection.write(&prefixed(&hello)).await?;
        connection.recv().await?;
        Ok(connection)
    }

    /// Dials as a new instance of a node of this crate.
    async fn dial_extended(&mut self, credit: u64) -> io::Result<Connection> {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        self.dial_as(bytes.into(), credit).await
    }

    async fn dial_as(&mut self, instance_id: InstanceId, credit: u64) -> io::Result<Connection> {
        let stream = self.dial().await?;
        let local = LocalHello::new(instance_id, credit).expect("random bytes");
        let mut handshake = Handshake::new(stream, 512, None, &[]);
        match handshake.dial(&self.hello(), &local, None).await {
            Ok((_, Negotiated::New(session, _))) => {
                let (stream, buffer) = handshake.into_stream();
                Ok(Connection { stream, buffer, session: Some(session) })
            }
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn message(&self, modes: u16, payload: Vec<u8>) -> Vec<u8> {
        let frame = Frame::builder(modes, Id::from_bytes([0xBA; 32])).payload(payload).build();
        prefixed(&frame.expect("a frame of at most the maximum length"))
    }
}

fn prefixed(frame: &Frame) -> Vec<u8> {
    [&encode_length(frame.len())[..], frame.as_bytes()].concat()
}

/// A connection of a stranger, after its handshake.
struct Connection {
    stream: Arc<dyn Stream>,
    /// Bytes that were read and not decoded yet.
    buffer: Vec<u8>,
    session: Option<crate::peer::Session>,
}

impl Connection {
    fn secret(&self) -> &crate::proto::SessionSecret {
        &self.session.as_ref().expect("an extended link").secret
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.try_write(&[IoSlice::new(bytes)], false) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| self.stream.poll_writable(cx)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a message again and again, and discards what arrives.
    async fn flood(self, message: &[u8]) -> io::Result<()> {
        let messages = message.repeat(FLOOD.div_ceil(message.len()));
        let flooding = async {
            loop {
                self.write(&messages).await?;
            }
        };
        future::or(flooding, self.discard()).await
    }

    /// Reads and discards everything, until the end.
    async fn discard(&self) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(64 << 10);
        while read(&*self.stream, &mut buffer).await? > 0 {
            buffer.clear();
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Waits for the answer to a merge request.
    async fn until_merged(&mut self) -> io::Result<()> {
        loop {
            let frame = self.recv().await?;
            let extension = Extension::decode(frame.payload()).unwrap_or_default();
            if extension.merge_ack.is_some() {
                return Ok(());
            }
        }
    }

    /// Receives the next frame.
    async fn recv(&mut self) -> io::Result<Frame> {
        loop {
            let len =
                peek_len(&self.buffer).expect("a length").filter(|len| *len <= self.buffer.len());
            if let Some(len) = len {
                let message: Vec<u8> = self.buffer.drain(..len).collect();
                return Ok(Frame::parse(message[LENGTH_PREFIX..].to_vec()).expect("a frame"));
            }
            self.buffer.reserve(1_000);
            if read(&*self.stream, &mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Reads once. 0 is the end.
async fn read(stream: &dyn Stream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| stream.poll_readable(cx)).await?;
            }
            done => return done,
        }
    }
}
