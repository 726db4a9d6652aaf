//! The writer of a link.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures_lite::future;

use super::Peer;
use super::outbox::{Filled, Outbox, control_frame};
use super::plan::Plan;
use crate::error::DownReason;
use crate::link::Link;

/// Writes what the peer's queue holds until it closes, or fails.
///
/// Frames go out whole and in order, many in one write. One that was not written whole when the
/// link ends is written anew over the next.
pub(super) fn transmit<'a>(
    peer: &'a Peer,
    link: &'a Arc<Link>,
) -> impl Future<Output = Result<(), DownReason>> + Send + use<'a> {
    // Small, like `receive`.
    async move {
        let mut outbox = Outbox::new(&peer.queue, link);
        while poll_fn(|cx| outbox.poll_fill(cx)).await == Filled::Something {
            poll_fn(|cx| poll_write_out(cx, peer, link, &mut outbox))
                .await
                .map_err(DownReason::io)?;
            // So that a busy peer does not starve others; and a router on another thread adds some
            // more meanwhile, which then goes out in one write and wakes nobody: 0.38 to 0.54 of
            // plain TCP at 1 KiB.
            future::yield_now().await;
        }
        match link.records_as {
            Some(_) => Box::pin(part(peer, link, &mut outbox)).await.map_err(DownReason::io),
            None => Ok(()),
        }
    }
}

/// Says goodbye, and then only what the other side is owed, until it has said goodbye too: what it
/// sent before it heard of this is still to be acknowledged.
async fn part(peer: &Peer, link: &Link, outbox: &mut Outbox<'_>) -> io::Result<()> {
    outbox.say(peer.goodbye());
    poll_fn(|cx| poll_write_out(cx, peer, link, outbox)).await?;
    while poll_fn(|cx| outbox.poll_last_records(cx)).await == Filled::Something {
        poll_fn(|cx| poll_write_out(cx, peer, link, outbox)).await?;
    }
    Ok(())
}

/// Tells the other side what it is owed, if that can be done without waiting: the link ends.
pub(super) fn settle(peer: &Peer, link: &Link) {
    // A frame that was encrypted and not written would go instead, and nobody would count it.
    if link.is_torn.load(Ordering::Relaxed) || link.stream.has_begun() {
        return;
    }
    if let Some(frame) = control_frame(link, peer.queue.owed()) {
        let mut plan = Plan::default();
        plan.begin(Some(&frame));
        // Whether it arrives or not, the link is over.
        let _ = plan.write(link);
    }
}

/// Writes all that is planned.
fn poll_write_out(
    cx: &mut Context<'_>,
    peer: &Peer,
    link: &Link,
    outbox: &mut Outbox<'_>,
) -> Poll<io::Result<()>> {
    while outbox.plan.unwritten() > 0 {
        match outbox.plan.write(link) {
            // At once, so that a link that fails later does not send these frames again.
            Ok(0) => {}
            Ok(bytes) => {
                let (frames, bytes) = peer.queue.written(bytes);
                peer.count_sent(frames, bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(link.stream.poll_writable(cx))?;
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}

#[cfg(all(test, feature = "noise"))]
mod tests {
    use super::*;
    use crate::fuzz::{Line, Wakes};
    use crate::keys::KeyPair;
    use crate::link::{Exchange, Spare};
    use crate::peer::{Budget, Origin, Queue};
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
        peer.push(frame, None, false).unwrap();
        assert!(Wakes::new().poll(pin!(transmit(&peer, &link))).is_none());
        peer.count_received(1, 50);
        far.incoming().room = usize::MAX;
        settle(&peer, &link);
        assert_eq!(far.incoming().bytes.len(), 0);
        peer.link_down(&DownReason::Closed, None);
        peer.queue.resume(0).unwrap();
        assert_eq!(peer.queue.size().0, 1, "it waits for the next link");
    }
}
