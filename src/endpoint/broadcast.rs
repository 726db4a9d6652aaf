//! Sending a frame to every peer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::endpoint::InetEndpoint;
use crate::error::{SendError, SendErrorKind};
use crate::peer::{Admission, Enqueued, Peer, PeerClass, SLOT_COST, SharedReservation, cost};
use crate::proto::{Frame, Target};
use crate::shared::Shared;

impl InetEndpoint {
    /// Queues a frame for every peer whose link is up. Never waits.
    ///
    /// A queue that is full takes it while the floods in it take less than an eighth of its limits.
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
        let shared = self.shared();
        // Checked once, not for every peer.
        if let Some(reason) = self.reject_reason(&frame) {
            return Err(SendError::new(reason, frame));
        }
        let frame = frame.compact();
        // Resolves aliases to the target of the peer. `extend` instead of a sorted list, or
        // `collect`: both would add a whole sort to the binary.
        let peers = except.iter().filter_map(|target| shared.peer(*target));
        let mut except = BTreeMap::new();
        except.extend(peers.map(|peer| (peer.target(), peer)));
        let reservation = SharedReservation::new(&shared.budget, &frame).or_else(|| {
            shared.reclaim(highest_class(shared, &except), None, cost(&frame));
            SharedReservation::new(&shared.budget, &frame)
        });
        let Some(reservation) = reservation else {
            return Err(SendError::new(SendErrorKind::EndpointFull, frame));
        };
        let mut report = FloodReport::default();
        let mut out_of_memory = Vec::new();
        shared.for_each_peer(|peer| {
            if except.contains_key(&peer.target()) {
                return;
            }
            match peer.push(frame.clone(), Admission::Flood(reservation.clone())) {
                Err((SendErrorKind::EndpointFull, _)) => out_of_memory.push(peer.clone()),
                result => report.record(peer, result),
            }
        });
        if let Some(class) = out_of_memory.iter().map(|peer| peer.class()).max() {
            shared.reclaim(class, None, SLOT_COST * out_of_memory.len());
        }
        for peer in out_of_memory {
            let result = peer.push(frame.clone(), Admission::Flood(reservation.clone()));
            report.record(&peer, result);
        }
        Ok(report)
    }
}

/// The highest class of the peers that a flood is for.
fn highest_class(shared: &Shared, except: &BTreeMap<Target, Arc<Peer>>) -> PeerClass {
    let mut highest = PeerClass::Stranger;
    for peer in shared.peers() {
        if peer.queue.is_up() && !except.contains_key(&peer.target()) {
            highest = highest.max(peer.class());
        }
    }
    highest
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
    fn record(&mut self, peer: &Peer, result: Result<Enqueued, (SendErrorKind, Frame)>) {
        match result {
            Ok(_) => self.sent.push(peer.target()),
            Err((reason, _)) => self.refused.push((peer.target(), reason)),
        }
    }
}
