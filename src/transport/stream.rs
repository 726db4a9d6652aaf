use std::io::{self, IoSlice};
use std::task::{Context, Poll};

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
    fn has_pending_write(&self) -> bool {
        false
    }
    /// Counts reads that brought something which is not to be handed out yet.
    fn activity(&self) -> u32 {
        0
    }
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
    fn force_keepalive_verdict(&self) {}
    /// Goes back to the patience that there was before [`probe`](Stream::probe).
    fn restore_keepalive(&self);
    /// Ends both directions; whoever waits for either wakes up.
    fn abort(&self);
}
