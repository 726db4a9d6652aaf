//! The task of one link: its reader, its writer and its liveness monitor.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::future;

use crate::error::DownReason;
use crate::peer::liveness::run_monitor;
use crate::peer::recv::inbound_queue::InboundSender;
use crate::peer::recv::reader::run_reader;
use crate::peer::send::writer::{flush_final_ack, run_writer};
use crate::peer::{OnMergeMessage, Peer};
use crate::primitives::clock;
use crate::transport::Link;

impl Peer {
    /// Serves a link until it ends. Returns why it ended.
    ///
    /// One task reads and writes. Once the queue is closing, the link has `drain` to send what is
    /// left, half-close and read to the end. A socket that is closed with unread input would reset
    /// the connection, and lose data that was already sent.
    ///
    /// Every idle link holds this future, so its size matters. It is composed of poll functions
    /// that capture only what they need. `async` blocks would store their arguments once more for
    /// each future that they await, and take twice the memory in total.
    pub(crate) fn run<'a>(
        &'a self,
        link: &'a Arc<Link>,
        inbound: &'a InboundSender,
        drain: &'a Duration,
        on_merge: OnMergeMessage<'a>,
    ) -> impl Future<Output = DownReason> + Send + use<'a> {
        let reading = run_reader(self, link, inbound, on_merge);
        let writing = future::or(self.write(link, drain), run_monitor(self, link));
        let mut serving =
            Some(future::or(reading, future::or(writing, self.drain_deadline(drain))));
        poll_fn(move |cx| {
            let Some(at_work) = &mut serving else { return Poll::Pending };
            let reason = ready!(Pin::new(at_work).poll(cx));
            // Drop the partial write before anything else is written.
            serving = None;
            Poll::Ready(self.finish(link, reason))
        })
    }

    /// Finishes a link that has ended: flushes the last acknowledgement, and determines the reason.
    fn finish(&self, link: &Link, reason: DownReason) -> DownReason {
        // The remote may have closed its write direction only, and still read.
        flush_final_ack(self, link);
        let status = self.status();
        let goodbye = status.close.goodbye.map(DownReason::Goodbye);
        status.close.stopping.clone().or(goodbye).unwrap_or(reason)
    }

    /// Runs the writer to its end, and then lingers for the reader to read to the end.
    fn write<'a>(
        &'a self,
        link: &'a Arc<Link>,
        drain: &'a Duration,
    ) -> impl Future<Output = DownReason> + Send + Unpin + use<'a> {
        let mut writing = Some(run_writer(self, link));
        let mut lingering = None;
        poll_fn(move |cx: &mut Context<'_>| {
            if let Some(at_work) = &mut writing {
                let done = ready!(Pin::new(at_work).poll(cx));
                writing = None;
                lingering = Some(Box::pin(linger(done, drain)));
            }
            lingering.as_mut().map_or(Poll::Pending, |lingering| lingering.as_mut().poll(cx))
        })
    }

    /// Waits until the queue is closing, and then for the drain timeout.
    fn drain_deadline<'a>(
        &'a self,
        drain: &'a Duration,
    ) -> impl Future<Output = DownReason> + Send + Unpin + use<'a> {
        let mut waiting = None;
        poll_fn(move |cx: &mut Context<'_>| {
            if waiting.is_none() {
                ready!(self.queue.poll_closing(cx));
            }
            let waiting = waiting.get_or_insert_with(|| Box::pin(clock::after(*drain)));
            waiting.as_mut().poll(cx).map(|_| DownReason::ShuttingDown)
        })
    }
}

/// Waits for as long as the reader may go on after the writer has ended.
async fn linger(written: Result<(), DownReason>, drain: &Duration) -> DownReason {
    match written {
        // Data that arrived before the link broke can still be read.
        Err(reason) => {
            clock::after(*drain).await;
            reason
        }
        Ok(()) => future::pending().await,
    }
}
