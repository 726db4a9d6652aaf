//! A peer as a `Sink`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;

use crate::endpoint::InetEndpoint;
use crate::error::{SendError, SendErrorKind};
use crate::proto::Frame;
use crate::proto::Target;

/// A sink that sends frames to one peer, from [`InetEndpoint::sink`]. Requires the cargo feature
/// `sink`.
///
/// Frames are queued as by [`InetEndpoint::send`]. A frame for which the queue has no space keeps
/// the sink from being ready for at most `Limits::send_timeout`, and is then returned in the error.
/// The sink stays usable after an error. Flushed means queued, not delivered; closing only flushes,
/// and the peer stays.
///
/// The sink is a handle of the endpoint and keeps it open. Dropping it drops a frame that waits for
/// queue space.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// use futures_util::{SinkExt, StreamExt, stream};
/// use netmod_inet::{Frame, InetEndpoint};
///
/// let alice = InetEndpoint::start("127.0.0.1:0").await?;
/// let bob = InetEndpoint::start("127.0.0.1:0").await?;
/// let targets = bob.add_peers([format!("127.0.0.1:{}", alice.port().unwrap())]).await?;
///
/// let frame = |text: &'static str| Frame::builder(8, bob.router_id()).payload(text).build();
/// let mut frames = stream::iter([frame("one")?, frame("two")?].map(Ok));
/// bob.sink(targets[0]).send_all(&mut frames).await?;
/// let payloads = alice.frames().map(|(_from, frame)| frame.payload().to_vec());
/// let payloads: Vec<_> = payloads.take(2).collect().await;
/// assert_eq!(payloads, [b"one", b"two"]);
/// # Ok(()) }) }
/// ```
pub struct PeerSink {
    endpoint: InetEndpoint,
    target: Target,
    /// Sends the last frame, for which the queue had no space.
    waiting: Option<Waiting>,
}

type Waiting = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>;

impl InetEndpoint {
    /// Returns a sink that sends frames to one peer: [`send`](InetEndpoint::send) for stream
    /// combinators. Requires the cargo feature `sink`.
    ///
    /// The target is not checked here: an unknown one fails when a frame is sent.
    ///
    /// ```
    /// # use netmod_inet::InetEndpoint;
    /// # async fn run(endpoint: InetEndpoint) -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::{StreamExt, stream};
    /// use netmod_inet::Frame;
    ///
    /// let start = Frame::builder(8, endpoint.router_id());
    /// let frames = (0..9).map(|number| start.clone().payload(vec![number]).build());
    /// let frames = frames.collect::<Result<Vec<_>, _>>()?;
    /// stream::iter(frames).map(Ok).forward(endpoint.sink(3.into())).await?;
    /// # Ok(()) }
    /// ```
    pub fn sink(&self, target: Target) -> PeerSink {
        PeerSink { endpoint: self.clone(), target, waiting: None }
    }
}

impl Sink<Frame> for PeerSink {
    type Error = SendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_flush(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), SendError> {
        // The caller did not wait for `poll_ready`.
        if self.waiting.is_some() {
            return Err(SendError::new(SendErrorKind::Full, frame));
        }
        match self.endpoint.try_send(self.target, frame) {
            Err(error) if error.reason().is_temporary() => {
                let (endpoint, target) = (self.endpoint.clone(), self.target);
                let send = async move { endpoint.send(target, error.into_frame()).await };
                self.waiting = Some(Box::pin(send));
                Ok(())
            }
            done => done,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(Ok(())) };
        let sent = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(sent)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_flush(cx)
    }
}

impl fmt::Debug for PeerSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerSink").field("target", &self.target).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{SinkExt, StreamExt, stream};

    use super::*;
    use crate::config::Limits;
    use crate::peer::PeerState;

    /// Far longer than any step of these tests takes, even under load.
    const LONG: Duration = Duration::from_secs(60);

    /// The test that waits for this timeout takes as long.
    const SEND_TIMEOUT: Duration = Duration::from_secs(10);

    fn frame(number: u32) -> Frame {
        let builder = Frame::builder(8, crate::proto::Id::from_bytes([1; 32]));
        builder.payload(number.to_be_bytes().to_vec()).build().unwrap()
    }

    /// Two connected endpoints, and the target of the second one at the first.
    async fn pair(limits: Limits) -> (InetEndpoint, InetEndpoint, Target) {
        let builder = InetEndpoint::builder().limits(limits);
        let from = builder.start().await.unwrap();
        let to = InetEndpoint::start("127.0.0.1:0").await.unwrap();
        let events = from.events();
        let address = format!("127.0.0.1:{}", to.port().unwrap());
        let target = from.add_peers([address]).await.unwrap()[0];
        while from.peers()[0].state != PeerState::Up {
            events.next().await.unwrap();
        }
        (from, to, target)
    }

    #[test]
    fn a_sink_waits_for_queue_space_and_keeps_the_order() {
        const COUNT: u32 = 5_000;
        smol::block_on(async {
            let mut limits = Limits { queue_frames: 4, ..Limits::default() };
            limits.send_timeout = LONG;
            let (from, to, target) = pair(limits).await;
            let sender = smol::spawn(async move {
                let frames = stream::iter((0..COUNT).map(|number| Ok(frame(number))));
                frames.forward(from.sink(target)).await.unwrap();
                from
            });
            let frames = to.frames().map(|(_, frame)| frame.payload().to_vec());
            let got: Vec<_> = frames.take(COUNT as usize).collect().await;
            let expected: Vec<_> = (0..COUNT).map(|number| number.to_be_bytes().to_vec()).collect();
            assert_eq!(got, expected);
            drop(sender.await);
        });
    }

    #[test]
    fn a_sink_returns_the_frame_and_stays_usable() {
        smol::block_on(async {
            let mut limits = Limits { queue_frames: 1, ..Limits::default() };
            limits.redial_cap = Duration::from_millis(20);
            limits.send_timeout = SEND_TIMEOUT;
            let (from, to, target) = pair(limits).await;
            let mut unknown = from.sink((u16::from(target) + 1).into());
            let error = unknown.send(frame(1)).await.unwrap_err();
            assert_eq!(
                (error.reason(), error.into_frame()),
                (SendErrorKind::UnknownTarget, frame(1))
            );

            let port = to.port().unwrap();
            let events = from.events();
            to.shutdown().await;
            while from.peers()[0].state == PeerState::Up {
                events.next().await.unwrap();
            }
            let mut sink = from.sink(target);
            sink.send(frame(2)).await.unwrap();
            let error = sink.send(frame(3)).await.unwrap_err();
            assert_eq!((error.reason(), error.into_frame()), (SendErrorKind::TimedOut, frame(3)));

            let to = InetEndpoint::start(format!("127.0.0.1:{port}")).await.unwrap();
            let mut frames = to.frames();
            assert_eq!(frames.next().await.unwrap().1, frame(2));
            sink.send(frame(4)).await.unwrap();
            assert_eq!(frames.next().await.unwrap().1, frame(4));
        });
    }
}
