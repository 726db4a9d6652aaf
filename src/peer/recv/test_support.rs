//! Test fixtures: encoded messages, and a peer with a link and its reader.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::DownReason;
use crate::peer::recv::inbound_queue::{Inbound, InboundSender, inbound};
use crate::peer::recv::reader::run_reader;
use crate::peer::{InitialCredit, MemoryBudget, OnNewSession, Origin, Peer, SendQueue, WindowSize};
use crate::proto::{Frame, Id, PeerType, encode_length};
use crate::testing::kit::pipe::{Pipe, TestWaker};
use crate::transport::{Link, Stream};
#[cfg(feature = "noise")]
use crate::{
    config::KeyPair,
    proto::{Role, Suite},
    transport::{NoiseBuffers, NoiseHandshake, NoiseStream},
};

/// An encoded frame with its length prefix.
pub(crate) fn message(modes: u16, payload: usize) -> Vec<u8> {
    let id = Id::from_bytes([3; 32]);
    let frame = Frame::builder(modes, id).payload(vec![1; payload]).build().unwrap();
    [&encode_length(frame.len())[..], frame.as_bytes()].concat()
}

/// A peer whose link is read into an inbound queue.
pub(crate) struct LinkedReader {
    pub(crate) peer: Arc<Peer>,
    pub(crate) link: Arc<Link>,
    /// The remote end of the link.
    pub(crate) remote: Arc<Pipe>,
    pub(crate) sender: InboundSender,
    pub(crate) inbound: Inbound,
    waker: TestWaker,
    reader: Option<Pin<Box<dyn Future<Output = DownReason>>>>,
}

impl LinkedReader {
    /// Creates the reader of a stranger, with this limit of the inbound queue.
    pub(crate) fn new(bytes: usize, is_extended: bool) -> LinkedReader {
        let (local, remote) = Pipe::pair();
        LinkedReader::over(local, remote, bytes, is_extended)
    }

    /// The same over an encrypted stream, which is returned with that of the remote.
    #[cfg(feature = "noise")]
    pub(crate) fn encrypted(bytes: usize) -> (LinkedReader, [Arc<NoiseStream>; 2]) {
        let begin = |role, number| {
            let keys = KeyPair::from_bytes([number; 32]);
            NoiseHandshake::begin(Suite::ChaChaPoly, role, &keys, None, b"hello").unwrap()
        };
        let (mut dialer, mut listener) = (begin(Role::Dialer, 1), begin(Role::Listener, 2));
        listener.read(&dialer.write().unwrap()).unwrap();
        dialer.read(&listener.write().unwrap()).unwrap();
        listener.read(&dialer.write().unwrap()).unwrap();
        let (local, remote) = Pipe::pair();
        remote.outgoing().room = usize::MAX;
        let buffers = Arc::<NoiseBuffers>::default();
        let near = listener.finish(local, Vec::new(), buffers.clone(), 100).unwrap();
        let far = dialer.finish(remote.clone(), Vec::new(), buffers, 100).unwrap();
        let streams = [near, far].map(Arc::new);
        streams.iter().for_each(|stream| stream.lift_limit());
        (LinkedReader::over(streams[0].clone(), remote, bytes, true), streams)
    }

    fn over(
        stream: Arc<dyn Stream>,
        remote: Arc<Pipe>,
        bytes: usize,
        is_extended: bool,
    ) -> LinkedReader {
        let (sender, inbound) = inbound(bytes);
        let queue = SendQueue::new(MemoryBudget::new(1), 1, 1);
        let peer = Arc::new(Peer::linked(7.into(), PeerType::Standard, Origin::Accepted, queue));
        let window = WindowSize::initial(sender.pool(), peer.class());
        let credit = InitialCredit { granted: window.bytes() as u64, received: 0 };
        peer.start_session(None, OnNewSession::ReturnAll, window, credit);
        peer.queue.link_up(is_extended);
        let control_sender = is_extended.then_some(Id::from_bytes([1; 32]));
        let link = Link::unencrypted(stream, None, Vec::new(), control_sender);
        let (served, read, delivery) = (peer.clone(), link.clone(), sender.clone());
        let reader = async move { run_reader(&served, &read, &delivery, &|_| ()).await };
        let (waker, reader) = (TestWaker::new(), Some(Box::pin(reader) as _));
        LinkedReader { peer, link, remote, sender, inbound, waker, reader }
    }

    /// Makes `bytes` arrive `count` times.
    pub(crate) fn receive(&self, bytes: &[u8], count: usize) {
        let mut way = self.remote.outgoing();
        (0..count).for_each(|_| way.write(bytes));
        way.arrive(usize::MAX);
    }

    /// Polls the reader once. Returns how many bytes it read.
    pub(crate) fn poll_once(&mut self) -> usize {
        let before = self.remote.outgoing().arrived;
        let reader = self.reader.as_mut().expect("a running reader");
        assert!(self.waker.poll_once(reader.as_mut()).is_none(), "the link ended");
        before - self.remote.outgoing().arrived
    }

    /// Runs the reader until it waits. Returns why the link ended, if it has.
    pub(crate) fn run(&mut self) -> Option<DownReason> {
        self.waker.poll(self.reader.as_mut().expect("a running reader").as_mut())
    }

    /// Makes `flow` arrive, `bytes` bytes at a time, until back-pressure blocks the reader.
    pub(crate) fn fill(&mut self, flow: &[u8], bytes: usize) {
        while !self.is_backpressured() {
            self.receive(flow, bytes / flow.len());
            assert!(self.run().is_none());
        }
    }

    pub(crate) fn is_backpressured(&self) -> bool {
        self.peer.queue.liveness_inputs().is_backpressured
    }

    /// Drops the reader.
    pub(crate) fn stop(&mut self) {
        self.reader = None;
    }
}
