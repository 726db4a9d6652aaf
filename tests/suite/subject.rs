//! The endpoint under test, with a deadline on every wait.
//!
//! Tests are plain functions on a thread of their own: they block in the scripted peer's sockets
//! while the endpoint runs on smol's global executor.

use std::fmt::Write;
use std::future::Future;
use std::time::{Duration, Instant};

use futures_lite::future;
use netmod_inet::{
    AttemptError, Builder, DownReason, DropReason, Event, Events, Frame, Id, InetEndpoint, Limits,
    PeerInfo, PeerType, Target,
};
use smol::Timer;

use crate::scripted::{PlainPeer, STANDARD, carrier};

/// Far longer than anything takes here: a wait that lasts so long has failed.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Drives one future to its end, or fails the test and names what it waited for.
pub(crate) fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(TIMEOUT).await;
        panic!("no {what} within {TIMEOUT:?}")
    };
    smol::block_on(future::or(work, late))
}

/// Limits under which a test does not wait long: quick redials, a short handshake.
pub(crate) fn quick() -> Limits {
    let mut limits = Limits::default();
    limits.redial_first = Duration::from_millis(5);
    limits.redial_cap = Duration::from_millis(20);
    limits.send_timeout = Duration::from_millis(500);
    // Many tests wait for the events of each link, one after the other.
    limits.stranger_events_per_sec = 1 << 20;
    // A scripted peer does not close by itself when the endpoint ends its direction.
    limits.drain_timeout = Duration::from_millis(200);
    limits
}

/// Reads a frame that a scripted peer wrote.
pub(crate) fn parsed(body: &[u8]) -> Frame {
    Frame::parse(body.to_vec()).expect("a valid frame")
}

/// Whether the whole suite runs over encrypted links.
pub(crate) fn is_encrypted() -> bool {
    cfg!(feature = "noise") && std::env::var_os("NETMOD_INET_ENCRYPTED").is_some()
}

#[cfg(feature = "noise")]
fn with_key(builder: Builder, number: Option<u8>) -> Builder {
    use netmod_inet::{Encryption, KeyPair};
    let keys = match number {
        Some(number) => KeyPair::from_bytes([number; 32]),
        None => KeyPair::generate().expect("random bytes"),
    };
    match is_encrypted() {
        true => builder.encrypt(Encryption::new(keys)),
        false => builder,
    }
}

#[cfg(not(feature = "noise"))]
fn with_key(builder: Builder, _: Option<u8>) -> Builder {
    builder
}

/// One endpoint and the events that were read from it.
pub(crate) struct Node {
    pub(crate) endpoint: InetEndpoint,
    events: Events,
    seen: String,
}

