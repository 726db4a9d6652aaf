//! Sending frames to one peer.

use std::collections::VecDeque;
use std::time::Duration;

use crate::endpoint::InetEndpoint;
use crate::error::{SendError, SendErrorKind, UnknownTarget};
use crate::peer::cost;
use crate::primitives::clock;
use crate::proto::Target;
use crate::proto::{Frame, is_peering};

impl InetEndpoint {
    /// Queues a frame for a peer. Waits for queue space for at most `Limits::send_timeout`, whether
    /// the peer's link is up or being restored. A queued frame is sent whole and in order; if the
    /// link ends first, it stays queued for the next one.
    ///
    /// For frames that the router creates. To pass on a received frame use
    /// [`forward`](InetEndpoint::forward), which never waits.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the reason and the frame. Errors that waiting cannot resolve are returned
    /// immediately; `SendErrorKind::TimedOut` means that there was no queue space in time.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the frame has either been queued or is dropped with it; it is
    /// never queued in part.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint, SendErrorKind};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// endpoint.send(targets[0], frame.clone()).await?;
    /// let error = endpoint.send(7.into(), frame.clone()).await.unwrap_err();
    /// assert_eq!((error.reason(), error.into_frame()), (SendErrorKind::UnknownTarget, frame));
    /// # Ok(()) }) }
    /// ```
    pub async fn send(&self, target: Target, frame: Frame) -> Result<(), SendError> {
        self.send_within(target, frame, self.limits().send_timeout).await
    }

    /// Like [`send`](InetEndpoint::send), but waits for queue space for at most `time`.
    ///
    /// # Errors
    ///
    /// See [`send`](InetEndpoint::send).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the frame has either been queued or is dropped with it; it is
    /// never queued in part.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint};
    /// use std::time::Duration;
    ///
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// endpoint.send_within(targets[0], frame, Duration::from_millis(200)).await?;
    /// # Ok(()) }) }
    /// ```
    pub async fn send_within(
        &self,
        target: Target,
        frame: Frame,
        time: Duration,
    ) -> Result<(), SendError> {
        // Fast path: most frames fit right away, and no timer is created.
        let mut error = match self.try_send(target, frame) {
            Err(error) if error.reason().is_temporary() => error,
            done => return done,
        };
        let mut deadline = clock::after(time);
        loop {
            let Ok(peer) = self.known_peer(target) else {
                return self.try_send(target, error.into_frame());
            };
            let shared = self.shared();
            let reclaim = |bytes| shared.reclaim_for(target, bytes);
            match peer.send(error.into_frame(), &mut deadline, &reclaim).await {
                // The peer became an alias of another one, or ended, during the wait.
                Err(ended) if ended.reason() == SendErrorKind::UnknownTarget => {
                    error = match self.try_send(target, ended.into_frame()) {
                        Err(error) if error.reason().is_temporary() => error,
                        done => return done,
                    };
                }
                done => return done,
            }
        }
    }

    /// Waits until a peer's queue has space for a frame of `len` bytes, or would refuse it for
    /// another reason than lack of space. Other senders may take the space first.
    ///
    /// # Errors
    ///
    /// [`UnknownTarget`] if there is no such peer, or it ended during the wait.
    ///
    /// # Cancel safety
    ///
    /// This has no side effect, so it can be dropped at any time.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// endpoint.until_room(targets[0], 1300).await?;
    /// # Ok(()) }) }
    /// ```
    pub async fn until_room(&self, target: Target, len: usize) -> Result<(), UnknownTarget> {
        let peer = self.known_peer(target)?;
        peer.until_room(len).await;
        // The target may have become an alias during the wait; the other peer may have space or
        // not.
        let peer = self.known_peer(target)?;
        match peer.is_closing() {
            true => Err(UnknownTarget(target)),
            false => Ok(()),
        }
    }

    /// Queues a frame for a peer if there is space now.
    ///
    /// A router that waits in [`send`](InetEndpoint::send) before it receives again can deadlock:
    /// queue space is freed by acknowledgements, which arrive behind inbound frames. In the receive
    /// loop use this, or [`forward`](InetEndpoint::forward).
    ///
    /// # Errors
    ///
    /// [`SendError`] with the reason and the frame.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// match endpoint.try_send(targets[0], frame) {
    ///     Ok(()) => println!("it goes out as soon as it can"),
    ///     Err(error) => println!("{} bytes are back: {error}", error.frame().len()),
    /// }
    /// # Ok(()) }) }
    /// ```
    pub fn try_send(&self, target: Target, frame: Frame) -> Result<(), SendError> {
        match self.reject_reason(&frame) {
            None => self.push(target, frame),
            Some(reason) => Err(SendError::new(reason, frame)),
        }
    }

