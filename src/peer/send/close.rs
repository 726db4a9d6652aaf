//! Closing a link without its writer, where the last handle of the endpoint is dropped.

use crate::peer::send::batch_source::control_frame;
use crate::peer::send::queue::SendQueue;
use crate::peer::send::write_batch::WriteBatch;
use crate::proto::Records;
use crate::transport::Link;

impl SendQueue {
    /// Sends a goodbye with the last acknowledgement, and closes the write direction of the link.
    ///
    /// It performs one non-blocking write, since the process may be about to exit. Nothing is sent
    /// in the middle of a frame, and a goodbye that the writer has sent is not repeated. The writer
    /// finds the link closed.
    pub(crate) fn close_link(&self, link: &Link, goodbye: Records) {
        // Locked during the write, so that no acknowledgement is written after a higher one.
        let mut state = self.lock();
        let mut half = link.write_half();
        if !half.is_closed && !half.is_mid_frame && !link.stream.has_pending_write() {
            let goodbye = if half.has_goodbye { Records::default() } else { goodbye };
            let records = state.add_last_count(goodbye);
            if let Some(frame) = control_frame(link, Some(records)) {
                let mut plan = WriteBatch::default();
                plan.begin_goodbye(&frame);
                // Best effort: a write that fails or is short is not retried.
                let _ = plan.write_to(link, &mut half);
            }
        }
        half.is_closed = true;
        link.stream.close_write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{DownReason, Goodbye, GoodbyeReason};
    use crate::peer::send::writer::{flush_final_ack, run_writer};
    use crate::peer::{Admission, Closing, MemoryBudget, Origin, Peer};
    use crate::proto::{CONTROL, Frame, Id, LENGTH_PREFIX, PeerType, peek_len};
    use crate::testing::kit::pipe::{Pipe, TestWaker};
    use std::pin::pin;
    use std::sync::Arc;

    const ID: Id = Id::from_bytes([1; 32]);

    fn frame() -> Frame {
        Frame::builder(8, ID).payload(vec![7; 9]).build().unwrap()
    }

    fn linked(is_extended: bool) -> (Peer, Arc<Link>, Arc<Pipe>) {
        let queue = SendQueue::new(MemoryBudget::new(usize::MAX), usize::MAX, 99);
        let peer = Peer::linked(7, PeerType::Standard, Origin::Accepted, queue);
        let (line, other) = Pipe::pair();
        line.outgoing().room = usize::MAX;
        let link = Link::new(line, None, Vec::new(), is_extended.then_some(ID));
        peer.link_up(ID, &link);
        (peer, link, other)
    }

    /// The extensions that the remote has received.
    fn records(other: &Pipe) -> Vec<Records> {
        let mut way = other.incoming();
        let (mut rest, mut found) = (&*way.bytes.make_contiguous(), Vec::new());
        while let Some(len) = peek_len(rest).unwrap().filter(|len| *len <= rest.len()) {
            let frame = Frame::parse(rest[LENGTH_PREFIX..len].to_vec()).unwrap();
            if frame.modes() == CONTROL {
                found.push(Records::decode(frame.payload()).unwrap());
            }
            rest = &rest[len..];
        }
        found
    }

    fn stop(peer: &Peer) {
        peer.stop(Closing::Now, DownReason::ShuttingDown);
    }

    fn is_goodbye(records: &Records) -> bool {
        let goodbye = records.end.map(Goodbye::from);
        goodbye.is_some_and(|goodbye| goodbye.reason == GoodbyeReason::ShuttingDown)
    }

    #[test]
    fn goodbye_and_count_are_the_last_word_whoever_says_them() {
        for is_writer_first in [false, true] {
            let (peer, link, other) = linked(true);
            let wakes = TestWaker::new();
            let mut writing = pin!(run_writer(&peer, &link));
            assert!(wakes.poll(writing.as_mut()).is_none());
            peer.count_received(3, 300);
            stop(&peer);
            if is_writer_first {
                assert!(wakes.poll(writing.as_mut()).is_none());
                peer.count_received(2, 200);
            }
            peer.close_link();
            assert!(other.incoming().ended);
            let said = records(&other);
            assert_eq!(said.iter().filter(|records| is_goodbye(records)).count(), 1, "{said:?}");
            let count = if is_writer_first { 5 } else { 3 };
            assert_eq!(said.last().unwrap().received, Some(count));
            let len = other.incoming().bytes.len();
            // The writer and the link run to their end.
            peer.count_received(1, 100);
            wakes.poll(writing.as_mut());
            flush_final_ack(&peer, &link);
            peer.close_link();
            assert_eq!(other.incoming().bytes.len(), len);
        }
    }

    #[test]
    fn in_the_middle_of_a_frame_or_to_a_plain_node_nothing_is_said() {
        for (is_extended, room) in [(true, 20), (false, 20), (false, usize::MAX), (true, 0)] {
            let (peer, link, other) = linked(is_extended);
            other.incoming().room = room;
            peer.push(frame(), None, Admission::Bounded).unwrap();
            let wakes = TestWaker::new();
            let mut writing = pin!(run_writer(&peer, &link));
            assert!(wakes.poll(writing.as_mut()).is_none());
            let len = other.incoming().bytes.len();
            assert_eq!(len, room.min(LENGTH_PREFIX + frame().len()));
            other.incoming().room = if room == 0 { 0 } else { usize::MAX };
            stop(&peer);
            peer.close_link();
            wakes.poll(writing.as_mut());
            flush_final_ack(&peer, &link);
            assert!(other.incoming().ended);
            assert_eq!(other.incoming().bytes.len(), len);
        }
    }

    #[test]
    fn a_peer_without_a_link_has_nothing_closed() {
        let (peer, _link, other) = linked(true);
        peer.link_down(&DownReason::Closed, None);
        peer.close_link();
        assert!(!other.incoming().ended && other.incoming().bytes.is_empty());
    }
}
