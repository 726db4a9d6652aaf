//! The writer of a link.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::Peer;
use super::outbox::{Filled, Outbox, control_frame};
use super::plan::Plan;
use crate::error::DownReason;
use crate::link::Link;

/// Writes what the peer's queue holds until it closes, or fails.
///
/// Frames go out whole and in order, many in one write, or each in its own to a plain node. One
/// that was not written whole when the link ends is written anew over the next.
pub(super) fn transmit<'a>(
    peer: &'a Peer,
    link: &'a Arc<Link>,
) -> impl Future<Output = Result<(), DownReason>> + Send + Unpin + use<'a> {
    let mut writer = Writer { peer, outbox: Outbox::new(&peer.queue, link), next: Next::Frames };
    poll_fn(move |cx| writer.poll(cx).map_err(DownReason::io))
}

/// The writer at work.
struct Writer<'a> {
    peer: &'a Peer,
    outbox: Outbox<'a>,
    next: Next,
}

/// What a writer does next.
enum Next {
    /// Waits for something to write.
    Frames,
    /// Writes that.
    Write,
    /// Waits for what the other side is owed after the goodbye.
    LastRecords,
    /// Writes that, or the goodbye.
    WriteLast,
}

impl Writer<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.next = match self.next {
                Next::Frames => match ready!(self.outbox.poll_fill(cx)) {
                    Filled::Something => Next::Write,
                    Filled::Closing if !self.can_say_goodbye() => break,
                    Filled::Closing => {
                        // What the other side sent before it heard of this is still to be
                        // acknowledged, until it has said goodbye too.
                        self.outbox.stage_goodbye(self.peer.goodbye());
                        Next::WriteLast
                    }
                },
                Next::Write => {
                    ready!(self.poll_write_out(cx))?;
                    self.next = Next::Frames;
                    // So that a busy peer does not starve others; and a router on another thread adds
                    // some more meanwhile, which then goes out in one write and wakes nobody: 0.38 to
                    // 0.54 of plain TCP at 1 KiB.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Next::LastRecords => match ready!(self.outbox.poll_last_records(cx)) {
                    Filled::Something => Next::WriteLast,
                    Filled::Closing => break,
                },
                Next::WriteLast => {
                    ready!(self.poll_write_out(cx))?;
                    Next::LastRecords
                }
            };
        }
        Poll::Ready(Ok(()))
    }

    /// Not to a plain node, and not if the last handle of the endpoint has closed the link.
    fn can_say_goodbye(&self) -> bool {
        let link = self.outbox.link;
        link.is_extended() && !link.write_half().is_closed
    }

    /// Writes all that is planned.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Writer { peer, outbox, .. } = self;
        while outbox.plan.unwritten() > 0 {
            match outbox.plan.write(outbox.link) {
                // At once, so that a link that fails later does not send these frames again.
                Ok(0) => {}
                Ok(bytes) => {
                    let (frames, bytes) = peer.queue.written(bytes);
                    peer.count_sent(frames, bytes);
                    // To a plain node that was a system call for each frame. Others get their turn.
                    if !outbox.link.is_extended() && outbox.plan.unwritten() > 0 {
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

/// Tells the other side what it is owed, if that can be done without waiting: the link ends.
pub(super) fn settle(peer: &Peer, link: &Link) {
    // A frame that was encrypted and not written would go instead, and nobody would count it.
    if link.write_half().is_mid_frame || link.stream.has_begun() {
        return;
    }
    if let Some(frame) = control_frame(link, peer.queue.owed()) {
        let mut plan = Plan::default();
        plan.begin(Some(&frame));
        // Whether it arrives or not, the link is over.
        let _ = plan.write(link);
    }
}

#[cfg(all(test, feature = "noise"))]
mod tests {
    use super::*;
    use crate::fuzz::{Line, Wakes};
    use crate::keys::KeyPair;
    use crate::link::{Exchange, Spare};
    use crate::peer::{Admission, Budget, Origin, Queue};
    use crate::proto::{Frame, Id, PeerType, Role, Suite};
    use std::pin::pin;

    /// It went as the last word of a link, was not counted, and no later link could resume.
    #[test]
    fn a_frame_that_was_encrypted_and_not_written_does_not_go_when_the_link_ends() {
        let keys = [1, 2].map(|number| KeyPair::from_bytes([number; 32]));
        let begin =
            |role, at: usize| Exchange::begin(Suite::ChaChaPoly, role, &keys[at], None, b"");
        let mut dialer = begin(Role::Dialer, 0).unwrap();
        let mut listener = begin(Role::Listener, 1).unwrap();
        listener.read(&dialer.write().unwrap()).unwrap();
        dialer.read(&listener.write().unwrap()).unwrap();
        listener.read(&dialer.write().unwrap()).unwrap();
        let (near, far) = Line::pair();
        let stream = dialer.finish(near, Vec::new(), Arc::<Spare>::default(), 100).unwrap();
        stream.open_up();
        let id = Id::from_bytes([1; 32]);
        let queue = Queue::new(Budget::new(usize::MAX), usize::MAX, 99);
        let peer = Peer::linked(7, PeerType::Standard, Origin::Accepted, queue);
        let link = Link::new(Arc::new(stream), None, Vec::new(), Some(id));
        peer.link_up(id, &link);
        let frame = Frame::builder(8, id).payload(vec![7; 9]).build().unwrap();
        peer.push(frame, None, Admission::Bounded).unwrap();
        assert!(Wakes::new().poll(pin!(transmit(&peer, &link))).is_none());
        peer.count_received(1, 50);
        far.incoming().room = usize::MAX;
        settle(&peer, &link);
        peer.close_link();
        assert_eq!(far.incoming().bytes.len(), 0);
        assert!(far.incoming().ended);
        peer.link_down(&DownReason::Closed, None);
        peer.queue.resume(0).unwrap();
        assert_eq!(peer.queue.size().0, 1, "it waits for the next link");
    }
}
