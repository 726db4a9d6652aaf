//! An in-memory duplex stream, and a waker that records its calls.
//!
//! Tests use this stream rather than one of their own: it can be slow, full, cut and closed.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use crate::transport::Stream;

/// One end of an in-memory duplex connection, which transfers bytes only as the test allows.
///
/// It never wakes a task: the test polls again after it has moved bytes.
#[derive(Debug)]
pub(crate) struct Pipe {
    incoming: Arc<Mutex<HalfPipe>>,
    outgoing: Arc<Mutex<HalfPipe>>,
}

/// One direction of a [`Pipe`].
#[derive(Debug, Default)]
pub(crate) struct HalfPipe {
    /// Bytes written and not yet read.
    pub(crate) bytes: VecDeque<u8>,
    /// How many of `bytes` have arrived, that is, are readable.
    ///
    /// Invariant: `arrived <= bytes.len()`.
    pub(crate) arrived: usize,
    /// How many more bytes the writer may write before it blocks.
    pub(crate) room: usize,
    /// The writer has closed.
    pub(crate) is_closed: bool,
    /// The reader is gone.
    pub(crate) is_broken: bool,
    /// Largest capacity of a buffer that was passed to a read.
    pub(crate) widest_read: usize,
    pub(crate) reads: usize,
    /// Bytes that were read since the reader last waited for readiness, and the most of them.
    read_in_turn: usize,
    pub(crate) longest_turn: usize,
    /// The writes that were accepted, in order.
    #[cfg(test)]
    pub(crate) writes: Vec<WriteCall>,
}

/// A write that was accepted, in full or in part.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteCall {
    /// Number of bytes passed to [`Stream::try_write`].
    pub(crate) requested: usize,
    pub(crate) written: usize,
    pub(crate) ends_record: bool,
}

impl Pipe {
    /// Creates a connection, and returns its two ends.
    pub(crate) fn pair() -> (Arc<Pipe>, Arc<Pipe>) {
        let halves: [Arc<Mutex<HalfPipe>>; 2] = Default::default();
        let [one, other] = &halves;
        let first = Pipe { incoming: one.clone(), outgoing: other.clone() };
        let second = Pipe { incoming: other.clone(), outgoing: one.clone() };
        (Arc::new(first), Arc::new(second))
    }

    pub(crate) fn incoming(&self) -> MutexGuard<'_, HalfPipe> {
        self.incoming.lock().unwrap()
    }

    pub(crate) fn outgoing(&self) -> MutexGuard<'_, HalfPipe> {
        self.outgoing.lock().unwrap()
    }
}

impl HalfPipe {
    /// Makes up to `count` more bytes arrive.
    pub(crate) fn arrive(&mut self, count: usize) {
        self.arrived = self.arrived.saturating_add(count).min(self.bytes.len());
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    fn read_into(&mut self, buffer: &mut Vec<u8>, count: usize) {
        // Copies whole slices: byte by byte would dominate the run time of a case.
        let (front, back) = self.bytes.as_slices();
        let split = count.min(front.len());
        buffer.extend_from_slice(&front[..split]);
        buffer.extend_from_slice(&back[..count - split]);
        self.bytes.drain(..count);
    }

    fn is_at_end(&self) -> bool {
        self.is_closed && self.bytes.is_empty()
    }
}

impl Stream for Pipe {
    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let spare = buffer.capacity() - buffer.len();
        assert!(spare > 0, "a read without room looks like an end");
        let mut half = self.incoming();
        half.widest_read = half.widest_read.max(buffer.capacity());
        half.reads += 1;
        if half.arrived == 0 && !half.is_at_end() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = half.arrived.min(spare);
        half.arrived -= count;
        half.read_in_turn += count;
        half.longest_turn = half.longest_turn.max(half.read_in_turn);
        half.read_into(buffer, count);
        Ok(count)
    }

    fn try_write(&self, slices: &[IoSlice<'_>], ends_record: bool) -> io::Result<usize> {
        let mut half = self.outgoing();
        if half.is_broken || half.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if half.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut written = 0;
        for slice in slices {
            let count = half.room.min(slice.len());
            half.write(&slice[..count]);
            half.room -= count;
            written += count;
        }
        #[cfg(test)]
        half.writes.push(WriteCall {
            requested: slices.iter().map(|slice| slice.len()).sum(),
            written,
            ends_record,
        });
        #[cfg(not(test))]
        let _ = ends_record;
        Ok(written)
    }

    fn end_turn(&self) {}

    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut half = self.incoming();
        half.read_in_turn = 0;
        match half.arrived > 0 || half.is_at_end() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn poll_writable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let half = self.outgoing();
        match half.room > 0 || half.is_broken {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn close_write(&self) {
        self.outgoing().is_closed = true;
    }

    fn has_pending_write(&self) -> bool {
        false
    }

    fn activity(&self) -> u32 {
        0
    }

    fn force_keepalive_verdict(&self) {}

    fn start_keepalive_probe(&self) -> bool {
        true
    }

    fn restore_keepalive(&self) {}

    fn abort(&self) {
        self.outgoing().is_closed = true;
        self.incoming().is_broken = true;
    }
}

/// Polls a future by hand, and records whether its waker was called.
#[derive(Debug)]
pub(crate) struct TestWaker {
    flag: Arc<Flag>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Number of polls without any new input after which a task counts as a busy loop.
const MAX_POLLS: usize = 100_000;

impl TestWaker {
    pub(crate) fn new() -> TestWaker {
        let flag = Arc::new(Flag::default());
        TestWaker { waker: flag.clone().into(), flag }
    }

    /// Whether the waker was called since the last poll.
    #[cfg(test)]
    pub(crate) fn was_woken(&self) -> bool {
        self.flag.0.load(Ordering::Relaxed)
    }

    /// Polls once.
    pub(crate) fn poll_once<T>(&self, future: Pin<&mut dyn Future<Output = T>>) -> Option<T> {
        self.flag.0.store(false, Ordering::Relaxed);
        match future.poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    /// Polls until the future completes, or is pending and not woken.
    pub(crate) fn poll<T>(&self, mut future: Pin<&mut dyn Future<Output = T>>) -> Option<T> {
        for _ in 0..MAX_POLLS {
            if let Some(done) = self.poll_once(future.as_mut()) {
                return Some(done);
            }
            if !self.flag.0.load(Ordering::Relaxed) {
                return None;
            }
        }
        panic!("a busy loop");
    }
}
