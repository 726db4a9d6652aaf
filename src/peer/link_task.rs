//! A link at work: its reader, its writer and who watches it, in one task.

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
    /// Serves a link until it ends; returns why it did.
    ///
    /// One task reads and writes. Once the queue is closing, the link has `drain` to send what is
    /// left, half-close and read to the end: a socket that is closed with unread input would throw
    /// away what it already sent.
    ///
    /// Every idle link holds this future. So it and what it is made of are functions that are polled,
    /// with what they need and no more: `async` blocks would hold their arguments once more for each
    /// other that they wait for, twice as much in all.
    pub(crate) fn run<'a>(
        &'a self,
        link: &'a Arc<Link>,
        inbound: &'a InboundSender,
        drain: &'a Duration,
        notices: OnMergeMessage<'a>,
    ) -> impl Future<Output = DownReason> + Send + use<'a> {
        let reading = run_reader(self, link, inbound, notices);
        let writing = future::or(self.write(link, drain), run_monitor(self, link));
        let mut serving =
            Some(future::or(reading, future::or(writing, self.drain_deadline(drain))));
        poll_fn(move |cx| {
            let Some(at_work) = &mut serving else { return Poll::Pending };
            let reason = ready!(Pin::new(at_work).poll(cx));
            // What the writer had in hand is let go of before anything else is written.
            serving = None;
            Poll::Ready(self.finish(link, reason))
        })
    }

    /// Does what is left to do when the link has ended, and returns why it did.
    fn finish(&self, link: &Link, reason: DownReason) -> DownReason {
        // The other side may have closed because it is done, and reads on to its end.
        flush_final_ack(self, link);
        let history = self.status();
        let goodbye = history.close.goodbye.map(DownReason::Goodbye);
        history.close.stopping.clone().or(goodbye).unwrap_or(reason)
    }

    /// Writes until nothing more is to be written, and then leaves the reader to read to the end.
    fn write<'a>(
        &'a self,
        link: &'a Arc<Link>,
        drain: &'a Duration,
    ) -> impl Future<Output = DownReason> + Send + Unpin + use<'a> {
        let mut writing = Some(run_writer(self, link));
        let mut leaving = None;
        poll_fn(move |cx: &mut Context<'_>| {
            if let Some(at_work) = &mut writing {
                let done = ready!(Pin::new(at_work).poll(cx));
                writing = None;
                leaving = Some(Box::pin(linger(link, done, drain)));
            }
            leaving.as_mut().map_or(Poll::Pending, |leaving| leaving.as_mut().poll(cx))
        })
    }

    /// Waits until the queue is closing, and then for as long as what is left may take.
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

/// Stays for as long as the reader may go on when no more is written.
async fn linger(link: &Link, written: Result<(), DownReason>, drain: &Duration) -> DownReason {
    match written {
        // What arrived before the link broke is still there to be read.
        Err(reason) => {
            clock::after(*drain).await;
            reason
        }
        Ok(()) => {
            link.stream.close_write();
            future::pending().await
        }
    }
}
