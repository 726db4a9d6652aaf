//! Test fixtures: a queue of numbered frames, and a peer with a link and its writer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::error::{DownReason, SendErrorKind};
use crate::peer::send::batch_source::{BatchSource, Staged};
use crate::peer::send::writer::run_writer;
use crate::peer::{Admission, MemoryBudget, Origin, Peer, SendQueue};
use crate::proto::{CONTROL, Extension, Frame, Id, LENGTH_PREFIX, PeerType, peek_len};
use crate::testing::kit::pipe::{Pipe, TestWaker};
use crate::transport::Link;

pub(crate) const ID: Id = Id::from_bytes([1; 32]);

/// Length of [`frame`] on the wire, with its length prefix.
pub(crate) const FRAME_LEN: usize = LENGTH_PREFIX + Frame::MIN_LEN + 9;

/// A small frame.
pub(crate) fn frame() -> Frame {
    Frame::builder(8, ID).payload(vec![7; 9]).build().unwrap()
}

/// A frame of 100 bytes, whose sender id is made of `number`. It costs 228 bytes.
pub(crate) fn numbered_frame(number: u8) -> Frame {
    Frame::builder(8, Id::from_bytes([number; 32])).payload(vec![number; 59]).build().unwrap()
}

/// The numbers of frames.
pub(crate) fn numbers(frames: Vec<Frame>) -> Vec<u8> {
    frames.iter().map(|frame| frame.sender().as_bytes()[0]).collect()
}

/// A queue with these limits, and its budget.
pub(crate) fn queue(budget: usize, bytes: usize, frames: usize) -> (Arc<MemoryBudget>, SendQueue) {
    let budget = MemoryBudget::new(budget);
    let queue = SendQueue::new(budget.clone(), bytes, frames);
    queue.add_credit(u64::MAX);
    (budget, queue)
}

/// Enqueues a numbered frame.
pub(crate) fn push(queue: &SendQueue, number: u8) -> Result<(), SendErrorKind> {
    let pushed = queue.push(numbered_frame(number), Admission::Bounded);
    pushed.map(drop).map_err(|(error, _)| error)
}

/// A link to a plain node.
pub(crate) fn plain_link() -> Arc<Link> {
    Link::unencrypted(Pipe::pair().0, None, Vec::new(), None)
}

pub(crate) fn poll_stage(source: &mut BatchSource<'_>) -> Poll<Staged> {
    source.poll_stage(&mut Context::from_waker(Waker::noop()))
}

/// A peer whose link is up. The socket accepts any number of bytes at first.
pub(crate) struct LinkedPeer {
    pub(crate) peer: Arc<Peer>,
    pub(crate) link: Arc<Link>,
    /// The remote end of the link.
    pub(crate) remote: Arc<Pipe>,
    pub(crate) waker: TestWaker,
    writer: Pin<Box<dyn Future<Output = Result<(), DownReason>>>>,
}

impl LinkedPeer {
    pub(crate) fn new(is_extended: bool) -> LinkedPeer {
        let queue = SendQueue::new(MemoryBudget::new(usize::MAX), usize::MAX, 99);
        LinkedPeer::with_queue(queue, is_extended)
    }

    pub(crate) fn with_queue(queue: SendQueue, is_extended: bool) -> LinkedPeer {
        let (local, remote) = Pipe::pair();
        let link = Link::unencrypted(local, None, Vec::new(), is_extended.then_some(ID));
        let peer = Peer::linked(7.into(), PeerType::Standard, Origin::Accepted, queue);
        peer.link_up(ID, &link);
        peer.queue.add_credit(u64::MAX);
        let peer = Arc::new(peer);
        let (served, written) = (peer.clone(), link.clone());
        let writer = Box::pin(async move { run_writer(&served, &written).await });
        let linked = LinkedPeer { peer, link, remote, waker: TestWaker::new(), writer };
        linked.limit_writes(usize::MAX);
        linked
    }

    /// Sets how many more bytes the socket accepts.
    pub(crate) fn limit_writes(&self, bytes: usize) {
        self.remote.incoming().room = bytes;
    }

    /// Sends a small frame.
    pub(crate) fn send(&self) {
        self.peer.push(frame(), Admission::Bounded).unwrap();
    }

    /// Runs the writer until it waits. Returns whether it has ended.
    pub(crate) fn run_writer(&mut self) -> bool {
        self.waker.poll(self.writer.as_mut()).is_some()
    }

    /// Polls the writer once.
    pub(crate) fn poll_writer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownReason>> {
        self.writer.as_mut().poll(cx)
    }

    /// Number of bytes that were written to the socket.
    pub(crate) fn written(&self) -> usize {
        self.remote.incoming().bytes.len()
    }

    /// Number of small frames that were written to the socket.
    pub(crate) fn written_frames(&self) -> usize {
        self.written() / FRAME_LEN
    }

    /// The control extensions that were written to the socket.
    pub(crate) fn written_extensions(&self) -> Vec<Extension> {
        let mut incoming = self.remote.incoming();
        let (mut rest, mut found) = (&*incoming.bytes.make_contiguous(), Vec::new());
        while let Some(len) = peek_len(rest).unwrap().filter(|len| *len <= rest.len()) {
            let frame = Frame::parse(rest[LENGTH_PREFIX..len].to_vec()).unwrap();
            if frame.modes() == CONTROL {
                found.push(Extension::decode(frame.payload()).unwrap());
            }
            rest = &rest[len..];
        }
        found
    }
}
