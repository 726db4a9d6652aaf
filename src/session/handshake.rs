//! Hello and Ack over a stream, under one deadline.

use std::future::poll_fn;
use std::io::{self, IoSlice};

use crate::error::HandshakeError;
use crate::link::Stream;
use crate::proto::{
    Ack, Frame, FrameError, Hello, Id, PREFIX, PeerType, encode_length, whole_message,
};

/// A handshake under way on one stream.
///
/// It reads no more than `limit` bytes ahead, and keeps what came behind the message that it
/// waited for.
pub(super) struct Handshake<'a> {
    stream: &'a dyn Stream,
    buffer: Vec<u8>,
    limit: usize,
}

impl<'a> Handshake<'a> {
    pub(super) fn new(stream: &'a dyn Stream, limit: usize) -> Handshake<'a> {
        Handshake { stream, buffer: Vec::new(), limit }
    }

    /// Says Hello and hears the Ack: who the other side claims to be.
    pub(super) async fn dial(&mut self, hello: &Hello) -> Result<Id, HandshakeError> {
        self.say(hello.encode()).await?;
        let ack = Ack::decode(&self.hear().await?).map_err(HandshakeError::Unexpected)?;
        if ack.peer_type != hello.peer_type {
            let (asked, echoed) = (hello.peer_type, ack.peer_type);
            return Err(HandshakeError::PeerType { asked, echoed });
        }
        match ack.id == hello.id {
            true => Err(HandshakeError::OwnSelf),
            false => Ok(ack.id),
        }
    }

    /// Hears the Hello.
    pub(super) async fn hear_hello(&mut self) -> Result<Hello, HandshakeError> {
        Hello::decode(&self.hear().await?).map_err(HandshakeError::Unexpected)
    }

    /// Answers a Hello that asked for `peer_type`, as the dialer sees it.
    pub(super) async fn say_ack(
        &mut self,
        id: Id,
        peer_type: PeerType,
    ) -> Result<(), HandshakeError> {
        self.say(Ack { id, peer_type }.encode()).await
    }

    /// What was read behind the handshake.
    pub(super) fn into_rest(self) -> Vec<u8> {
        self.buffer
    }

    async fn say(&mut self, frame: Result<Frame, FrameError>) -> Result<(), HandshakeError> {
        let frame = frame.map_err(HandshakeError::Frame)?;
        let message = [&encode_length(frame.len()), frame.as_bytes()].concat();
        let mut rest = &message[..];
        while !rest.is_empty() {
            match self.stream.try_write(&[IoSlice::new(rest)]) {
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

    async fn hear(&mut self) -> Result<Frame, HandshakeError> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(frame);
            }
            self.buffer.reserve_exact(self.limit - self.buffer.len());
            match self.stream.try_read(&mut self.buffer) {
                Ok(0) => return Err(HandshakeError::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| self.stream.poll_readable(cx)).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<Frame>, HandshakeError> {
        let whole = whole_message(&self.buffer).map_err(HandshakeError::OutOfStep)?;
        let Some(len) = whole else { return Ok(None) };
        if len > self.limit {
            return Err(HandshakeError::TooLong(len));
        }
        let Some(frame) = self.buffer.get(PREFIX..len) else { return Ok(None) };
        let frame = Frame::parse(frame.to_vec()).map_err(HandshakeError::Frame)?;
        self.buffer.drain(..len);
        Ok(Some(frame))
    }
}
