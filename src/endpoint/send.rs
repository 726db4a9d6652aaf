//! Frames for one peer.

use std::collections::VecDeque;
use std::time::Duration;

use crate::endpoint::InetEndpoint;
use crate::error::{SendError, SendErrorKind, UnknownTarget};
use crate::peer::cost;
use crate::primitives::clock;
use crate::proto::Target;
use crate::proto::{Frame, is_peering};

impl InetEndpoint {
    /// Puts a frame into a peer's queue. Waits for room, whether the peer's link is up or being
    /// restored, at most for `Limits::send_timeout`. A frame that was taken goes out whole and in
    /// order; if the link ends first it waits for the next one.
    ///
    /// This is for frames that the router makes itself. One that it received and passes on goes by
    /// [`forward`](InetEndpoint::forward), which never waits.
    ///
    /// # Errors
    ///
    /// [`SendError`] says why the frame was not taken, and gives it back. What waiting does not help
    /// fails at once; `SendErrorKind::TimedOut` tells that there was no room in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future either queued the frame or did not.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint, SendErrorKind};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// endpoint.send(targets[0], frame.clone()).await?;
    /// let error = endpoint.send(7, frame.clone()).await.unwrap_err();
    /// assert_eq!((error.reason(), error.into_frame()), (SendErrorKind::UnknownTarget, frame));
    /// # Ok(()) }) }
    /// ```
    pub async fn send(&self, target: Target, frame: Frame) -> Result<(), SendError> {
        self.send_within(target, frame, self.limits().send_timeout).await
    }

    /// The same as [`send`](InetEndpoint::send), waiting for room at most for `time`.
    ///
    /// # Errors
    ///
    /// See [`send`](InetEndpoint::send).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future either queued the frame or did not.
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
        // Most frames find room, and then there is no timer.
        let mut error = match self.try_send(target, frame) {
            Err(error) if error.reason().is_temporary() => error,
            done => return done,
        };
        let mut deadline = clock::after(time);
        loop {
            let Ok(peer) = self.known_peer(target) else {
                return self.try_send(target, error.into_frame());
            };
            match peer.send(error.into_frame(), &mut deadline).await {
                // The peer went while this waited: it became another's alias, or ended.
                Err(gone) if gone.reason() == SendErrorKind::UnknownTarget => {
                    error = match self.try_send(target, gone.into_frame()) {
                        Err(error) if error.reason().is_temporary() => error,
                        done => return done,
                    };
                }
                done => return done,
            }
        }
    }

    /// Waits until the queue of a peer has room for a frame of this many bytes, or would refuse it for
    /// another reason than want of room. Others may take the room first.
    ///
    /// # Errors
    ///
    /// [`UnknownTarget`] if there is no such peer, or no longer.
    ///
    /// # Cancel safety
    ///
    /// This has no effect, so it can be dropped at any time.
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
        // It may have become another's alias meanwhile, which has room or not.
        let peer = self.known_peer(target)?;
        match peer.is_closing() {
            true => Err(UnknownTarget(target)),
            false => Ok(()),
        }
    }

    /// Puts a frame into a peer's queue if there is room now.
    ///
    /// A router that waits in [`send`](InetEndpoint::send) before it receives again may lock itself up:
    /// queue space is freed by acknowledgements, which arrive behind inbound frames. Inside the loop
    /// that receives use this, or [`forward`](InetEndpoint::forward).
    ///
    /// # Errors
    ///
    /// [`SendError`] says why the frame was not taken, and gives it back.
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
        match self.refusal(&frame) {
            None => self.push(target, frame),
            Some(refusal) => Err(SendError::new(refusal, frame)),
        }
    }

    /// Puts many frames into a peer's queue, in their order, for as long as there is room now. Those
    /// that the queue took are gone from `frames`.
    ///
    /// It does the same as [`try_send`](InetEndpoint::try_send) for each of them, but looks the peer
    /// up and locks its queue once for all: small frames go nearly twice as fast.
    ///
    /// # Errors
    ///
    /// Why the frame that is now the first of `frames` was not taken. The rest was not tried.
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
    /// let refusal = endpoint.try_send_many(targets[0], &mut frames).unwrap_err();
    /// assert_eq!((refusal, frames.len()), (SendErrorKind::Full, 10_000 - endpoint.peers()[0].queued_frames));
    /// # Ok(()) }) }
    /// ```
    pub fn try_send_many(
        &self,
        target: Target,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), SendErrorKind> {
        let context = self.context();
        let mut has_shed = false;
        while let Some(first) = frames.front() {
            let least = cost(first);
            let (taken, refused) = context.push_many(target, frames, |frame| self.refusal(frame));
            // After the locks: bytes that the caller lent may run code of his when they are let go.
            frames.drain(..taken);
            match refused {
                // Once for each frame that needs it.
                Some(SendErrorKind::EndpointFull) if taken > 0 || !has_shed => {
                    has_shed = true;
                    context.reclaim(frames.front().map_or(least, cost));
                }
                Some(SendErrorKind::UnknownTarget) if context.is_stopping() => {
                    return Err(SendErrorKind::Closed);
                }
                Some(refusal) => return Err(refusal),
                None => {}
            }
        }
        Ok(())
    }

    fn push(&self, target: Target, frame: Frame) -> Result<(), SendError> {
        let context = self.context();
        let pushed = match context.push(target, frame) {
            Err((SendErrorKind::EndpointFull, frame)) => {
                context.reclaim(cost(&frame));
                context.push(target, frame)
            }
            done => done,
        };
        self.pushed(pushed)
    }

    /// What becomes of a frame for the caller.
    pub(crate) fn pushed(
        &self,
        pushed: Result<(), (SendErrorKind, Frame)>,
    ) -> Result<(), SendError> {
        pushed.map_err(|(refusal, frame)| match refusal {
            SendErrorKind::UnknownTarget if self.context().is_stopping() => {
                SendError::new(SendErrorKind::Closed, frame)
            }
            refusal => SendError::new(refusal, frame),
        })
    }

    /// Takes the frames that a peer was not sent: those that waited when it ended, oldest first.
    /// [`Event::Unconfirmed`](crate::Event::Unconfirmed) tells that there are some.
    ///
    /// At most `Limits::unconfirmed_bytes` are kept for all peers together, the latest frames.
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
        self.context().take_unconfirmed(target)
    }

    /// Takes all frames that wait for a peer without a link, oldest first and behind those that
    /// [`take_unconfirmed`](InetEndpoint::take_unconfirmed) would return: to send them by another way.
    /// Some may have arrived. A dialed peer is dialed on, one that had dialed this node ends.
    ///
    /// `None` if the peer has a link, or shakes hands just now; or if there is no such peer.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// endpoint.try_send(targets[0], frame.clone())?;
    /// assert_eq!(endpoint.take_queued(targets[0]), Some(vec![frame]));
    /// assert_eq!(endpoint.take_queued(7), None);
    /// # Ok(()) }) }
    /// ```
    pub fn take_queued(&self, target: Target) -> Option<Vec<Frame>> {
        self.context().take_queued(target)
    }

    /// Why the router may not send this frame to anybody.
    pub(crate) fn refusal(&self, frame: &Frame) -> Option<SendErrorKind> {
        match () {
            () if self.context().is_stopping() => Some(SendErrorKind::Closed),
            () if is_peering(frame.modes()) => Some(SendErrorKind::Reserved),
            () if frame.len() > self.limits().frame_bytes => Some(SendErrorKind::TooLarge),
            () => None,
        }
    }
}
