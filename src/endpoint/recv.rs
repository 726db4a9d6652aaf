//! Receiving frames, and forwarding them.

use crate::endpoint::InetEndpoint;
use crate::error::{Closed, SendError, SendErrorKind};
use crate::peer::cost;
use crate::proto::Frame;
use crate::proto::Target;

/// A received frame, from [`InetEndpoint::recv`], which can be [forwarded](InetEndpoint::forward)
/// without waiting.
///
/// ```
/// # async fn run(endpoint: netmod_inet::InetEndpoint) -> Result<(), netmod_inet::Closed> {
/// let received = endpoint.recv().await?;
/// println!("{} bytes from {}", received.frame().len(), received.target());
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "the frame is lost with it"]
pub struct Received {
    target: Target,
    frame: Frame,
}

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
        let (target, frame) = self.context().inbound.next().await?;
        Ok(Received { target, frame })
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
    /// assert!(endpoint.try_recv()?.is_none(), "nobody is there");
    /// # Ok(()) }) }
    /// ```
    pub fn try_recv(&self) -> Result<Option<Received>, Closed> {
        let next = self.context().inbound.try_next()?;
        Ok(next.map(|(target, frame)| Received { target, frame }))
    }

    /// Queues a received frame for another peer. Never waits, so it may be called in the receive
    /// loop of a router. A router that waited there would stop receiving, and two such routers
    /// would deadlock.
    ///
    /// The frame may exceed the limits of the peer's queue, but not `Limits::total_queue_bytes`.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the reason and the frame, as for [`try_send`](InetEndpoint::try_send),
    /// but never `SendErrorKind::Full`. It is `SendErrorKind::LinkDown` if the peer has been down
    /// for longer than `Limits::send_timeout`.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint) -> Result<(), Box<dyn std::error::Error>> {
    /// let received = endpoint.recv().await?;
    /// endpoint.forward(3, received)?;
    /// # Ok(()) }
    /// ```
    pub fn forward(&self, target: Target, received: Received) -> Result<(), SendError> {
        let frame = received.into_frame();
        if let Some(refusal) = self.refusal(&frame) {
            return Err(SendError::new(refusal, frame));
        }
        let context = self.context();
        let forwarded = match context.forward(target, frame) {
            Err((SendErrorKind::EndpointFull, frame)) => {
                context.reclaim(cost(&frame));
                context.forward(target, frame)
            }
            done => done,
        };
        self.pushed(forwarded)
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
        self.context().inbound.next().await
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
    /// assert_eq!(endpoint.try_next()?, None, "nobody is there");
    /// # Ok(()) }) }
    /// ```
    pub fn try_next(&self) -> Result<Option<(Target, Frame)>, Closed> {
        self.context().inbound.try_next()
    }

    /// Returns whether a frame is available to [`recv`](InetEndpoint::recv) or
    /// [`next`](InetEndpoint::next).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::InetEndpoint;
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// assert!(!endpoint.has_received(), "nobody is there");
    /// # Ok(()) }) }
    /// ```
    pub fn has_received(&self) -> bool {
        self.context().inbound.has_frame()
    }
}
