//! A model of Ratman's router: what it does with its driver, and no more.
//!
//! One task loops over `next` and does everything inside that loop: it floods announcements
//! onwards, forwards data frames to the neighbour that its routes name, and takes what is for
//! itself. It has no memory of announcements that it has seen: only `exclude` keeps them from
//! coming back. Streams are sent by other tasks, frame after frame, each with one call of `send`.
//! **A frame for which `send` fails is thrown away**, in either place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libratman::endpoint::EndpointExt;
use libratman::types::{Ident32, InMemoryEnvelope, Neighbour, Recipient};
use tokio::sync::Notify;

use crate::node::{emit, name};
use crate::stream::{self, ANNOUNCEMENT, DATA, Inbound, Position};

/// What the router holds.
pub(crate) type Driver = Arc<dyn EndpointExt + Send + Sync>;

/// Time between two announcements of a router.
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(100);

/// Frames of a stream between two lines about its progress.
const PROGRESS: u32 = 200;

pub(crate) struct Router {
    id: Ident32,
    driver: Driver,
    state: Mutex<State>,
    /// Notified when a route was added.
    routed: Notify,
}

#[derive(Default)]
struct State {
    /// The neighbour by which a router is reached: the one that its last announcement came from.
    routes: BTreeMap<Ident32, Ident32>,
    /// All names that `next` ever returned.
    neighbours: BTreeSet<Ident32>,
    /// The announcements of each other router that have arrived.
    announced: BTreeMap<Ident32, Announced>,
    last_announcement: u64,
    /// The streams to this router, by who sent them and their numbers.
    inbound: BTreeMap<(Ident32, u32), Inbound>,
    counts: Counts,
    longest_gap: Duration,
    longest_pause: Duration,
}

/// What went wrong.
#[derive(Default)]
struct Counts {
    /// Announcements of this router that came back to it.
    came_home: u64,
    /// Frames that arrived for a router to which there is no route.
    unroutable: u64,
    /// Frames that could not be forwarded.
    not_forwarded: u64,
    /// Frames of this router's streams that `send` refused.
    refused: u64,
    /// Announcements that could not be flooded.
    not_flooded: u64,
    /// Frames for this router with other content than was sent.
    corrupt: u64,
}

#[derive(Default)]
struct Announced {
    numbers: BTreeSet<u64>,
    repeated: u64,
}

impl Router {
    /// Starts a router: the loop over `next`, and its announcements.
    pub(crate) fn start(id: Ident32, driver: Driver) -> Arc<Router> {
        let router = Router { id, driver, state: Mutex::default(), routed: Notify::new() };
        let router = Arc::new(router);
        tokio::spawn(router.clone().receive());
        tokio::spawn(router.clone().keep_announcing());
        router
    }

    /// Peers with an address. What comes of it is thrown away.
    pub(crate) async fn peer(&self, addr: &str) {
        let _ = self.driver.start_peering(addr).await;
    }

    /// Floods so many announcements, one right after the other.
    pub(crate) async fn announce(&self, count: u64) {
        for _ in 0..count {
            let number = {
                let mut state = self.state();
                state.last_announcement += 1;
                state.last_announcement
            };
            let announcement = stream::announcement(self.id, number);
            self.flood(announcement, None).await;
        }
    }

    /// Sends a stream, once there is a route.
    pub(crate) async fn stream(self: Arc<Router>, to: Ident32, stream: u32, bytes: u64) {
        let mut refused = 0;
        for number in 0..stream::frames(bytes) {
            let next_hop = Neighbour::Single(self.route(to).await);
            let frame = stream::frame(self.id, to, stream, number, bytes);
            if let Err(error) = self.driver.send(frame, next_hop, None).await {
                if refused == 0 {
                    emit(&format!("refused {stream} frame {number}: {error}"));
                }
                refused += 1;
            }
        }
        self.state().counts.refused += refused;
        emit(&format!("sent {stream} refused={refused}"));
    }

    /// Sends an envelope to a neighbour of this id, and throws away what comes of it.
    pub(crate) async fn send(&self, envelope: InMemoryEnvelope, to: Ident32) {
        let _ = self.driver.send(envelope, Neighbour::Single(to), None).await;
    }

    /// What was counted up to now, as one line of `name=value`.
    pub(crate) fn figures(&self) -> String {
        self.state().to_string()
    }

    /// The neighbour by which a router is reached, once there is one.
    async fn route(&self, to: Ident32) -> Ident32 {
        loop {
            let routed = self.routed.notified();
            if let Some(next_hop) = self.state().routes.get(&to) {
                return *next_hop;
            }
            routed.await;
        }
    }

