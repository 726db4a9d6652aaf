use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::task::{Context, Poll};

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use smol::Async;

/// A write to a stream that the other side has closed is an error here. It must not be a signal,
/// which ends a program that has not said otherwise.
#[cfg(not(target_vendor = "apple"))]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND: SendFlags = SendFlags::empty();

/// A stream of bytes that never blocks: TCP, or in tests anything that can be cut and stalled.
///
/// One task reads and writes it, so a wait keeps one waker per direction.
pub(crate) trait Stream: Send + Sync + 'static {
    /// Reads once, into the spare capacity of `buffer`. 0 is the end of the stream.
    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize>;
    /// Writes once.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Waits for something to read.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Waits for room to write.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Tells the other side that nothing more comes.
    fn close_write(&self);
    /// Has the kernel find out within seconds whether the other end is still there. For a quiet
    /// link, which has nothing under way.
    fn probe(&self);
    /// Ends both directions; whoever waits for either wakes up.
    fn abort(&self);
}

impl Stream for Async<TcpStream> {
    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        debug_assert!(buffer.capacity() > buffer.len(), "a read without room looks like an end");
        loop {
            // Into spare capacity: a buffer that had to be zeroed first would cost as much again
            // as the copy out of the kernel does for small reads.
            match recv(self.get_ref(), spare_capacity(buffer), RecvFlags::empty()) {
                Ok((_, read)) => return Ok(read),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match sendmsg(self.get_ref(), slices, &mut SendAncillaryBuffer::default(), SEND) {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Async::poll_readable(self, cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Async::poll_writable(self, cx)
    }

    fn close_write(&self) {
        // It fails on a connection that is gone, which needs no closing.
        let _ = self.get_ref().shutdown(Shutdown::Write);
    }

    fn probe(&self) {
        // A failure leaves the patience that the link had before.
        let _ = super::socket::probe(self.get_ref());
    }

    fn abort(&self) {
        let _ = self.get_ref().shutdown(Shutdown::Both);
    }
}
