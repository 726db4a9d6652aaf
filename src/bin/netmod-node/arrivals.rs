//! What an endpoint has to tell, in one sequence.

use netmod_inet::{Event, Events, Frame, InetEndpoint, Target};
use smol::future;

/// One thing that happened.
pub(crate) enum Arrival {
    Event(Event),
    Frame(Target, Frame),
}

enum Source {
    Events,
    Frames,
}

/// The events and the frames of an endpoint. Events go first, so that a peer is seen to come up
/// before its first frame; a link that ends may be reported ahead of its last ones.
pub(crate) struct Arrivals<'a> {
    endpoint: &'a InetEndpoint,
    events: Events,
    events_open: bool,
    frames_open: bool,
}

impl<'a> Arrivals<'a> {
    pub(crate) fn new(endpoint: &'a InetEndpoint, events: Events) -> Arrivals<'a> {
        Arrivals { endpoint, events, events_open: true, frames_open: true }
    }

    /// What is there already.
    pub(crate) fn take(&mut self) -> Option<Arrival> {
        if let Ok(Some(event)) = self.events.try_next() {
            return Some(Arrival::Event(event));
        }
        let (target, frame) = self.endpoint.try_next().ok()??;
        Some(Arrival::Frame(target, frame))
    }

    /// Waits for the next; `None` after the last, when the endpoint has shut down.
    pub(crate) async fn wait(&mut self) -> Option<Arrival> {
        while self.events_open || self.frames_open {
            let event = async {
                match self.events_open {
                    true => {
                        self.events.next().await.map(Arrival::Event).map_err(|_| Source::Events)
                    }
                    false => future::pending().await,
                }
            };
            let frame = async {
                match self.frames_open {
                    true => match self.endpoint.next().await {
                        Ok((target, frame)) => Ok(Arrival::Frame(target, frame)),
                        Err(_) => Err(Source::Frames),
                    },
                    false => future::pending().await,
                }
            };
            match future::or(event, frame).await {
                Ok(arrival) => return Some(arrival),
                Err(Source::Events) => self.events_open = false,
                Err(Source::Frames) => self.frames_open = false,
            }
        }
        None
    }
}