impl Node {
    /// With a listener on a free port of the loopback.
    pub(crate) fn listening() -> Self {
        Self::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()))
    }

    /// Without a listener.
    pub(crate) fn dial_only() -> Self {
        Self::built(InetEndpoint::builder().limits(quick()))
    }

    /// Under `NETMOD_INET_ENCRYPTED` with a key, so that links to other nodes of this crate are
    /// encrypted, and those to scripted peers are as plain as ever.
    pub(crate) fn built(builder: Builder) -> Self {
        Self::started(with_key(builder, None))
    }

    /// The same with the same key each time, for a node that comes back.
    pub(crate) fn known_as(number: u8, builder: Builder) -> Self {
        Self::started(with_key(builder, Some(number)))
    }

    /// As it is, whatever the environment sets: for attackers that write plain records by hand.
    pub(crate) fn started(builder: Builder) -> Self {
        let endpoint = within("start", builder.start()).expect("start");
        let events = endpoint.events();
        Self { endpoint, events, seen: String::new() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.endpoint.port().expect("a listener")
    }

    /// Adds one peer and returns its target.
    pub(crate) fn add(&self, addr: &str) -> Target {
        let targets = within("add_peers", self.endpoint.add_peers([addr])).expect("add_peers");
        assert_eq!(targets.len(), 1);
        targets[0]
    }

    pub(crate) fn remove(&self, target: Target) {
        within("remove_peer", self.endpoint.remove_peer(target)).expect("remove_peer");
    }

    /// The first event, from the last one looked at, that `pick` makes something of.
    pub(crate) fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let end = Instant::now() + TIMEOUT;
        loop {
            let late = async {
                Timer::at(end).await;
                None
            };
            let next = async { Some(self.events.next().await) };
            let Some(Ok(event)) = smol::block_on(future::or(next, late)) else {
                panic!("no {what}; the endpoint reported only:\n{}", self.seen);
            };
            writeln!(self.seen, "  {event}").expect("a string takes everything");
            if let Some(found) = pick(&event) {
                return found;
            }
        }
    }

    /// The next peer that is up.
    pub(crate) fn up(&mut self) -> (Target, Id, PeerType) {
        self.wait("up event", |event| match event {
            Event::Up { target, id, peer_type, .. } => Some((*target, *id, *peer_type)),
            _ => None,
        })
    }

    /// The end of this peer's link, and whether it is dialed again.
    pub(crate) fn down(&mut self, peer: Target) -> (DownReason, bool) {
        self.wait("down event", |event| match event {
            Event::Down { target, reason, retry } if *target == peer => {
                Some((reason.clone(), retry.is_some()))
            }
            _ => None,
        })
    }

    pub(crate) fn removed(&mut self, peer: Target) {
        self.wait("removed event", |event| {
            matches!(event, Event::Removed { target } if *target == peer).then_some(())
        });
    }

    /// Why the next dial to this peer failed.
    pub(crate) fn attempt(&mut self, peer: Target) -> AttemptError {
        self.wait("attempt event", |event| match event {
            Event::Attempt { target, reason, .. } if *target == peer => Some(reason.clone()),
            _ => None,
        })
    }

    /// Why this connection was dropped.
    pub(crate) fn dropped(&mut self, connection: &PlainPeer) -> DropReason {
        let connection = connection.addr();
        self.wait("dropped event", |event| match event {
            Event::Dropped { addr: Some(addr), reason, .. } if *addr == connection => {
                Some(reason.clone())
            }
            _ => None,
        })
    }

    /// The next frame for the router.
    pub(crate) fn next(&self) -> (Target, Frame) {
        within("frame for the router", self.endpoint.next()).expect("a running endpoint")
    }

    /// Fails unless exactly these frames come next from this peer.
    pub(crate) fn expect_frames<'a>(
        &self,
        from: Target,
        bodies: impl IntoIterator<Item = &'a Vec<u8>>,
    ) {
        for (at, body) in bodies.into_iter().enumerate() {
            let (target, frame) = self.next();
            assert_eq!(target, from, "frame {at} came from another peer");
            assert!(frame.as_bytes() == body, "frame {at} is not what was sent: {frame:?}");
        }
    }

    pub(crate) fn try_send(&self, target: Target, body: &[u8]) {
        self.endpoint.try_send(target, parsed(body)).expect("room for a frame");
    }

    pub(crate) fn info(&self, peer: Target) -> PeerInfo {
        let mut peers = self.endpoint.peers().into_iter();
        peers.find(|info| info.target == peer).expect("a peer in the list")
    }

    /// Waits for a state that no event reports, such as a counter.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut(&InetEndpoint) -> bool) {
        let end = Instant::now() + TIMEOUT;
        while !is_so(&self.endpoint) {
            assert!(Instant::now() < end, "no {what}; peers: {:#?}", self.endpoint.peers());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A scripted peer comes in, and it is up.
    pub(crate) fn accept_plain(&mut self, peer_type: &[u8], id: u8) -> (PlainPeer, Target) {
        let peer = PlainPeer::dial(self.port(), peer_type, id);
        let addr = peer.addr();
        let target = self.wait("up event of the welcomed peer", |event| match event {
            Event::Up { target, addr: Some(from), .. } if *from == addr => Some(*target),
            _ => None,
        });
        (peer, target)
    }

    /// Shows that the endpoint still serves: a good peer comes in and exchanges a frame each way.
    pub(crate) fn serves(&mut self, case: &str) {
        let (mut peer, target) = self.accept_plain(STANDARD, 0x99);
        let question = carrier(8, 0x99, case.as_bytes());
        let answer = carrier(9, 0x42, case.as_bytes());
        peer.send(&question);
        self.expect_frames(target, [&question]);
        self.try_send(target, &answer);
        assert_eq!(peer.read_frame(), answer, "after {case}");
        drop(peer);
        self.removed(target);
    }
}
