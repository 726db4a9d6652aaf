//! The transport between two nodes: byte streams, and links on top of them.

#[cfg(feature = "noise")]
mod noise;
mod socket;
mod stream;
mod tcp;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard};

use crate::primitives::lock::Mutex;
use crate::proto::{Id, PublicKey};

#[cfg(feature = "noise")]
pub(crate) use noise::{
    AuthError, HandshakeLimiter, NoiseBuffers, NoiseHandshake, NoiseStream, Priority, has_aes,
};
pub(crate) use socket::{Keepalive, PROBE_VERDICT_AFTER, PROBE_WINDOW, listen};
pub(crate) use stream::Stream;
pub(crate) use tcp::{Connect, ConnectFuture, TcpConnector, TcpLink};

/// A link: a stream after its handshake, and its read buffer.
pub(crate) struct Link {
    pub(crate) stream: Arc<dyn Stream>,
    pub(crate) addr: Option<SocketAddr>,
    /// The local id, which is the sender of control frames. `None` on a link to a plain node.
    /// Shared by all links.
    pub(crate) control_sender: Option<Arc<Id>>,
    /// The key of the remote, if the link is encrypted. Boxed, since most links have none.
    key: Option<Box<PublicKey>>,
    /// Locked for the duration of a write, which does not block. Lock order: the peer's queue, then
    /// this.
    write_half: Mutex<WriteHalf>,
    /// Number of reads that returned data. Serves liveness detection.
    pub(crate) reads: AtomicU32,
    /// Whether the reader loop waits for the rest of a frame.
    is_inside_frame: AtomicBool,
    /// Locked by the reader loop while it reads, and never while it waits.
    read_buffer: Mutex<ReadBuffer>,
}

/// What may still be written to a link.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WriteHalf {
    /// A frame is partially written: only the rest of it may follow.
    pub(crate) is_mid_frame: bool,
    /// The goodbye is written: only acknowledgements may follow.
    pub(crate) has_goodbye: bool,
    /// Nothing more may be written.
    pub(crate) is_closed: bool,
}

/// Received bytes that were not handled yet.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    pub(crate) buffer: Vec<u8>,
    /// Offset of the first unhandled byte. Moving the rest to the front after every run of frames
    /// would take quadratic time.
    ///
    /// Invariant: `start <= buffer.len()`.
    pub(crate) start: usize,
    /// Capacity that the traffic of the link was found to need.
    pub(crate) size: usize,
    /// Number of times that whole frames were consumed; wraps around.
    pub(crate) consumed: u32,
}

impl Link {
    /// Creates an unencrypted link.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn unencrypted(
        stream: Arc<dyn Stream>,
        addr: Option<SocketAddr>,
        ahead: Vec<u8>,
        control_sender: Option<Id>,
    ) -> Arc<Link> {
        Link::new(stream, addr, ahead, control_sender.map(Arc::new), None)
    }

    /// Creates a link over `stream`. `ahead` holds bytes that were read past the handshake.
    ///
    /// `control_sender` is the local id if the link is extended. `key` is the remote's key if the
    /// stream is encrypted.
    pub(crate) fn new(
        stream: Arc<dyn Stream>,
        addr: Option<SocketAddr>,
        ahead: Vec<u8>,
        control_sender: Option<Arc<Id>>,
        key: Option<PublicKey>,
    ) -> Arc<Link> {
        let read_buffer = Mutex::new(ReadBuffer { buffer: ahead, ..ReadBuffer::default() });
        Arc::new(Link {
            stream,
            addr,
            control_sender,
            key: key.map(Box::new),
            write_half: Mutex::default(),
            reads: AtomicU32::new(0),
            is_inside_frame: AtomicBool::new(false),
            read_buffer,
        })
    }

    /// Whether the remote supports the extension. A plain node does not.
    pub(crate) fn is_extended(&self) -> bool {
        self.control_sender.is_some()
    }

    /// Locks the write half.
    pub(crate) fn write_half(&self) -> MutexGuard<'_, WriteHalf> {
        self.write_half.lock()
    }

    /// Locks the read buffer.
    pub(crate) fn read_buffer(&self) -> MutexGuard<'_, ReadBuffer> {
        self.read_buffer.lock()
    }

    /// The key of the remote, if the link is encrypted.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.key.as_deref().copied()
    }

    /// Records, while the reader loop waits for data, whether that is the rest of a frame.
    pub(crate) fn set_inside_frame(&self, read_buffer: &ReadBuffer) {
        let is_inside = self.partial_bytes(read_buffer) > 0;
        self.is_inside_frame.store(is_inside, Ordering::Relaxed);
    }

    /// Whether the reader loop waits for the rest of a frame.
    pub(crate) fn is_inside_frame(&self) -> bool {
        self.is_inside_frame.load(Ordering::Relaxed)
    }

    /// Number of bytes of the partial frame, and of the partial record of an encrypted link.
    pub(crate) fn partial_bytes(&self, read_buffer: &ReadBuffer) -> usize {
        read_buffer.buffer.len() - read_buffer.start + self.stream.partial_record()
    }

    /// Counter that changes whenever data arrives.
    pub(crate) fn activity(&self) -> u32 {
        self.reads.load(Ordering::Relaxed).wrapping_add(self.stream.activity())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("addr", &self.addr).finish_non_exhaustive()
    }
}
