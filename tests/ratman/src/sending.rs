//! Envelopes for neighbours: what waits, what goes out at once, what is kept for later.

use std::sync::PoisonError;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libratman::frame::carrier::CarrierFrameHeader;
use libratman::types::{Ident32, InMemoryEnvelope};
use libratman::{NetmodError, RatmanError, Result};
use netmod_inet::{Frame, SendError, SendErrorKind, Target};
use smol::Timer;
use smol::future;

use crate::convert::to_frame;
use crate::neighbours::Route;
use crate::receiving::Forwarded;
use crate::shared::Shared;

/// How long something waits that is sent by the task that calls `next`, while frames wait for that:
/// as long as a router may stand still.
const LOOP_TIMEOUT: Duration = Duration::from_millis(500);

const UNKNOWN: &str = "no neighbour has this id";
const AWAY: &str = "the neighbour has been away for too long to forward";

/// What became of a frame that was to be sent now.
enum Tried {
    Sent,
    Refused(Refused),
    /// Waiting helps: for room of this length in this queue, or else for the neighbour.
    Wait(Frame, Option<(Target, usize)>),
}

/// A frame that is not sent.
struct Refused {
    frame: Frame,
    /// Why the endpoint refused it, if it did.
    kind: Option<SendErrorKind>,
    reason: &'static str,
}

impl Shared {
    /// Sends to one neighbour.
    pub(crate) async fn send_to(&self, id: Ident32, envelope: InMemoryEnvelope) -> Result<()> {
        let header = envelope.header;
        let frame = self.parse(envelope)?;
        let sent = match self.receive_loop.forwarded(&frame) {
            Some(forwarded) => self.forward_to(id, frame, forwarded),
            None => self.send_within(id, frame).await,
        };
        sent.map_err(|refused| self.refused(Some(id), header, refused))
    }

    /// Sends to every neighbour that is up and not left out. An id that nobody has leaves nobody
    /// out.
    pub(crate) fn flood(
        &self,
        envelope: InMemoryEnvelope,
        except: [Option<Ident32>; 2],
    ) -> Result<()> {
        let header = envelope.header;
        let frame = self.parse(envelope)?;
        let except: Vec<_> = except.into_iter().flatten().collect();
        if except.is_empty() {
            // An announcement of another router is never flooded back to where it came from.
            self.blocks.lock().unwrap_or_else(PoisonError::into_inner).announced(&frame);
        }
        let left_out = self.neighbours().left_out(&except);
        self.echoes.lock().unwrap_or_else(PoisonError::into_inner).remember(&frame);
        match self.endpoint.send_all_except(frame, &left_out) {
            Ok(report) => {
                let is_missed = |reason: &SendErrorKind| {
                    matches!(reason, SendErrorKind::Full | SendErrorKind::EndpointFull)
                };
                let missed = report.refused.iter().filter(|(_, reason)| is_missed(reason));
                for (target, reason) in missed {
                    let mut neighbours = self.neighbours();
                    let name = neighbours.name(*target);
                    neighbours.refused(name, in_words(*reason));
                }
                Ok(())
            }
            Err(error) => Err(self.refused(None, header, Refused::from(error))),
        }
    }

    fn parse(&self, envelope: InMemoryEnvelope) -> Result<Frame> {
        to_frame(envelope).inspect_err(|_| {
            self.neighbours().refused(None, "the buffer of the envelope is no carrier frame");
        })
    }

    /// Sends a frame that the router received, and that must not wait.
    fn forward_to(
        &self,
        id: Ident32,
        frame: Frame,
        forwarded: Forwarded,
    ) -> std::result::Result<(), Refused> {
        let mut neighbours = self.neighbours();
        let down_limit = self.endpoint.limits().send_timeout;
        match (neighbours.route(&id), forwarded) {
            (Route::Unknown, _) => Err(Refused { frame, kind: None, reason: UNKNOWN }),
            (Route::Away(since), _) if since.elapsed() > down_limit => {
                Err(Refused { frame, kind: None, reason: AWAY })
            }
            (Route::Away(_) | Route::Behind(..), _) => {
                neighbours.defer(&self.endpoint, id, frame);
                Ok(())
            }
            (Route::To(target), Forwarded::First(received)) => {
                let forwarded = self.endpoint.forward(target, received);
                forwarded.map_err(SendError::from).map_err(Refused::from)
            }
            (Route::To(target), Forwarded::Again) => {
                self.endpoint.try_send(target, frame).map_err(Refused::from)
            }
        }
    }

