//! Receiving frames, and forwarding them.

use std::fmt;

use crate::endpoint::InetEndpoint;
use crate::error::{Closed, SendError, SendErrorKind, UnknownTarget};
use crate::peer::{Admission, Permit};
use crate::proto::Frame;
use crate::proto::Target;

/// A received frame, from [`InetEndpoint::recv`], which can be [forwarded](InetEndpoint::forward)
/// without waiting.
///
/// It takes a part of the receive window of the peer that sent it until it is dropped, or until a
/// forwarded frame is delivered. A router that keeps many of them, and forwards none, receives no
/// more from that peer.
///
/// ```
/// # async fn run(endpoint: netmod_inet::InetEndpoint) -> Result<(), netmod_inet::Closed> {
/// let received = endpoint.recv().await?;
/// println!("{} bytes from {}", received.frame().len(), received.target());
/// # Ok(()) }
/// ```
#[must_use = "the frame is lost with it"]
pub struct Received {
    target: Target,
    frame: Frame,
    permit: Permit,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("target", &self.target).finish_non_exhaustive()
    }
}

/// A frame that was not forwarded, and the reason.
///
/// ```
/// use netmod_inet::{InetEndpoint, Received, SendErrorKind, Target};
///
/// /// Forwards a frame; returns it if it may be forwarded later.
/// fn forward(endpoint: &InetEndpoint, to: Target, received: Received) -> Option<Received> {
///     let error = endpoint.try_forward(to, received).err()?;
///     (error.reason() == SendErrorKind::Full).then(|| error.into_received())
/// }
/// ```
pub struct ForwardError {
    reason: SendErrorKind,
    received: Received,
}

impl ForwardError {
    /// Returns why the frame was not forwarded.
    ///
    /// ```
    /// # fn show(error: netmod_inet::ForwardError) {
    /// println!("not forwarded: {}", error.reason());
    /// # }
    /// ```
    pub fn reason(&self) -> SendErrorKind {
        self.reason
    }

    /// Returns the frame.
    ///
    /// ```
    /// # fn show(error: netmod_inet::ForwardError) {
    /// println!("{} bytes were not forwarded", error.frame().len());
    /// # }
    /// ```
    pub fn frame(&self) -> &Frame {
        &self.received.frame
    }

    /// Consumes the error and returns the received frame, which still takes its part of the window.
    ///
    /// ```
    /// # fn keep(error: netmod_inet::ForwardError) -> netmod_inet::Received {
    /// error.into_received()
    /// # }
    /// ```
    pub fn into_received(self) -> Received {
        self.received
    }
}

impl From<ForwardError> for SendError {
    /// Gives up the part of the window.
    fn from(error: ForwardError) -> SendError {
        SendError::new(error.reason, error.received.frame)
    }
}

impl fmt::Debug for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for ForwardError {}

impl Received {
    /// Returns the target of the peer that sent the frame.
    ///
    /// ```
    /// # fn show(received: &netmod_inet::Received) {
    /// println!("from peer {}", received.target());
    /// # }
    /// ```
    pub fn target(&self) -> Target {
        self.target
    }

    /// Returns the frame.
    ///
    /// ```
    /// # fn show(received: &netmod_inet::Received) {
    /// println!("modes {}", received.frame().modes());
    /// # }
    /// ```
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Extracts a frame that is for this node and is not to be forwarded.
    ///
    /// ```
    /// # fn keep(received: netmod_inet::Received) -> Vec<u8> {
    /// received.into_frame().payload().to_vec()
    /// # }
    /// ```
    pub fn into_frame(self) -> Frame {
        self.frame
    }
}

impl InetEndpoint {
    /// Waits for the next frame from any peer. Frames of one peer are in order.
    ///
    /// Like [`next`](InetEndpoint::next), for routers that forward some of the frames.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the endpoint was shut down, or its executor is gone, and every received
    /// frame has been returned.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no frame.
    ///
    /// ```
    /// use netmod_inet::{Closed, InetEndpoint, Target};
    ///
    /// /// Passes on to `next_hop` what arrives from others.
    /// async fn relay(endpoint: InetEndpoint, next_hop: Target) -> Result<(), Closed> {
    ///     loop {
    ///         let received = endpoint.recv().await?;
    ///         if received.target() != next_hop {
    ///             if let Err(error) = endpoint.forward(next_hop, received) {
    ///                 println!("{} bytes not forwarded: {error}", error.frame().len());
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn recv(&self) -> Result<Received, Closed> {
        let (target, frame, permit) = self.shared().inbound.recv().await?;
        Ok(Received { target, frame, permit })
    }

    /// Returns the next frame from any peer, if there is one now. `None` while a task waits in
    /// [`recv`](InetEndpoint::recv) or [`next`](InetEndpoint::next), which gets the frame.
    ///
    /// # Errors
    ///
    /// See [`recv`](InetEndpoint::recv).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert!(endpoint.try_recv()?.is_none(), "there are no peers");
    /// # Ok(()) }) }
    /// ```
    pub fn try_recv(&self) -> Result<Option<Received>, Closed> {
        let next = self.shared().inbound.try_recv()?;
        Ok(next.map(|(target, frame, permit)| Received { target, frame, permit }))
    }

