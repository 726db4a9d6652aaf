//! One node of a test, with a deadline on every wait.

use std::fmt::Write;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use libratman::endpoint::EndpointExt;
use libratman::frame::carrier::{CarrierFrameHeader, CarrierFrameHeaderV1};
use libratman::types::{Address, Ident32, InMemoryEnvelope, Neighbour};
use libratman::{NetmodError, RatmanError, Result};
use netmod_inet::{Builder, Event, Events, Id, InetEndpoint, Limits, PeerInfo, Target};
use netmod_inet_ratman::{RatmanInet, Settings};
use smol::Timer;

/// Far longer than anything takes here: a wait that lasts so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What the router holds.
pub(crate) type Driver = Arc<dyn EndpointExt + Send + Sync>;

/// The result of `work`, or a failed test that names what it waited for.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(DEADLINE).await;
        panic!("no {what} within {DEADLINE:?}")
    };
    future::or(work, late).await
}

/// An endpoint behind the trait, and the events that were read from it.
pub(crate) struct Node {
    pub(crate) inet: RatmanInet,
    /// The same, as the router sees it.
    pub(crate) driver: Driver,
    events: Events,
    seen: String,
}

impl Node {
    /// A node that claims an id of this byte, 32 times, and listens on a free port.
    pub(crate) async fn new(id: u8) -> Node {
        Node::with(id, |builder| builder).await
    }

    /// A node with these limits.
    pub(crate) async fn limited(id: u8, limit: impl FnOnce(&mut Limits)) -> Node {
        let mut limits = Limits::default();
        limits.redial_cap = Duration::from_millis(50);
        limit(&mut limits);
        Node::with(id, |builder| builder.limits(limits)).await
    }

    /// A node with these settings.
    pub(crate) async fn with_settings(settings: &Settings, id: u8) -> Node {
        let inet = RatmanInet::open(settings, claimed(id)).await.expect("a free port");
        Node::of(inet.expect("it is enabled"))
    }

    async fn with(id: u8, build: impl FnOnce(Builder) -> Builder) -> Node {
        let builder = InetEndpoint::builder().router_id(Id::from_bytes([id; 32]));
        let inet = RatmanInet::start(build(builder.bind("127.0.0.1:0"))).await;
        Node::of(inet.expect("a free port"))
    }

    fn of(inet: RatmanInet) -> Node {
        // Not before the adapter, or this could see a peer that the adapter has not seen
        // yet.
        let events = inet.endpoint().events();
        Node { driver: Arc::new(inet.clone()), inet, events, seen: String::new() }
    }

    /// The address to dial.
    pub(crate) fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.inet.endpoint().port().expect("a listener"))
    }

    /// Peers with `other`. Returns what the two call each other once both links are up: first the
    /// other's name here, then the name of this node there.
    pub(crate) async fn join(&mut self, other: &mut Node) -> (Ident32, Ident32) {
        let target = self.driver.start_peering(&other.addr()).await.expect("a new address");
        let (here, there) = (self.up().await, other.up().await);
        assert_eq!(u16::from(here), target);
        let name = |node: &Node, target| node.inet.neighbour(target).expect("a name");
        (name(self, here), name(other, there))
    }

    /// Waits until this node has counted so many frames as sent to all its peers together, and so
    /// many as received. A frame can be somewhere else before the task that moved it has counted
    /// it.
    pub(crate) async fn counted(&self, sent: u64, received: u64) {
        let has_counted = || {
            let peers = self.inet.endpoint().peers();
            let sum = |count: fn(&PeerInfo) -> u64| peers.iter().map(count).sum::<u64>();
            sum(|peer| peer.frames_sent) >= sent && sum(|peer| peer.frames_received) >= received
        };
        let counted = async {
            while !has_counted() {
                future::yield_now().await;
            }
        };
        within("counted frames", counted).await;
    }

    /// The first event, from the last one looked at, that `pick` makes something of.
    pub(crate) async fn wait<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let event = within(&format!("{what} after\n{}", self.seen), self.events.next()).await;
            let event = event.unwrap_or_else(|_| panic!("no {what} before the end"));
            writeln!(self.seen, "  {event}").expect("a string takes everything");
            if let Some(found) = pick(&event) {
                return found;
            }
        }
    }

    /// The next peer whose link is up.
    pub(crate) async fn up(&mut self) -> Target {
        self.wait("link", |event| match event {
            Event::Up { target, .. } => Some(*target),
            _ => None,
        })
        .await
    }

    /// The next peer whose link ended.
    pub(crate) async fn down(&mut self) -> Target {
        self.wait("end of a link", |event| match event {
            Event::Down { target, .. } => Some(*target),
            _ => None,
        })
        .await
    }

    /// The next peer that ended.
    pub(crate) async fn removed(&mut self) -> Target {
        self.wait("end of a peer", |event| match event {
            Event::Removed { target } => Some(*target),
            _ => None,
        })
        .await
    }

    pub(crate) async fn send(&self, text: &str, to: Neighbour, exclude: Option<Ident32>) {
        self.try_send(text, to, exclude)
            .await
            .unwrap_or_else(|error| panic!("{text:.40}: {error}"));
    }

    pub(crate) async fn try_send(
        &self,
        text: &str,
        to: Neighbour,
        exclude: Option<Ident32>,
    ) -> Result<()> {
        within("end of send", self.driver.send(envelope(8, text), to, exclude)).await
    }

    /// The next envelope's text, and who sent it.
    pub(crate) async fn next(&self) -> (String, Ident32) {
        let (envelope, from) = within("envelope", self.driver.next()).await.expect("open");
        (text(&envelope), from.maybe_single().expect("one neighbour"))
    }

    /// The texts that arrive up to `end`, from any neighbour.
    pub(crate) async fn texts_until(&self, end: &str) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            match self.next().await.0 {
                text if text == end => return texts,
                text => texts.push(text),
            }
        }
    }

    pub(crate) async fn shutdown(&self) {
        within("shutdown", self.inet.shutdown()).await;
    }
}

/// The id that a node made with this byte claims.
pub(crate) fn claimed(byte: u8) -> Ident32 {
    Ident32::from([byte; 32])
}

/// An envelope that carries a text, made by libratman.
pub(crate) fn envelope(modes: u16, text: &str) -> InMemoryEnvelope {
    let len = text.len().try_into().expect("a short text");
    let sender = Address::from_bytes(&[0xEE; 32]);
    let header = CarrierFrameHeaderV1::new(modes, sender, None, None, None, None, len);
    let header = CarrierFrameHeader::V1(header);
    InMemoryEnvelope::from_header_and_payload(header, text.into()).expect("an envelope")
}

/// The text that an envelope carries.
pub(crate) fn text(envelope: &InMemoryEnvelope) -> String {
    String::from_utf8(envelope.get_payload_slice().to_vec()).expect("text")
}

/// The error that something should have ended in.
pub(crate) fn failure<T>(result: Result<T>) -> RatmanError {
    result.err().expect("an error")
}

/// The envelope that comes with the error that something should have ended in.
pub(crate) fn given_back<T>(result: Result<T>) -> InMemoryEnvelope {
    match failure(result) {
        RatmanError::Netmod(NetmodError::ConnectionLost(back)) => back,
        other => panic!("{other:?}"),
    }
}
