//! Closing a peer: the local node stops it, the remote says goodbye, or it ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{DownReason, Goodbye, GoodbyeReason};
use crate::peer::Peer;
use crate::peer::info::PeerState;
use crate::peer::send::state::Closing;
use crate::proto::{Extension, Frame};

impl Peer {
    /// Stops the peer: it accepts no more frames, closes its link and is not dialed again.
    pub(crate) fn stop(&self, how: Closing, reason: DownReason) {
        self.status().close.get_or_allocate().stopping.get_or_insert(reason);
        self.queue.close(how);
        self.signal.notify_all();
    }

    /// Whether the peer was stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.status().close.stopping.is_some()
    }

    /// Waits until the peer is stopped.
    pub(crate) async fn stopped(&self) {
        loop {
            let signal = self.signal.listen();
            if self.is_stopping() {
                return;
            }
            signal.await;
        }
    }

    /// Sets the time for which the remote is asked not to reconnect after the link was closed.
    pub(crate) fn set_retry_after(&self, time: Duration) {
        self.status().close.get_or_allocate().retry_after = Some(time);
    }

    /// The close record to send when the local node closes the link.
    pub(crate) fn close_record(&self) -> Extension {
        let status = self.status();
        let reason = match status.close.stopping {
            Some(DownReason::ShuttingDown) => GoodbyeReason::ShuttingDown,
            Some(DownReason::Reclaimed | DownReason::Evicted) => GoodbyeReason::Busy,
            Some(_) => GoodbyeReason::Removed,
            None => GoodbyeReason::Answered,
        };
        let goodbye = Goodbye { reason, retry_after: status.close.retry_after };
        Extension { close: Some(goodbye.into()), ..Extension::default() }
    }

    /// Records that the remote sent its goodbye: the writer replies, and the reader reads to the
    /// end of the stream.
    pub(crate) fn on_remote_close(&self, goodbye: Goodbye) {
        self.status().close.get_or_allocate().goodbye = Some(goodbye);
        self.queue.on_remote_close();
    }

    /// Whether the session can be resumed on another link. `false` once the remote announced that
    /// it shuts down or has removed this node, since it has discarded the session then.
    pub(crate) fn is_resumable(&self) -> bool {
        let status = self.status();
        let is_gone = status.close.goodbye.is_some_and(|goodbye| {
            matches!(goodbye.reason, GoodbyeReason::ShuttingDown | GoodbyeReason::Removed)
        });
        !is_gone && status.close.stopping.is_none() && self.session().is_some()
    }

    /// Marks the peer as ended, but leaves its frames in the queue. Returns `false` if it had ended
    /// before.
    pub(crate) fn mark_ended(&self) -> bool {
        let mut status = self.status();
        status.set_state(PeerState::Down);
        // Handles to the peer that are still around must not keep the socket open.
        status.link = None;
        drop(status);
        !self.ended.swap(true, Ordering::AcqRel)
    }

    /// Ends the peer and drains its queue. Returns `None` if it had ended before.
    pub(crate) fn end_and_drain(&self) -> Option<Vec<Frame>> {
        self.mark_ended().then(|| self.queue.end())
    }

    /// Whether the peer has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether the peer has ended or is stopping.
    pub(crate) fn is_closing(&self) -> bool {
        self.has_ended() || self.is_stopping()
    }
}