    async fn receive(self: Arc<Router>) {
        let mut last = Instant::now();
        while let Ok((envelope, from)) = self.driver.next().await {
            let returned = Instant::now();
            let from = from.maybe_single().expect("one neighbour");
            let is_data = envelope.header.get_modes() == DATA;
            self.state().neighbours.insert(from);
            self.handle(envelope, from).await;
            let mut state = self.state();
            state.longest_pause = state.longest_pause.max(returned.elapsed());
            if is_data {
                state.longest_gap = state.longest_gap.max(returned - last);
            }
            last = returned;
        }
    }

    async fn handle(&self, envelope: InMemoryEnvelope, from: Ident32) {
        match envelope.header.get_modes() {
            ANNOUNCEMENT => self.handle_announcement(envelope, from).await,
            DATA => match envelope.header.get_recipient() {
                Some(Recipient::Address(to)) if to.0 == self.id => self.deliver(&envelope),
                Some(Recipient::Address(to)) => self.forward(envelope, to.0).await,
                other => panic!("a data frame for {other:?}"),
            },
            modes => panic!("a frame with modes {modes}"),
        }
    }

    async fn handle_announcement(&self, envelope: InMemoryEnvelope, from: Ident32) {
        let router = envelope.header.get_sender().0;
        if router == self.id {
            self.state().counts.came_home += 1;
            return;
        }
        let number = stream::announcement_number(&envelope);
        let is_new_route = {
            let mut state = self.state();
            let announced = state.announced.entry(router).or_default();
            if !announced.numbers.insert(number) {
                announced.repeated += 1;
            }
            state.routes.insert(router, from) != Some(from)
        };
        if is_new_route {
            emit(&format!("route {} by {}", name(router), name(from)));
            self.routed.notify_waiters();
        }
        self.flood(stream::passed_on(&envelope), Some(from)).await;
    }

    async fn flood(&self, announcement: InMemoryEnvelope, exclude: Option<Ident32>) {
        if self.driver.send(announcement, Neighbour::Flood, exclude).await.is_err() {
            self.state().counts.not_flooded += 1;
        }
    }

    async fn forward(&self, envelope: InMemoryEnvelope, to: Ident32) {
        let next_hop = self.state().routes.get(&to).copied();
        let Some(next_hop) = next_hop else {
            self.state().counts.unroutable += 1;
            return;
        };
        if self.driver.send(envelope, Neighbour::Single(next_hop), None).await.is_err() {
            self.state().counts.not_forwarded += 1;
        }
    }

    fn deliver(&self, envelope: &InMemoryEnvelope) {
        let Some(position) = Position::of(envelope) else {
            self.state().counts.corrupt += 1;
            return;
        };
        let (from, stream) = (envelope.header.get_sender().0, position.stream);
        let mut state = self.state();
        let inbound = state.inbound.entry((from, stream)).or_default();
        let is_complete = inbound.record(position);
        let Inbound { frames, duplicates, reordered, .. } = inbound;
        if is_complete {
            let figures = format!("frames={frames} duplicates={duplicates} reordered={reordered}");
            emit(&format!("arrived {} {stream} {figures}", name(from)));
        } else if *frames % PROGRESS == 0 {
            emit(&format!("progress {stream} {frames}"));
        }
    }

    async fn keep_announcing(self: Arc<Router>) {
        let mut interval = tokio::time::interval(ANNOUNCE_INTERVAL);
        loop {
            interval.tick().await;
            self.announce(1).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { came_home, unroutable, not_forwarded, refused, not_flooded, corrupt } =
            &self.counts;
        write!(f, "came_home={came_home} unroutable={unroutable} not_forwarded={not_forwarded} ")?;
        write!(f, "refused={refused} not_flooded={not_flooded} corrupt={corrupt} ")?;
        let sum = |count: fn(&Inbound) -> u32| self.inbound.values().map(count).sum::<u32>();
        let duplicates = sum(|inbound| inbound.duplicates);
        write!(f, "duplicates={duplicates} reordered={} ", sum(|inbound| inbound.reordered))?;
        let (gap, pause) = (self.longest_gap.as_millis(), self.longest_pause.as_millis());
        write!(f, "gap_ms={gap} pause_ms={pause} ")?;
        let neighbours: Vec<_> = self.neighbours.iter().map(|id| name(*id)).collect();
        write!(f, "neighbours={} own={}", neighbours.join(","), self.last_announcement)?;
        for (id, announced) in &self.announced {
            let Announced { numbers, repeated } = announced;
            let id = name(*id);
            write!(f, " announced_{id}={} repeated_{id}={repeated}", numbers.len())?;
            let range =
                numbers.last().zip(numbers.first()).map_or(0, |(last, first)| last - first + 1);
            write!(f, " missed_{id}={}", range - numbers.len() as u64)?;
        }
        Ok(())
    }
}
