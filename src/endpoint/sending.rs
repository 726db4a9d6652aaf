//! Frames for one peer.

use std::collections::VecDeque;

use super::InetEndpoint;
use crate::Target;
use crate::error::{Refusal, SendError};
use crate::peer::cost;
use crate::proto::{Frame, is_peering};

impl InetEndpoint {
    /// Puts a frame into a peer's queue.
    ///
    /// While the peer's link is up and its queue is full, this waits for room, at most for
    /// `Limits::send_timeout`. While the link is down it never waits. A frame that was taken goes
    /// out whole and in order; if the link ends first it waits for the next one.
    ///
    /// # Errors
    ///
    /// [`SendError`] says why the frame was not taken, and gives it back.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future either queued the frame or did not.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint, Refusal};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("for later").build()?;
    /// endpoint.send(targets[0], frame.clone()).await?;
    /// let error = endpoint.send(7, frame.clone()).await.unwrap_err();
    /// assert_eq!((error.reason(), error.into_frame()), (Refusal::UnknownTarget, frame));
    /// # Ok(()) }) }
    /// ```
    pub async fn send(&self, target: Target, frame: Frame) -> Result<(), SendError> {
        let error = match self.try_send(target, frame) {
            Err(error) if error.reason() == Refusal::Full => error,
            done => return done,
        };
        let Ok(peer) = self.peer(target) else {
            return self.push(target, error.into_frame());
        };
        match peer.send(error.into_frame(), self.limits().send_timeout).await {
            // The peer went while this waited: it became another's alias, or ended.
            Err(error) if error.reason() == Refusal::UnknownTarget => {
                self.try_send(target, error.into_frame())
            }
            done => done,
        }
    }

    /// Puts a frame into a peer's queue if there is room now.
    ///
    /// This is the one to use inside a router's loop: one that waits in
    /// [`send`](InetEndpoint::send) before it calls [`next`](InetEndpoint::next) may hold itself up.
    /// Frames keep their room until they are acknowledged, and the word of that comes behind the
    /// frames that the router does not take meanwhile.
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
    /// use netmod_inet::{Frame, InetEndpoint, Refusal};
    ///
    /// let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(8, endpoint.router_id()).payload("hello").build()?;
    /// let mut frames = VecDeque::from(vec![frame; 10_000]);
    /// let refusal = endpoint.try_send_many(targets[0], &mut frames).unwrap_err();
    /// assert_eq!((refusal, frames.len()), (Refusal::Full, 10_000 - endpoint.peers()[0].queued_frames));
    /// # Ok(()) }) }
    /// ```
    pub fn try_send_many(
        &self,
        target: Target,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), Refusal> {
        let context = self.context();
        let mut has_shed = false;
        while let Some(first) = frames.front() {
            let least = cost(first);
            let (taken, refused) = context.push_many(target, frames, |frame| self.refusal(frame));
            // After the locks: bytes that the caller lent may run code of his when they are let go.
            frames.drain(..taken);
            match refused {
                // Once for each frame that needs it.
                Some(Refusal::EndpointFull) if taken > 0 || !has_shed => {
                    has_shed = true;
                    context.shed(frames.front().map_or(least, cost));
                }
                Some(Refusal::UnknownTarget) if context.is_stopping() => {
                    return Err(Refusal::Closed);
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
            Err((Refusal::EndpointFull, frame)) => {
                context.shed(cost(&frame));
                context.push(target, frame)
            }
            done => done,
        };
        match pushed {
            Ok(()) => Ok(()),
            Err((Refusal::UnknownTarget, frame)) if context.is_stopping() => {
                Err(SendError::new(Refusal::Closed, frame))
            }
            Err((refusal, frame)) => Err(SendError::new(refusal, frame)),
        }
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

    /// Why the router may not send this frame to anybody.
    pub(super) fn refusal(&self, frame: &Frame) -> Option<Refusal> {
        match () {
            () if self.context().is_stopping() => Some(Refusal::Closed),
            () if is_peering(frame.modes()) => Some(Refusal::Reserved),
            () if frame.len() > self.limits().frame_bytes => Some(Refusal::TooLarge),
            () => None,
        }
    }
}
