//! Sending a frame to every peer.

use crate::endpoint::InetEndpoint;
use crate::error::{SendError, SendErrorKind};
use crate::peer::{Admission, Enqueued, Peer, SLOT_COST, SharedReservation, cost};
use crate::proto::Frame;
use crate::proto::Target;

impl InetEndpoint {
    /// Queues a frame for every peer whose link is up. Never waits.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the frame can be sent to no peer at all: it is too large, it has a reserved
    /// mode, the endpoint is closed, or `Limits::total_queue_bytes` is exhausted. Errors of single
    /// peers are in the report.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
    /// # use netmod_inet::{Frame, InetEndpoint, SendErrorKind};
    /// # let endpoint = InetEndpoint::start("[::1]:0").await?;
    /// let targets = endpoint.add_peers(["192.0.2.7:9000"]).await?;
    /// let frame = Frame::builder(4, endpoint.router_id()).build()?;
    /// let report = endpoint.send_all(frame)?;
    /// assert_eq!(report.refused, [(targets[0], SendErrorKind::LinkDown)]);
    /// # Ok(()) }) }
    /// ```
    pub fn send_all(&self, frame: Frame) -> Result<FloodReport, SendError> {
        self.flood(frame, &[])
    }

    /// Like [`send_all`](InetEndpoint::send_all), but excludes some peers: the one that the frame
    /// came from, and others that are known to have it. Unknown targets are ignored.
    ///
    /// # Errors
    ///
    /// See [`send_all`](InetEndpoint::send_all).
    ///
    /// ```
    /// use netmod_inet::InetEndpoint;
    ///
    /// /// Floods what arrives, and not back to where it came from.
    /// async fn flood(endpoint: &InetEndpoint) -> Result<(), Box<dyn std::error::Error>> {
    ///     let (from, frame) = endpoint.next().await?;
    ///     for (target, reason) in endpoint.send_all_except(frame, &[from])?.refused {
    ///         println!("not for {target}: {reason}");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn send_all_except(
        &self,
        frame: Frame,
        targets: &[Target],
    ) -> Result<FloodReport, SendError> {
        self.flood(frame, targets)
    }

    fn flood(&self, frame: Frame, except: &[Target]) -> Result<FloodReport, SendError> {
        let context = self.context();
        // Checked once, not for every peer.
        if let Some(refusal) = self.refusal(&frame) {
            return Err(SendError::new(refusal, frame));
        }
        let frame = frame.compact();
        let charge = SharedReservation::new(&context.budget, &frame).or_else(|| {
            context.reclaim(cost(&frame));
            SharedReservation::new(&context.budget, &frame)
        });
        let Some(charge) = charge else {
            return Err(SendError::new(SendErrorKind::EndpointFull, frame));
        };
        // Resolves aliases to the target of the peer.
        let peers = except.iter().filter_map(|target| context.peer(*target));
        let mut except: Vec<_> = peers.map(|peer| peer.target()).collect();
        except.sort_unstable();
        let mut report = FloodReport::default();
        let mut short_of_room = Vec::new();
        context.for_each_peer(|peer| {
            if except.binary_search(&peer.target()).is_ok() {
                return;
            }
            match peer.push(frame.clone(), Some(charge.clone()), Admission::WhileUp) {
                Err((SendErrorKind::EndpointFull, _)) => short_of_room.push(peer.clone()),
                pushed => report.note(peer, pushed),
            }
        });
        if !short_of_room.is_empty() {
            context.reclaim(SLOT_COST * short_of_room.len());
        }
        for peer in short_of_room {
            let pushed = peer.push(frame.clone(), Some(charge.clone()), Admission::WhileUp);
            report.note(&peer, pushed);
        }
        Ok(report)
    }
}

/// The result of flooding a frame.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{Frame, InetEndpoint};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let report = endpoint.send_all(Frame::builder(4, endpoint.router_id()).build()?)?;
/// println!("{} took it, {} did not", report.sent.len(), report.refused.len());
/// # Ok(()) }) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FloodReport {
    /// The peers that the frame was queued for.
    pub sent: Vec<Target>,
    /// The peers that it was not queued for, and why.
    pub refused: Vec<(Target, SendErrorKind)>,
}

impl FloodReport {
    fn note(&mut self, peer: &Peer, pushed: Result<Enqueued, (SendErrorKind, Frame)>) {
        match pushed {
            Ok(_) => self.sent.push(peer.target()),
            Err((refusal, _)) => self.refused.push((peer.target(), refusal)),
        }
    }
}
