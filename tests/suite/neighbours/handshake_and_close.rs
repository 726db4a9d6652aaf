//! Strangers that shake hands and close, as fast as they can.

use std::collections::BTreeSet;
use std::time::Instant;

use netmod_inet::{Event, Events, InetEndpoint};

use crate::resume::proxy::{Break, Proxy};
use crate::scripted::{PlainPeer, STANDARD};
use crate::subject::{Node, quick, within};

const STRANGERS: usize = 1_000;

/// Strangers whose events the node reports, each second.
const PER_SECOND: usize = 20;

/// How often the link of the dialed peer is cut meanwhile.
const CUTS: usize = 10;

/// Links to a stranger come up, go down and are removed.
const EVENTS_OF_EACH: usize = 3;

/// What the events told until there were as many as expected.
#[derive(Default)]
struct Told {
    up: BTreeSet<u16>,
    ups: usize,
    ends: usize,
    missed: usize,
}

impl Told {
    /// Counts events until each of the strangers' is accounted for.
    fn count(&mut self, events: &Events, dialed: u16) {
        while self.ups + self.ends + self.missed < EVENTS_OF_EACH * STRANGERS {
            match within("event", events.next()).expect("a running endpoint") {
                Event::Up { target, .. } if u16::from(target) != dialed => {
                    assert!(self.up.insert(target.into()), "{target} came up twice");
                    self.ups += 1;
                }
                Event::Down { target, .. } if u16::from(target) != dialed => {
                    assert!(self.up.contains(&target.into()), "{target} never came up");
                    self.ends += 1;
                }
                Event::Removed { target } => {
                    assert!(self.up.remove(&target.into()), "{target} never came up");
                    self.ends += 1;
                }
                Event::Missed { count } => self.missed += count,
                _ => {}
            }
        }
    }
}

/// Regression: they caused 15 000 events a second, past the limit on events about strangers.
#[test]
fn their_events_are_few_and_all_are_counted() {
    let mut limits = quick();
    limits.stranger_events_per_sec = PER_SECOND;
    let mut node = Node::started(InetEndpoint::builder().bind("127.0.0.1:0").limits(limits));
    let far = Node::started(InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()));
    let proxy = Proxy::to(far.port());
    let dialed = node.add(&proxy.address());
    node.up();
    let (events, port, started) = (node.endpoint.events(), node.port(), Instant::now());
    let strangers = std::thread::spawn(move || {
        for number in 0..STRANGERS {
            drop(PlainPeer::dial(port, STANDARD, number as u8));
        }
    });
    let counting = std::thread::spawn(move || {
        let mut told = Told::default();
        told.count(&events, dialed.into());
        told
    });
    for _ in 0..CUTS {
        proxy.cut(Break::Close);
        node.down(dialed);
        node.wait("link of the dialed peer", |event| {
            matches!(event, Event::Up { target, .. } if *target == dialed).then_some(())
        });
    }
    strangers.join().expect("strangers");
    let told = counting.join().expect("events");
    let windows = started.elapsed().as_secs() as usize + 2;
    assert!(told.ups <= windows * PER_SECOND, "{} links in {windows} s", told.ups);
    assert_eq!(told.ends, 2 * told.ups, "who heard of a link hears of its end");
    assert_eq!(told.missed, EVENTS_OF_EACH * (STRANGERS - told.ups));
    println!("{STRANGERS} strangers in {:.1?}: {} reported", started.elapsed(), told.ups);
}
