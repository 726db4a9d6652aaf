//! A link at work: its reader, its writer and who watches it, in one task.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;

use super::inbound::InboundSender;
use super::{Notices, Peer, receive, transmit, watch};
use crate::error::DownReason;
use crate::link::Link;
use crate::timer;

impl Peer {
    /// Serves a link until it ends; returns why it did.
    ///
    /// One task reads and writes. Once the queue is closing, the link has `drain` to send what is
    /// left, half-close and read to the end: a socket that is closed with unread input would throw
    /// away what it already sent.
    pub(crate) fn run<'a>(
        &'a self,
        link: &'a Arc<Link>,
        inbound: &'a InboundSender,
        drain: Duration,
        notices: Notices<'a>,
    ) -> impl Future<Output = DownReason> + Send + use<'a> {
        async move {
            let reading = receive::receive(self, link, inbound, notices);
            let serving =
                future::or(reading, future::or(self.write(link, drain), self.watch(link)));
            let reason = future::or(serving, self.close(drain)).await;
            // The other side may have closed because it is done, and reads on to its end.
            transmit::settle(self, link);
            let history = self.history();
            let farewell = history.ending.farewell.map(DownReason::Farewell);
            history.ending.stopping.clone().or(farewell).unwrap_or(reason)
        }
    }

    /// Writes until nothing more is to be written, and then leaves the reader to read to the end.
    fn write<'a>(
        &'a self,
        link: &'a Arc<Link>,
        drain: Duration,
    ) -> impl Future<Output = DownReason> + Send + use<'a> {
        async move {
            match transmit::transmit(self, link).await {
                // What arrived before the link broke is still there to be read.
                Err(reason) => {
                    Box::pin(timer::after(drain)).await;
                    reason
                }
                Ok(()) => {
                    link.stream.close_write();
                    future::pending().await
                }
            }
        }
    }

    /// Waits until the other side of a link that carries records gives no sign of life. The kernel
    /// watches a plain one.
    fn watch<'a>(&'a self, link: &'a Link) -> impl Future<Output = DownReason> + Send + use<'a> {
        async move {
            match link.records_as {
                Some(_) => watch::watch(self, link).await,
                None => future::pending().await,
            }
        }
    }

    /// Waits until the queue is closing, and then for as long as what is left may take.
    async fn close(&self, drain: Duration) -> DownReason {
        poll_fn(|cx| self.queue.poll_closing(cx)).await;
        Box::pin(timer::after(drain)).await;
        DownReason::ShuttingDown
    }
}
