//! What a link runs over, and what its failures mean.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::{DownReason, HandshakeError};
#[cfg(feature = "noise")]
use crate::transport::noise::RecordError;

/// A stream of bytes that never blocks: TCP, or in tests anything that can be cut and stalled.
///
/// One task reads and writes it, so a wait keeps one waker per direction.
pub(crate) trait Stream: Send + Sync + 'static {
    /// Reads once, into the spare capacity of `buffer`. 0 is the end of the stream.
    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize>;
    /// Writes once.
    ///
    /// With `ends_record` the last byte of `slices` ends a record: if all of them are written, TCP
    /// puts no later byte into the same segment, where the system can do that.
    fn try_write(&self, slices: &[IoSlice<'_>], ends_record: bool) -> io::Result<usize>;
    /// Whether a write was begun that counts only once it is over: nothing else may be written before.
    fn has_pending_write(&self) -> bool;
    /// Counts reads that brought something which is not to be handed out yet.
    fn activity(&self) -> u32;
    /// Waits for something to read.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Waits for room to write.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Tells the other side that nothing more comes.
    fn close_write(&self);
    /// Has the kernel find out within seconds whether the other end is still there. For a quiet
    /// link, which has nothing under way. Whether that was not being done already: whoever began it
    /// is to call [`trust`](Stream::trust) after [`PROBING`](crate::transport::PROBING).
    fn start_keepalive_probe(&self) -> bool;
    /// Has the kernel give the link up now if it was not answered since [`probe`](Stream::probe).
    fn force_keepalive_verdict(&self);
    /// Goes back to the patience that there was before [`probe`](Stream::probe).
    fn restore_keepalive(&self);
    /// Ends both directions; whoever waits for either wakes up.
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