    /// Queues a received frame for another peer. Never waits, so it may be called in the receive
    /// loop of a router. A router that waited there would stop receiving, and two such routers
    /// would deadlock.
    ///
    /// The frame may exceed the limits of the peer's queue. It keeps its part of the receive window
    /// of the peer that it came from until it is acknowledged (by a plain Ratman node: written), or
    /// comes back. So if the next peer is slow, the one before it has to slow down, and the frames
    /// under way are bounded by the windows. While the next peer has no link, or strangers have used
    /// up their half of `Limits::inbound_bytes`, forwarded frames take memory of
    /// `Limits::total_queue_bytes` instead, so that others are not held up.
    ///
    /// # Errors
    ///
    /// [`ForwardError`] with the reason and the frame, as for [`try_send`](InetEndpoint::try_send),
    /// but never `SendErrorKind::Full`. It is `SendErrorKind::LinkDown` if the peer has been down for
    /// longer than `Limits::send_timeout`.
    ///
    /// ```
    /// # use netmod_inet::InetEndpoint;
    /// # async fn run(endpoint: InetEndpoint) -> Result<(), Box<dyn std::error::Error>> {
    /// let received = endpoint.recv().await?;
    /// endpoint.forward(3.into(), received)?;
    /// # Ok(()) }
    /// ```
    pub fn forward(&self, target: Target, received: Received) -> Result<(), ForwardError> {
        self.forward_as(target, received, |permit| Admission::Forwarded(permit))
    }

    /// Like [`forward`](InetEndpoint::forward), for routers that would rather drop or keep a frame
    /// than let one slow peer hold up all that comes from the same neighbour.
    ///
    /// # Errors
    ///
    /// As for [`forward`](InetEndpoint::forward), and `SendErrorKind::Full` if half of the window of
    /// the peer that the frame came from waits for this target. Keep the frame until others have
    /// been delivered, as [`until_forwardable`](InetEndpoint::until_forwardable) tells, or drop it:
    /// then frames for other targets get through.
    ///
    /// ```
    /// # use netmod_inet::{InetEndpoint, Received, Target};
    /// # fn pass_on(endpoint: InetEndpoint, to: Target, received: Received) {
    /// if let Err(error) = endpoint.try_forward(to, received) {
    ///     println!("a frame of {} bytes is dropped: {error}", error.frame().len());
    /// }
    /// # }
    /// ```
    pub fn try_forward(&self, target: Target, received: Received) -> Result<(), ForwardError> {
        self.forward_as(target, received, |permit| Admission::ForwardedWithinHalf(permit))
    }

    fn forward_as(
        &self,
        target: Target,
        received: Received,
        admission: fn(&mut Option<Permit>) -> Admission<'_>,
    ) -> Result<(), ForwardError> {
        let Received { target: from, frame, permit } = received;
        let mut permit = Some(permit);
        let queued = match self.reject_reason(&frame) {
            Some(reason) => Err((reason, frame)),
            None => self.shared().forward(target, frame, admission(&mut permit)),
        };
        let Err((reason, frame)) = queued else { return Ok(()) };
        // Taken only with the frame, so it is still there.
        let Some(permit) = permit else { return Ok(()) };
        let received = Received { target: from, frame, permit };
        Err(ForwardError { reason: self.queue_error(reason), received })
    }

    /// Waits until [`try_forward`](InetEndpoint::try_forward) would take this frame, or refuse it for a
    /// reason other than `SendErrorKind::Full`.
    ///
    /// # Errors
    ///
    /// [`UnknownTarget`] if the peer does not exist, or has ended meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// ```
    /// # use netmod_inet::{InetEndpoint, Received, SendErrorKind, Target};
    /// /// Forwards a frame, and waits for the next peer if that is slow. Not for the receive loop!
    /// async fn pass_on(endpoint: &InetEndpoint, to: Target, mut received: Received) {
    ///     while endpoint.until_forwardable(to, &received).await.is_ok() {
    ///         received = match endpoint.try_forward(to, received) {
    ///             Err(error) if error.reason() == SendErrorKind::Full => error.into_received(),
    ///             _ => return,
    ///         };
    ///     }
    /// }
    /// ```
    pub async fn until_forwardable(
        &self,
        target: Target,
        received: &Received,
    ) -> Result<(), UnknownTarget> {
        let peer = self.known_peer(target)?;
        peer.until_forwardable(&received.permit).await;
        self.known_peer(target).map(drop)
    }

    /// Waits for the next frame from any peer. Frames of one peer are in order.
    ///
    /// # Errors
    ///
    /// See [`recv`](InetEndpoint::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no frame.
    ///
    /// ```
    /// # async fn route(endpoint: netmod_inet::InetEndpoint) {
    /// while let Ok((from, frame)) = endpoint.next().await {
    ///     println!("{} bytes from {from}", frame.len());
    /// }
    /// # }
    /// ```
    pub async fn next(&self) -> Result<(Target, Frame), Closed> {
        self.shared().inbound.next().await
    }

    /// Returns the next frame from any peer, if there is one now. `None` while a task waits
    /// in [`next`](InetEndpoint::next), which gets the frame.
    ///
    /// # Errors
    ///
    /// See [`recv`](InetEndpoint::recv).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert_eq!(endpoint.try_next()?, None, "there are no peers");
    /// # Ok(()) }) }
    /// ```
    pub fn try_next(&self) -> Result<Option<(Target, Frame)>, Closed> {
        self.shared().inbound.try_next()
    }

    /// Returns whether a frame is available to [`recv`](InetEndpoint::recv) or
    /// [`next`](InetEndpoint::next).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert!(!endpoint.has_received(), "there are no peers");
    /// # Ok(()) }) }
    /// ```
    pub fn has_received(&self) -> bool {
        self.shared().inbound.has_frame()
    }
}
