//! TCP links, and how they are connected.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use smol::Async;

use crate::transport::Stream;
use crate::transport::socket::{Keepalive, PROBE_KEEPALIVE};

/// Makes a write to a closed connection return an error. The default is `SIGPIPE`, which terminates
/// a program that does not handle it.
#[cfg(not(target_vendor = "apple"))]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND: SendFlags = SendFlags::empty();

/// Marks the end of a record: Linux appends nothing more to that segment, not even when it
/// retransmits it. Elsewhere TCP has no such mark, and a separate write is the best there is.
#[cfg(any(target_os = "linux", target_os = "android"))]
const END_OF_RECORD: SendFlags = SendFlags::EOR;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const END_OF_RECORD: SendFlags = SendFlags::empty();

/// A TCP connection and its keepalive settings.
#[derive(Debug)]
pub(crate) struct TcpLink {
    socket: Async<TcpStream>,
    keepalive: Keepalive,
    /// Whether [`PROBE_KEEPALIVE`] is set instead of `keepalive`.
    is_probed: AtomicBool,
}

impl TcpLink {
    /// Configures a connected socket: `TCP_NODELAY` for small frames, and keepalive, so that the
    /// kernel detects a dead remote and an idle link needs no timer.
    pub(crate) fn new(socket: Async<TcpStream>, keepalive: Keepalive) -> io::Result<TcpLink> {
        socket.get_ref().set_nodelay(true)?;
        keepalive.set(socket.get_ref())?;
        Ok(TcpLink { socket, keepalive, is_probed: AtomicBool::new(false) })
    }
}

impl Stream for TcpLink {
    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        debug_assert!(
            buffer.capacity() > buffer.len(),
            "a read into a full buffer looks like the end of the stream"
        );
        loop {
            // Reads into spare capacity: for small reads, zeroing the buffer first would double the
            // cost.
            match recv(self.socket.get_ref(), spare_capacity(buffer), RecvFlags::empty()) {
                Ok((_, read)) => return Ok(read),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn try_write(&self, slices: &[IoSlice<'_>], ends_record: bool) -> io::Result<usize> {
        let flags = if ends_record { SEND | END_OF_RECORD } else { SEND };
        loop {
            let mut no_control = SendAncillaryBuffer::default();
            match sendmsg(self.socket.get_ref(), slices, &mut no_control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    fn end_turn(&self) {
        // Nothing is read ahead.
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_readable(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(cx)
    }

    fn close_write(&self) {
        // Fails only on a connection that is already gone.
        let _ = self.socket.get_ref().shutdown(Shutdown::Write);
    }

    fn has_pending_write(&self) -> bool {
        false
    }

    fn activity(&self) -> u32 {
        0
    }

    fn start_keepalive_probe(&self) -> bool {
        if self.is_probed.swap(true, Ordering::Relaxed) {
            return false;
        }
        // On failure the previous keepalive settings stay in place.
        let _ = PROBE_KEEPALIVE.set(self.socket.get_ref());
        true
    }

    fn force_keepalive_verdict(&self) {
        // Setting the options again makes the kernel evaluate them now. Fails only on a connection
        // that is gone.
        let _ = PROBE_KEEPALIVE.set(self.socket.get_ref());
    }

    fn restore_keepalive(&self) {
        // Fails only on a connection that is gone.
        let _ = self.keepalive.set(self.socket.get_ref());
        self.is_probed.store(false, Ordering::Relaxed);
    }

    fn abort(&self) {
        let _ = self.socket.get_ref().shutdown(Shutdown::Both);
    }
}

/// A connection attempt in progress.
pub(crate) type ConnectFuture = Pin<Box<dyn Future<Output = io::Result<Arc<dyn Stream>>> + Send>>;

/// Opens connections: over TCP, or in the simulator over an in-memory network.
pub(crate) trait Connect: Send + Sync + 'static {
    /// Connects to `addr`. Dropping the future cancels the attempt.
    fn connect(&self, addr: SocketAddr) -> ConnectFuture;
}

/// Opens TCP connections with these keepalive settings.
#[derive(Debug)]
pub(crate) struct TcpConnector {
    pub(crate) keepalive: Keepalive,
}

impl Connect for TcpConnector {
    fn connect(&self, addr: SocketAddr) -> ConnectFuture {
        let keepalive = self.keepalive;
        Box::pin(async move {
            let stream = Async::<TcpStream>::connect(addr).await?;
            Ok(Arc::new(TcpLink::new(stream, keepalive)?) as Arc<dyn Stream>)
        })
    }
}
