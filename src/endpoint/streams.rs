//! Received frames and events as streams.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::Stream;

use crate::endpoint::InetEndpoint;
use crate::error::Closed;
use crate::events::{Event, Events};
use crate::proto::Frame;
use crate::proto::Target;

/// A stream of received frames, from [`InetEndpoint::frames`].
///
/// It yields what [`InetEndpoint::next`] returns, in the same order, and ends when that returns an
/// error. The stream is a handle of the endpoint and keeps it open. Frames are distributed over all
/// streams and callers of `next`: each frame goes to exactly one of them.
///
/// Dropping the stream, or a future that waits for its next item, loses no frame.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// use futures_lite::StreamExt;
/// use netmod_inet::{Frame, InetEndpoint};
///
/// let alice = InetEndpoint::start("127.0.0.1:0").await?;
/// let bob = InetEndpoint::start("127.0.0.1:0").await?;
/// let targets = bob.add_peers([format!("127.0.0.1:{}", alice.port().unwrap())]).await?;
/// for text in ["one", "two"] {
///     bob.send(targets[0], Frame::builder(8, bob.router_id()).payload(text).build()?).await?;
/// }
/// let payloads = alice.frames().map(|(_from, frame)| frame.payload().to_vec());
/// let payloads: Vec<_> = payloads.take(2).collect().await;
/// assert_eq!(payloads, [b"one", b"two"]);
/// # Ok(()) }) }
/// ```
pub struct Frames {
    endpoint: InetEndpoint,
    /// Waits for the next frame. Invariant: `Some` only after a poll that found none.
    waiting: Option<Waiting>,
}

type Waiting = Pin<Box<dyn Future<Output = Result<(Target, Frame), Closed>> + Send>>;

impl InetEndpoint {
    /// Returns a stream of received frames: [`next`](InetEndpoint::next) for stream combinators.
    ///
    /// ```
    /// # async fn route(endpoint: netmod_inet::InetEndpoint) {
    /// use futures_lite::StreamExt;
    ///
    /// let mut frames = endpoint.frames();
    /// while let Some((from, frame)) = frames.next().await {
    ///     println!("{} bytes from {from}", frame.len());
    /// }
    /// # }
    /// ```
    pub fn frames(&self) -> Frames {
        Frames { endpoint: self.clone(), waiting: None }
    }
}

impl Stream for Frames {
    type Item = (Target, Frame);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(Target, Frame)>> {
        if self.waiting.is_none() {
            // Fast path: a frame that is already there needs no allocation.
            match self.endpoint.try_next() {
                Ok(None) => {}
                Ok(found) => return Poll::Ready(found),
                Err(Closed) => return Poll::Ready(None),
            }
        }
        let mut waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => {
                let endpoint = self.endpoint.clone();
                Box::pin(async move { endpoint.next().await })
            }
        };
        match waiting.as_mut().poll(cx) {
            Poll::Ready(next) => Poll::Ready(next.ok()),
            Poll::Pending => {
                self.waiting = Some(waiting);
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Yields what [`Events::next`] returns, and ends when that returns an error.
impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            let mut listener = self.arrived.take().unwrap_or_else(|| self.listen());
            match self.try_next() {
                Ok(Some(event)) => return Poll::Ready(Some(event)),
                Ok(None) => {}
                Err(Closed) => return Poll::Ready(None),
            }
            if Pin::new(&mut listener).poll(cx).is_pending() {
                self.arrived = Some(listener);
                return Poll::Pending;
            }
        }
    }
}
