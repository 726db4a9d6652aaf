//! The writer of a link.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::error::DownReason;
use crate::peer::Peer;
use crate::peer::send::batch_source::{BatchSource, Staged, control_frame};
use crate::peer::send::write_batch::WriteBatch;
use crate::transport::Link;

/// Writes the frames of the peer's queue until that closes or a write fails.
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
                    Staged::Closing if !self.can_say_goodbye() => break,
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
        Poll::Ready(Ok(()))
    }

    /// Whether a goodbye can be sent: not on a plain link, nor after the link was closed along with
    /// the last handle of the endpoint.
    fn can_say_goodbye(&self) -> bool {
        let link = self.source.link;
        link.is_extended() && !link.write_half().is_closed
    }

    /// Writes the whole staged batch.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Writer { peer, source: outbox, .. } = self;
        while outbox.batch.unwritten() > 0 {
            match outbox.batch.write(outbox.link) {
                // Record progress immediately, so that these frames are not sent again if the link
                // fails later.
                Ok(0) => {}
                Ok(bytes) => {
                    let (frames, bytes) = peer.queue.on_written(bytes);
                    peer.count_sent(frames, bytes);
                    // On a plain link that was one system call per frame: yield to other tasks.
                    if !outbox.link.is_extended() && outbox.batch.unwritten() > 0 {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(outbox.link.stream.poll_writable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends the last acknowledgement on a link that ends, if that is possible without blocking.
pub(crate) fn flush_final_ack(peer: &Peer, link: &Link) {
    // A pending encrypted frame would be flushed instead of it, and would not be counted.
    if link.write_half().is_mid_frame || link.stream.has_pending_write() {
        return;
    }
    if let Some(frame) = control_frame(link, peer.queue.pending_ack()) {
        let mut plan = WriteBatch::default();
        plan.reset(Some(&frame));
        // Best effort: the link is over in any case.
        let _ = plan.write(link);
    }
}

#[cfg(all(test, feature = "noise"))]
mod tests {
    use super::*;
    use crate::config::KeyPair;
    use crate::peer::{Admission, MemoryBudget, Origin, SendQueue};
    use crate::proto::{Frame, Id, PeerType, Role, Suite};
    use crate::testing::kit::pipe::{Pipe, TestWaker};
    use crate::transport::{NoiseBuffers, NoiseHandshake};
    use std::pin::pin;

    /// Regression: the frame was flushed as the last data of the link, but not counted, so that no
    /// later link could resume the session.
    #[test]
    fn a_frame_that_was_encrypted_and_not_written_does_not_go_when_the_link_ends() {
        let keys = [1, 2].map(|number| KeyPair::from_bytes([number; 32]));
        let begin =
            |role, at: usize| NoiseHandshake::begin(Suite::ChaChaPoly, role, &keys[at], None, b"");
        let mut dialer = begin(Role::Dialer, 0).unwrap();
        let mut listener = begin(Role::Listener, 1).unwrap();
        listener.read(&dialer.write().unwrap()).unwrap();
        dialer.read(&listener.write().unwrap()).unwrap();
        listener.read(&dialer.write().unwrap()).unwrap();
        let (near, far) = Pipe::pair();
        let stream = dialer.finish(near, Vec::new(), Arc::<NoiseBuffers>::default(), 100).unwrap();
        stream.lift_limit();
        let id = Id::from_bytes([1; 32]);
        let queue = SendQueue::new(MemoryBudget::new(usize::MAX), usize::MAX, 99);
        let peer = Peer::linked(7, PeerType::Standard, Origin::Accepted, queue);
        let link = Link::new(Arc::new(stream), None, Vec::new(), Some(id));
        peer.link_up(id, &link);
        let frame = Frame::builder(8, id).payload(vec![7; 9]).build().unwrap();
        peer.push(frame, None, Admission::Bounded).unwrap();
        assert!(TestWaker::new().poll(pin!(run_writer(&peer, &link))).is_none());
        peer.count_received(1, 50);
        far.incoming().room = usize::MAX;
        flush_final_ack(&peer, &link);
        peer.close_link();
        assert_eq!(far.incoming().bytes.len(), 0);
        assert!(far.incoming().ended);
        peer.link_down(&DownReason::Closed, None);
        peer.queue.resume(0).unwrap();
        assert_eq!(peer.queue.size().0, 1, "it waits for the next link");
    }
}
