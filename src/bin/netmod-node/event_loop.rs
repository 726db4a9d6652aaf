//! Prints the events and frames of an endpoint until it has shut down.

use crate::output::{BLOCK, Output};
use netmod_inet::{Event, Events, Frame, InetEndpoint, Target};
use smol::future;

/// Prints everything that the endpoint delivers. Blocks while it prints.
pub(crate) async fn run(endpoint: &InetEndpoint, events: Events, output: &Output) {
    let mut source = Source::new(endpoint, events);
    let mut lines = Vec::new();
    while let Some(first) = source.next().await {
        let mut next = Some(first);
        while let Some(item) = next {
            format(item, endpoint, output, &mut lines);
            next = if lines.len() < BLOCK { source.try_next() } else { None };
        }
        output.print(&lines);
        lines.clear();
    }
}

fn format(item: Item, endpoint: &InetEndpoint, output: &Output, lines: &mut Vec<u8>) {
    match item {
        Item::Event(event) => {
            output.counters.record(&event);
            output.screen.iter().for_each(|screen| screen.observe(&event));
            output.format.event(lines, &event);
            // The node never retransmits them, so it drops them.
            if let Event::Unconfirmed { target, .. } = event {
                drop(endpoint.take_unconfirmed(target));
            }
        }
        Item::Frame(target, frame) if output.prints_frames => {
            output.format.frame(lines, target, &frame);
        }
        Item::Frame(..) => {}
    }
}

enum Item {
    Event(Event),
    Frame(Target, Frame),
}

enum Closed {
    Events,
    Frames,
}

/// The events and frames of an endpoint, merged. Events go first, so that a peer is up before its
/// first frame. A link may be reported down before its last frames.
struct Source<'a> {
    endpoint: &'a InetEndpoint,
    events: Events,
    events_open: bool,
    frames_open: bool,
}

impl<'a> Source<'a> {
    fn new(endpoint: &'a InetEndpoint, events: Events) -> Source<'a> {
        Source { endpoint, events, events_open: true, frames_open: true }
    }

    /// The next item, if one is ready.
    fn try_next(&mut self) -> Option<Item> {
        if let Ok(Some(event)) = self.events.try_next() {
            return Some(Item::Event(event));
        }
        let (target, frame) = self.endpoint.try_next().ok()??;
        Some(Item::Frame(target, frame))
    }

    /// Waits for the next item. Returns `None` after the last, once the endpoint has shut down.
    async fn next(&mut self) -> Option<Item> {
        while self.events_open || self.frames_open {
            let event = async {
                match self.events_open {
                    true => self.events.next().await.map(Item::Event).map_err(|_| Closed::Events),
                    false => future::pending().await,
                }
            };
            let frame = async {
                match self.frames_open {
                    true => match self.endpoint.next().await {
                        Ok((target, frame)) => Ok(Item::Frame(target, frame)),
                        Err(_) => Err(Closed::Frames),
                    },
                    false => future::pending().await,
                }
            };
            match future::or(event, frame).await {
                Ok(item) => return Some(item),
                Err(Closed::Events) => self.events_open = false,
                Err(Closed::Frames) => self.frames_open = false,
            }
        }
        None
    }
}