    /// Queues many frames for a peer, in order, as long as there is space now. Queued frames are
    /// removed from `frames`.
    ///
    /// Equivalent to [`try_send`](InetEndpoint::try_send) for each frame, but looks up the peer and
    /// locks its queue once for all of them, which is nearly twice as fast for small frames.
    ///
    /// # Errors
    ///
    /// The reason why the frame that is now the first of `frames` was not queued. Later ones were
    /// not tried.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// use std::collections::VecDeque;
    /// use netmod_inet::{Frame, InetEndpoint, SendErrorKind};
    ///
    /// let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("hello").build()?;
    /// let mut frames = VecDeque::from(vec![frame; 10_000]);
    /// let reason = endpoint.try_send_many(targets[0], &mut frames).unwrap_err();
    /// assert_eq!(reason, SendErrorKind::Full);
    /// assert_eq!(frames.len(), 10_000 - endpoint.peers()[0].queued_frames);
    /// # Ok(()) }) }
    /// ```
    pub fn try_send_many(
        &self,
        target: Target,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), SendErrorKind> {
        let shared = self.shared();
        let mut has_reclaimed = false;
        while let Some(first) = frames.front() {
            let first_cost = cost(first);
            let (queued, refused) =
                shared.push_many(target, frames, |frame| self.reject_reason(frame));
            // After the locks are released: dropping caller-provided `Bytes` may run code of the
            // caller.
            frames.drain(..queued);
            match refused {
                // At most one reclaim for each frame that needs it.
                Some(SendErrorKind::EndpointFull) if queued > 0 || !has_reclaimed => {
                    has_reclaimed = true;
                    shared.reclaim_for(target, frames.front().map_or(first_cost, cost));
                }
                Some(SendErrorKind::UnknownTarget) if shared.is_stopping() => {
                    return Err(SendErrorKind::Closed);
                }
                Some(reason) => return Err(reason),
                None => {}
            }
        }
        Ok(())
    }

    fn push(&self, target: Target, frame: Frame) -> Result<(), SendError> {
        let shared = self.shared();
        let result = match shared.push(target, frame) {
            Err((SendErrorKind::EndpointFull, frame)) => {
                shared.reclaim_for(target, cost(&frame));
                shared.push(target, frame)
            }
            done => done,
        };
        self.map_queue_error(result)
    }

    /// Converts an error of the queue to that of the caller.
    pub(crate) fn map_queue_error(
        &self,
        result: Result<(), (SendErrorKind, Frame)>,
    ) -> Result<(), SendError> {
        result.map_err(|(reason, frame)| SendError::new(self.queue_error(reason), frame))
    }

    /// Converts the reason of a queue to that of the caller.
    pub(crate) fn queue_error(&self, reason: SendErrorKind) -> SendErrorKind {
        match reason {
            SendErrorKind::UnknownTarget if self.shared().is_stopping() => SendErrorKind::Closed,
            reason => reason,
        }
    }

    /// Takes the frames that came back from a peer's queue, oldest first: unsent ones, and ones
    /// that may not have arrived. Frames come back when the peer ends or restarts, or when their
    /// memory is needed for peers that come first.
    /// [`Event::Unconfirmed`](crate::Event::Unconfirmed) signals that there are some.
    ///
    /// At most `Limits::unconfirmed_bytes` are kept for all peers together; those of strangers are
    /// dropped first, the oldest ones before others.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// endpoint.try_send(targets[0], frame.clone())?;
    /// endpoint.shutdown().await;
    /// assert_eq!(endpoint.take_unconfirmed(targets[0]), [frame]);
    /// # Ok(()) }) }
    /// ```
    pub fn take_unconfirmed(&self, target: Target) -> Vec<Frame> {
        self.shared().take_unconfirmed(target)
    }

    /// Takes all frames queued for a peer without a link, in order to send them another way: first
    /// those that [`take_unconfirmed`](InetEndpoint::take_unconfirmed) would return, then the
    /// queue, oldest first. Some may already have arrived. A dialed peer continues to be dialed; an
    /// inbound peer ends.
    ///
    /// `None` if the peer has a link or a handshake in progress, or if there is no such peer.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// endpoint.try_send(targets[0], frame.clone())?;
    /// assert_eq!(endpoint.take_queued(targets[0]), Some(vec![frame]));
    /// assert_eq!(endpoint.take_queued(7.into()), None);
    /// # Ok(()) }) }
    /// ```
    pub fn take_queued(&self, target: Target) -> Option<Vec<Frame>> {
        self.shared().take_queued(target)
    }

    /// Returns why this frame cannot be sent to any peer.
    pub(crate) fn reject_reason(&self, frame: &Frame) -> Option<SendErrorKind> {
        match () {
            () if self.shared().is_stopping() => Some(SendErrorKind::Closed),
            () if is_peering(frame.modes()) => Some(SendErrorKind::Reserved),
            () if frame.len() > self.limits().frame_bytes => Some(SendErrorKind::TooLarge),
            () => None,
        }
    }
}
