//! The writer of a link. No other file writes to the socket of a link or shuts it down.
//!
//! Besides the write loop, a sending task writes a lone frame (see
//! [`direct_write`](crate::peer::send::direct_write)), and the end of a link or of the endpoint
//! writes the last control frame. They exclude each other by the lock of the
//! [`WriteHalf`](crate::transport::WriteHalf).

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::error::DownReason;
use crate::peer::Peer;
use crate::peer::send::batch_source::{BatchSource, Staged, control_frame};
use crate::peer::send::write_batch::{MAX_IOVECS, WriteBatch};
use crate::proto::Extension;
use crate::transport::{Link, WriteHalf};

/// Maximum number of frames per call on a plain link, where each takes a system call of its own.
const MAX_MESSAGES: usize = 32;

/// Writes the frames of the peer's queue until a write fails, or the queue closes. In the latter
/// case it also shuts down the write direction.
///
/// Frames are written completely and in order: many per vectored write, or one per write to a plain
/// node. A frame that is partially written when the link ends is written again on the next link.
pub(crate) fn run_writer<'a>(
    peer: &'a Peer,
    link: &'a Arc<Link>,
) -> impl Future<Output = Result<(), DownReason>> + Send + Unpin + use<'a> {
    let mut writer =
        Writer { peer, source: BatchSource::new(&peer.queue, link), state: WriteState::Idle };
    poll_fn(move |cx| writer.poll(cx).map_err(DownReason::io))
}

/// The state of the write loop.
struct Writer<'a> {
    peer: &'a Peer,
    source: BatchSource<'a>,
    state: WriteState,
}

/// The state of the writer.
enum WriteState {
    /// Waits for something to write.
    Idle,
    /// Writes the staged batch.
    Writing,
    /// Waits for acknowledgements to send after the goodbye.
    ClosingIdle,
    /// Writes the goodbye, or the control extensions staged after it.
    ClosingWrite,
}

