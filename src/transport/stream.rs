//! The byte stream under a link, and the mapping of its errors.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::{DownReason, HandshakeError};
#[cfg(feature = "noise")]
use crate::transport::noise::RecordError;

/// A non-blocking byte stream: TCP, or in tests a stream that can be cut and stalled.
///
/// Reads and writes come from one task, so one waker per direction suffices.
pub(crate) trait Stream: Send + Sync + 'static {
    /// Reads once, into the spare capacity of `buffer`. 0 is the end of the stream. The error
    /// `Interrupted` asks for another read: as much as fits `buffer` was read, but no whole record.
    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize>;
    /// Writes once.
    ///
    /// With `ends_record` the last byte of `slices` ends a record: if all of them are written, TCP
    /// puts no later byte into the same segment, on systems that support this.
    fn try_write(&self, slices: &[IoSlice<'_>], ends_record: bool) -> io::Result<usize>;
    /// Whether a write is pending that must be completed before anything else is written.
    fn has_pending_write(&self) -> bool;
    /// Number of reads that returned data, including data that cannot be delivered yet.
    fn activity(&self) -> u32;
    /// Number of bytes that were read and not delivered yet: a partial record, or what is left of one.
    /// Zero on a stream without records.
    fn partial_record(&self) -> usize {
        0
    }
    /// Ends a turn of the reader, which waits for readiness next. What was read ahead is delivered
    /// still, but nothing more is read before the socket was looked at along with those of others, and
    /// no memory is held that is not needed for it.
    fn end_turn(&self);
    /// Waits until the stream is readable.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Waits until the stream is writable.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Shuts down the write direction.
    fn close_write(&self);
    /// Makes the kernel probe within seconds whether the remote is still reachable. Meant for an
    /// idle link, which has no data in flight.
    ///
    /// Returns false if a probe is already running. The caller that started it must call
    /// [`restore_keepalive`](Stream::restore_keepalive) after
    /// [`PROBE_WINDOW`](crate::transport::PROBE_WINDOW).
    fn start_keepalive_probe(&self) -> bool;
    /// Makes the kernel close the link now, if nothing was received since
    /// [`start_keepalive_probe`](Stream::start_keepalive_probe).
    fn force_keepalive_verdict(&self);
    /// Restores the settings from before [`start_keepalive_probe`](Stream::start_keepalive_probe).
    fn restore_keepalive(&self);
    /// Closes both directions, and wakes all tasks that wait on either.
    fn abort(&self);
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        #[cfg(feature = "noise")]
        match RecordError::of(&error) {
            Some(RecordError::Tampered) => return HandshakeError::NotAuthentic,
            Some(RecordError::Truncated) => return HandshakeError::Closed,
            None => {}
        }
        HandshakeError::Io(Arc::new(error))
    }
}

impl DownReason {
    pub(crate) fn io(error: io::Error) -> DownReason {
        #[cfg(feature = "noise")]
        match RecordError::of(&error) {
            Some(RecordError::Tampered) => return DownReason::Tampered,
            Some(RecordError::Truncated) => return DownReason::ClosedInsideFrame,
            None => {}
        }
        DownReason::Io(Arc::new(error))
    }
}
