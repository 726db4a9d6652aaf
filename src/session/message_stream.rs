//! Frames of a handshake on a stream, one message at a time.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::error::HandshakeError;
use crate::proto::{Frame, FrameError, LENGTH_PREFIX, encode_length, peek_len};
use crate::transport::Stream;

/// Sends and receives the messages of one handshake.
///
/// Reads no more than `limit` bytes ahead, and keeps bytes that follow the message that it waited
/// for.
pub(crate) struct MessageStream {
    stream: Arc<dyn Stream>,
    /// Bytes that were read and not decoded yet. Invariant: at most `limit` bytes long.
    buffer: Vec<u8>,
    /// The longest message that is accepted, in bytes, including its length prefix.
    limit: usize,
    /// The messages sent and received so far, if they are recorded.
    transcript: Option<Vec<u8>>,
}

impl MessageStream {
    /// Wraps a stream. Records a transcript of the messages if `records_transcript`.
    pub(crate) fn new(
        stream: Arc<dyn Stream>,
        limit: usize,
        records_transcript: bool,
    ) -> MessageStream {
        let transcript = records_transcript.then(Vec::new);
        MessageStream { stream, buffer: Vec::new(), limit, transcript }
    }

    /// Returns the stream, and the bytes that were read past the last message.
    pub(crate) fn into_parts(self) -> (Arc<dyn Stream>, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// Takes the transcript, and stops recording it.
    #[cfg(feature = "noise")]
    pub(crate) fn take_transcript(&mut self) -> Vec<u8> {
        self.transcript.take().unwrap_or_default()
    }

    /// Replaces the stream by one over it. `wrap` gets the stream, the bytes that were read ahead,
    /// and the maximum length of a message.
    #[cfg(feature = "noise")]
    pub(crate) fn wrap<S: Stream>(
        &mut self,
        wrap: impl FnOnce(Arc<dyn Stream>, Vec<u8>, usize) -> Result<S, HandshakeError>,
    ) -> Result<Arc<S>, HandshakeError> {
        let ahead = std::mem::take(&mut self.buffer);
        let stream = Arc::new(wrap(self.stream.clone(), ahead, self.limit)?);
        self.stream = stream.clone();
        Ok(stream)
    }

    /// Writes a message, and records it in the transcript.
    pub(crate) async fn send(
        &mut self,
        frame: Result<Frame, FrameError>,
    ) -> Result<(), HandshakeError> {
        let frame = frame.map_err(HandshakeError::Frame)?;
        let message = [&encode_length(frame.len()), frame.as_bytes()].concat();
        if let Some(transcript) = &mut self.transcript {
            transcript.extend_from_slice(&message);
        }
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
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
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
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error.into()),
            },
            Ok(_) => Ok(()),
        }
    }

    /// Decodes a message from the front of the buffer. `None` if it is not complete yet.
    fn take_frame(&mut self) -> Result<Option<Frame>, HandshakeError> {
        let len = peek_len(&self.buffer).map_err(HandshakeError::Framing)?;
        let Some(len) = len else { return Ok(None) };
        if len > self.limit {
            return Err(HandshakeError::TooLong(len));
        }
        let Some(message) = self.buffer.get(..len) else { return Ok(None) };
        let frame =
            Frame::parse(message[LENGTH_PREFIX..].to_vec()).map_err(HandshakeError::Frame)?;
        if let Some(transcript) = &mut self.transcript {
            transcript.extend_from_slice(message);
        }
        self.buffer.drain(..len);
        Ok(Some(frame))
    }
}
