//! TCP: a connection as a [`Stream`], and how one is opened.

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

/// A write to a stream that the other side has closed is an error here. It must not be a signal,
/// which ends a program that has not said otherwise.
#[cfg(not(target_vendor = "apple"))]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND: SendFlags = SendFlags::empty();

/// Marks the end of a record: Linux appends nothing to that segment any more, not even when it
/// sends it again. Elsewhere TCP has no such mark; a write of its own is all that can be done.
#[cfg(any(target_os = "linux", target_os = "android"))]
const END_OF_RECORD: SendFlags = SendFlags::EOR;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const END_OF_RECORD: SendFlags = SendFlags::empty();

/// A TCP connection, and what the kernel is to have patience for.
#[derive(Debug)]
pub(crate) struct TcpLink {
    socket: Async<TcpStream>,
    keepalive: Keepalive,
    is_probed: AtomicBool,
}

impl TcpLink {
    /// Sets what every link wants: no delay for small frames, and a kernel that notices on its own
    /// when the other end is gone, so that a quiet link needs no timer of ours.
    pub(crate) fn new(socket: Async<TcpStream>, patience: Keepalive) -> io::Result<TcpLink> {
        socket.get_ref().set_nodelay(true)?;
        patience.set(socket.get_ref())?;
        Ok(TcpLink { socket, keepalive: patience, is_probed: AtomicBool::new(false) })
    }
}

impl Stream for TcpLink {
    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        debug_assert!(buffer.capacity() > buffer.len(), "a read without room looks like an end");
        loop {
            // Into spare capacity: a buffer that had to be zeroed first would cost as much again
            // as the copy out of the kernel does for small reads.
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
            let mut nothing = SendAncillaryBuffer::default();
            match sendmsg(self.socket.get_ref(), slices, &mut nothing, flags) {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_readable(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(cx)
    }

    fn close_write(&self) {
        // It fails on a connection that is gone, which needs no closing.
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
        // A failure leaves the patience that the link had before.
        let _ = PROBE_KEEPALIVE.set(self.socket.get_ref());
        true
    }

    fn force_keepalive_verdict(&self) {
        // Setting the times anew has it look at them at once. It fails on a connection that is gone.
        let _ = PROBE_KEEPALIVE.set(self.socket.get_ref());
    }

    fn restore_keepalive(&self) {
        // It fails on a connection that is gone.
        let _ = self.keepalive.set(self.socket.get_ref());
        self.is_probed.store(false, Ordering::Relaxed);
    }

    fn abort(&self) {
        let _ = self.socket.get_ref().shutdown(Shutdown::Both);
    }
}

/// A connection that is being opened.
pub(crate) type ConnectFuture = Pin<Box<dyn Future<Output = io::Result<Arc<dyn Stream>>> + Send>>;

/// Opens connections: over TCP, or in the simulator through a network in memory.
pub(crate) trait Connect: Send + Sync + 'static {
    /// Opens one. Dropping the future gives it up.
    fn connect(&self, addr: SocketAddr) -> ConnectFuture;
}

/// TCP, with streams set as every link wants them.
#[derive(Debug)]
pub(crate) struct TcpConnector {
    pub(crate) keepalive: Keepalive,
}

impl Connect for TcpConnector {
    fn connect(&self, addr: SocketAddr) -> ConnectFuture {
        let patience = self.keepalive;
        Box::pin(async move {
            let stream = Async::<TcpStream>::connect(addr).await?;
            Ok(Arc::new(TcpLink::new(stream, patience)?) as Arc<dyn Stream>)
        })
    }
}