    /// Sends a frame that the router made, and waits as long as that helps and is allowed.
    async fn send_within(&self, id: Ident32, frame: Frame) -> std::result::Result<(), Refused> {
        let is_inside = |cx: &mut Context<'_>| Poll::Ready(self.receive_loop.is_task(cx.waker()));
        let is_inside = future::poll_fn(is_inside).await;
        let started = Instant::now();
        let deadline = started + self.endpoint.limits().send_timeout;
        let mut frame = frame;
        loop {
            let applied = self.applied.listen();
            let blocked = match self.try_send_to(id, frame) {
                Tried::Sent => return Ok(()),
                Tried::Refused(refused) => return Err(refused),
                Tried::Wait(back, blocked) => {
                    frame = back;
                    blocked
                }
            };
            let now = Instant::now();
            let stalled = self.stalled(started).filter(|_| is_inside);
            if now >= deadline || stalled.is_some_and(|until| now >= until) {
                let kind = Some(SendErrorKind::TimedOut);
                let reason = match now >= deadline {
                    true => in_words(SendErrorKind::TimedOut),
                    false => "there was no room, and nobody called `next` meanwhile",
                };
                return Err(Refused { frame, kind, reason });
            }
            let room = async {
                if let Some((target, len)) = blocked {
                    if self.endpoint.until_room(target, len).await.is_ok() {
                        return;
                    }
                }
                future::pending().await
            };
            // Nothing wakes this task when somebody calls `next`.
            let look_again = stalled.unwrap_or(now + LOOP_TIMEOUT).min(deadline);
            let timer = async {
                Timer::at(look_again).await;
            };
            future::or(room, future::or(self.changed(applied), timer)).await;
        }
    }

    /// Sends a frame if that can be done now. Under the lock of the neighbours, so that what comes
    /// back for this one cannot be overtaken.
    fn try_send_to(&self, id: Ident32, frame: Frame) -> Tried {
        let neighbours = self.neighbours();
        match neighbours.route(&id) {
            Route::Unknown => Tried::Refused(Refused { frame, kind: None, reason: UNKNOWN }),
            Route::Away(_) if self.endpoint.is_closed() => {
                let kind = SendErrorKind::Closed;
                let reason = in_words(kind);
                Tried::Refused(Refused { frame, kind: Some(kind), reason })
            }
            Route::Away(_) => Tried::Wait(frame, None),
            Route::Behind(first) => Tried::Wait(frame, first),
            Route::To(target) => match self.endpoint.try_send(target, frame) {
                Ok(()) => Tried::Sent,
                Err(error) => match error.reason() {
                    SendErrorKind::Full | SendErrorKind::EndpointFull => {
                        let frame = error.into_frame();
                        let len = frame.len();
                        Tried::Wait(frame, Some((target, len)))
                    }
                    // The event that reports it is still to come.
                    SendErrorKind::UnknownTarget => Tried::Wait(error.into_frame(), None),
                    _ => Tried::Refused(Refused::from(error)),
                },
            },
        }
    }

    /// When something that waits since `started` has waited for long enough, if frames wait for
    /// `next` and nobody calls it.
    fn stalled(&self, started: Instant) -> Option<Instant> {
        let away_since = self.receive_loop.away_since()?;
        let has_frames = self.endpoint.has_received() || self.neighbours().has_ready();
        has_frames.then(|| away_since.max(started) + LOOP_TIMEOUT)
    }

    /// Why a frame was not sent, as Ratman's error; the log counts it.
    fn refused(
        &self,
        neighbour: Option<Ident32>,
        header: CarrierFrameHeader,
        refused: Refused,
    ) -> RatmanError {
        let Refused { frame, kind, reason } = refused;
        self.neighbours().refused(neighbour, reason);
        let error = match kind {
            Some(SendErrorKind::TooLarge) => NetmodError::FrameTooLarge,
            Some(SendErrorKind::Reserved | SendErrorKind::WrongDirection) => {
                NetmodError::NotSupported
            }
            // The router may keep it and try again.
            _ => {
                let buffer = frame.into_bytes().into();
                NetmodError::ConnectionLost(InMemoryEnvelope { header, buffer })
            }
        };
        error.into()
    }
}

impl From<SendError> for Refused {
    fn from(error: SendError) -> Refused {
        let kind = error.reason();
        Refused { frame: error.into_frame(), kind: Some(kind), reason: in_words(kind) }
    }
}

/// A reason as it stands in the log.
fn in_words(kind: SendErrorKind) -> &'static str {
    match kind {
        SendErrorKind::UnknownTarget => "the neighbour is gone",
        SendErrorKind::Full => "the queue of the neighbour is full",
        SendErrorKind::TimedOut => "there was no room in time",
        SendErrorKind::EndpointFull => "the queues of all neighbours together are full",
        SendErrorKind::TooLarge => "the frame is too large",
        SendErrorKind::Reserved => "modes 32 to 63 are reserved for the netmod",
        SendErrorKind::WrongDirection => "the link is limited to the other direction",
        SendErrorKind::LinkDown => "the link has been down for too long",
        SendErrorKind::Closed => "the netmod was shut down",
        _ => "the endpoint refused it",
    }
}