impl Writer<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.state = match self.state {
                WriteState::Idle => match ready!(self.source.poll_stage(cx)) {
                    Staged::Batch => WriteState::Writing,
                    Staged::Closing if !self.can_send_goodbye() => break,
                    Staged::Closing => {
                        // Frames that the remote sent before it received the goodbye are still
                        // acknowledged, until its own goodbye arrives.
                        self.source.stage_goodbye(self.peer.close_record());
                        WriteState::ClosingWrite
                    }
                },
                WriteState::Writing => {
                    ready!(self.poll_write_out(cx))?;
                    self.state = WriteState::Idle;
                    // Yield, so that a busy peer does not starve others. Frames that a router on
                    // another thread adds meanwhile are batched into one write, without a wake-up.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                WriteState::ClosingIdle => match ready!(self.source.poll_final_control(cx)) {
                    Staged::Batch => WriteState::ClosingWrite,
                    Staged::Closing => break,
                },
                WriteState::ClosingWrite => {
                    ready!(self.poll_write_out(cx))?;
                    WriteState::ClosingIdle
                }
            };
        }
        self.source.link.stream.close_write();
        Poll::Ready(Ok(()))
    }

    /// Whether a goodbye can be sent: not on a plain link, nor after the link was closed along with
    /// the last handle of the endpoint.
    fn can_send_goodbye(&self) -> bool {
        let link = self.source.link;
        link.is_extended() && !link.write_half().is_closed
    }

    /// Writes the whole staged batch.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Writer { peer, source, .. } = self;
        while let Some(batch) = source.batch.get_mut().filter(|batch| batch.unwritten() > 0) {
            match write_batch(batch, source.link) {
                // Record progress immediately, so that these frames are not sent again if the link
                // fails later.
                Ok(0) => {}
                Ok(bytes) => {
                    let (frames, bytes) = peer.queue.on_written(bytes);
                    peer.count_sent(frames, bytes);
                    // On a plain link that was one system call per frame: yield to other tasks.
                    if !source.link.is_extended() && batch.unwritten() > 0 {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(source.link.stream.poll_writable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes from where the last write of the batch stopped. Returns the number of bytes of router
/// frames written.
///
/// On an extended link that is one vectored write. On a plain link it is one write per frame, for
/// up to [`MAX_MESSAGES`] frames: a plain Ratman node may fail for good on a partial length prefix,
/// so no prefix may be split over two TCP segments.
///
/// Fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the write half of the link is closed.
pub(crate) fn write_batch(batch: &mut WriteBatch, link: &Link) -> io::Result<usize> {
    write_locked(batch, link, &mut link.write_half())
}

/// Like [`write_batch`], for a caller that holds the lock of the write half.
fn write_locked(batch: &mut WriteBatch, link: &Link, half: &mut WriteHalf) -> io::Result<usize> {
    if half.is_closed {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    let before = batch.frame_bytes_written();
    match link.is_extended() {
        true => {
            write_vectored(batch, link)?;
            half.is_mid_frame = batch.unwritten() > 0;
        }
        false => {
            write_messages(batch, link)?;
            half.is_mid_frame = batch.is_mid_message();
        }
    }
    half.has_goodbye |= batch.is_goodbye_written();
    Ok(batch.frame_bytes_written() - before)
}

/// Writes as much of the batch as one call takes.
fn write_vectored(batch: &mut WriteBatch, link: &Link) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); MAX_IOVECS];
    let count = batch.slices(&mut slices, batch.unwritten());
    let written = link.stream.try_write(&slices[..count], false)?;
    batch.advance(written)
}

/// Writes message by message. Fails only if nothing was written; a persistent error occurs again on
/// the next call.
fn write_messages(batch: &mut WriteBatch, link: &Link) -> io::Result<()> {
    let before = batch.unwritten();
    for _ in 0..MAX_MESSAGES {
        if batch.unwritten() == 0 {
            break;
        }
        match write_message(batch, link) {
            Err(_) if batch.unwritten() < before => break,
            done => done?,
        }
    }
    Ok(())
}

/// Writes one message, or the rest of one, as a separate record.
fn write_message(batch: &mut WriteBatch, link: &Link) -> io::Result<()> {
    let len = batch.message_len();
    // A message is one chunk, or two: its prefix and its frame.
    let mut slices = [IoSlice::new(&[]); 2];
    let count = batch.slices(&mut slices, len);
    let written = link.stream.try_write(&slices[..count], true)?;
    batch.advance_message(len, written)
}

/// Sends the last acknowledgement on a link that ends, if that is possible without blocking.
pub(crate) fn flush_final_ack(peer: &Peer, link: &Link) {
    if !can_write_control(link, &link.write_half()) {
        return;
    }
    if let Some(frame) = control_frame(link, peer.queue.pending_ack()) {
        let mut batch = WriteBatch::default();
        batch.reset(Some(&frame));
        // Best effort: the link is over in any case.
        let _ = write_batch(&mut batch, link);
    }
}

impl Peer {
    /// Sends a goodbye with the last acknowledgement on the present link, if that supports the
    /// extension, and shuts down the write direction.
    ///
    /// It performs one non-blocking write, since the process may be about to exit. Nothing is sent
    /// in the middle of a frame, and a goodbye that the write loop has sent is not repeated. The
    /// write loop finds the link closed.
    pub(crate) fn close_link(&self) {
        let Some(link) = self.present_link() else { return };
        let goodbye = self.close_record();
        // Locked during the write, so that no acknowledgement is written after a higher one.
        let mut state = self.queue.lock();
        let mut half = link.write_half();
        if !half.is_closed && can_write_control(&link, &half) {
            let goodbye = if half.has_goodbye { Extension::default() } else { goodbye };
            let extension = state.add_last_count(goodbye);
            if let Some(frame) = control_frame(&link, Some(extension)) {
                let mut batch = WriteBatch::default();
                batch.begin_goodbye(&frame);
                // Best effort: a write that fails or is short is not retried.
                let _ = write_locked(&mut batch, &link, &mut half);
            }
        }
        half.is_closed = true;
        link.stream.close_write();
    }
}

/// Whether a control frame can be written next: no frame is partially written, and no encrypted one
/// is pending, which would be flushed instead of the control frame and would not be counted.
fn can_write_control(link: &Link, half: &WriteHalf) -> bool {
    !half.is_mid_frame && !link.stream.has_pending_write()
}

#[cfg(test)]
mod tests;
