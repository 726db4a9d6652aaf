//! One stream between two nodes: bytes in, bytes out.

#[cfg(feature = "noise")]
mod noise;
mod socket;
mod stream;
mod tcp;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::proto::{Id, PublicKey};

#[cfg(feature = "noise")]
pub(crate) use noise::{
    AuthError, HandshakeLimiter, NoiseBuffers, NoiseHandshake, NoiseStream, Priority, has_aes,
};
pub(crate) use socket::{Keepalive, PROBE_VERDICT_AFTER, PROBE_WINDOW, listen};
pub(crate) use stream::Stream;
pub(crate) use tcp::{Connect, ConnectFuture, TcpConnector, TcpLink};

/// A link: a stream that has shaken hands, and what was read from it but not yet handed on.
pub(crate) struct Link {
    pub(crate) stream: Arc<dyn Stream>,
    pub(crate) addr: Option<SocketAddr>,
    /// This node's id, if the link carries records of ours. All links share it.
    pub(crate) control_sender: Option<Arc<Id>>,
    /// The key of the other side, if the link is encrypted. Boxed, since most have none.
    key: Option<Box<PublicKey>>,
    /// Held for the time of a write, which does not block. Lock order: the peer's queue, then this.
    write_half: Mutex<WriteHalf>,
    /// Counts reads that brought something: signs of life.
    pub(crate) reads: AtomicU32,
    /// Held by the receive loop while it reads, and never while it waits.
    read_buffer: Mutex<ReadBuffer>,
}

/// What may still be written to a link.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WriteHalf {
    /// A frame is half written: nothing but the rest of it may follow.
    pub(crate) is_mid_frame: bool,
    /// The goodbye was written: only acknowledgements may follow.
    pub(crate) has_goodbye: bool,
    /// Nothing may be written any more.
    pub(crate) is_closed: bool,
}

/// Bytes that arrived and are no whole frame yet.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    pub(crate) buffer: Vec<u8>,
    /// Where they begin: what stands before was handled. Moving the rest to the front after every
    /// run of frames would cost the square of what is read.
    pub(crate) start: usize,
    /// Size of buffer that the link was found to want.
    pub(crate) size: usize,
}

impl Link {
    /// A plain link.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn new(
        stream: Arc<dyn Stream>,
        addr: Option<SocketAddr>,
        ahead: Vec<u8>,
        records_as: Option<Id>,
    ) -> Arc<Link> {
        Link::keyed(stream, addr, ahead, records_as.map(Arc::new), None)
    }

    /// A link over `stream`, from which `ahead` was read already, behind the handshake.
    ///
    /// With `records_as`, this node's id, the link carries records of ours. With `key`, that of the
    /// other side, the stream is encrypted.
    pub(crate) fn keyed(
        stream: Arc<dyn Stream>,
        addr: Option<SocketAddr>,
        ahead: Vec<u8>,
        records_as: Option<Arc<Id>>,
        key: Option<PublicKey>,
    ) -> Arc<Link> {
        let read_half = Mutex::new(ReadBuffer { buffer: ahead, ..ReadBuffer::default() });
        Arc::new(Link {
            stream,
            addr,
            control_sender: records_as,
            key: key.map(Box::new),
            write_half: Mutex::default(),
            reads: AtomicU32::new(0),
            read_buffer: read_half,
        })
    }

    /// Whether the link carries records of ours. One to a plain node does not.
    pub(crate) fn is_extended(&self) -> bool {
        self.control_sender.is_some()
    }

    /// Locks the half that is written.
    pub(crate) fn write_half(&self) -> MutexGuard<'_, WriteHalf> {
        self.write_half.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the half that is read.
    pub(crate) fn read_buffer(&self) -> MutexGuard<'_, ReadBuffer> {
        self.read_buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of the other side, if the link is encrypted.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        self.key.as_deref().copied()
    }

    /// Counts signs of life: everything that arrives.
    pub(crate) fn activity(&self) -> u32 {
        self.reads.load(Ordering::Relaxed).wrapping_add(self.stream.activity())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("addr", &self.addr).finish_non_exhaustive()
    }
}
