//! Errors of sending.

use std::fmt;

use crate::proto::Frame;

/// A frame that was not queued, and the reason.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{Frame, InetEndpoint};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let frame = Frame::builder(8, endpoint.router_id()).build()?;
/// let error = endpoint.try_send(7.into(), frame.clone()).unwrap_err();
/// assert_eq!(error.to_string(), "there is no peer with this target");
/// assert_eq!(error.into_frame(), frame);
/// # Ok(()) }) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SendError {
    reason: SendErrorKind,
    frame: Frame,
}

impl SendError {
    pub(crate) fn new(reason: SendErrorKind, frame: Frame) -> SendError {
        SendError { reason, frame }
    }

    /// Returns why the frame was not queued.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint, frame: netmod_inet::Frame) {
    /// if let Err(error) = endpoint.try_send(7.into(), frame) {
    ///     println!("not sent: {}", error.reason());
    /// }
    /// # }
    /// ```
    pub fn reason(&self) -> SendErrorKind {
        self.reason
    }

    /// Returns the frame.
    ///
    /// ```
    /// # async fn run(endpoint: netmod_inet::InetEndpoint, frame: netmod_inet::Frame) {
    /// if let Err(error) = endpoint.try_send(7.into(), frame) {
    ///     println!("{} bytes were not sent", error.frame().len());
    /// }
    /// # }
    /// ```
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Consumes the error and returns the frame.
    ///
    /// ```
    /// use netmod_inet::{Frame, InetEndpoint, SendError};
    ///
    /// /// Sends through the first neighbour that has room.
    /// fn send_by_any(endpoint: &InetEndpoint, mut frame: Frame) -> Result<(), Frame> {
    ///     for peer in endpoint.peers() {
    ///         frame = match endpoint.try_send(peer.target, frame) {
    ///             Ok(()) => return Ok(()),
    ///             Err(error) => error.into_frame(),
    ///         };
    ///     }
    ///     Err(frame)
    /// }
    /// ```
    pub fn into_frame(self) -> Frame {
        self.frame
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for SendError {}

/// Why a frame was not queued for a peer.
///
/// ```
/// use netmod_inet::SendErrorKind;
///
/// /// Whether it makes sense to send the same frame to the same neighbour later.
/// fn may_be_taken_later(reason: SendErrorKind) -> bool {
///     use SendErrorKind::{EndpointFull, Full, TimedOut};
///     matches!(reason, Full | TimedOut | EndpointFull)
/// }
/// # assert!(may_be_taken_later(SendErrorKind::Full));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// No peer has this target, or it has ended.
    UnknownTarget,
    /// The peer's queue is full; try again later.
    Full,
    /// The queue had no space within the time that the sender waited.
    TimedOut,
    /// The queues of all peers together have reached `Limits::total_queue_bytes`, or for a stranger
    /// the part of it that is not reserved.
    EndpointFull,
    /// The frame is longer than `Limits::frame_bytes`, or than the peer's queue can ever hold.
    TooLarge,
    /// The frame has one of the modes 32..=63, which are reserved for the netmod.
    Reserved,
    /// The link is limited to one direction, and it is not this one.
    WrongDirection,
    /// The peer's link is down. A flood goes only to peers that are up; a forwarded frame is queued
    /// until the link has been down for longer than `Limits::send_timeout`.
    LinkDown,
    /// The endpoint was shut down.
    Closed,
}

impl SendErrorKind {
    /// Returns whether waiting for queue space can help.
    pub(crate) fn is_temporary(self) -> bool {
        matches!(self, SendErrorKind::Full | SendErrorKind::EndpointFull)
    }
}

impl fmt::Display for SendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendErrorKind::UnknownTarget => "there is no peer with this target",
            SendErrorKind::Full => "the peer's queue is full",
            SendErrorKind::TimedOut => "there was no room for the frame in time",
            SendErrorKind::EndpointFull => "the queues of all peers together are full",
            SendErrorKind::TooLarge => "the frame is too large",
            SendErrorKind::Reserved => "modes 32 to 63 are reserved for the netmod",
            SendErrorKind::WrongDirection => "the link is limited: frames go the other way only",
            SendErrorKind::LinkDown => "the peer's link is down",
            SendErrorKind::Closed => "the endpoint is closed",
        })
    }
}

impl std::error::Error for SendErrorKind {}
