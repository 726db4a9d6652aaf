//! Streams of frames over several hops: their paths, their frames, and what each router was handed.

use std::time::Instant;

use super::*;
use crate::{Recipient, SequenceId};

/// A direction: to the router with the next number, or to the one before.
pub(super) const NEXT: usize = 0;
pub(super) const BEFORE: usize = 1;

/// Routers, and the links between them. Link `n` joins the routers `n` and `n + 1`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topology {
    pub(super) routers: usize,
    pub(super) links: usize,
}

/// Frames of one router for another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) origin: usize,
    pub(super) direction: usize,
    pub(super) hops: usize,
    pub(super) frames: u32,
}

impl Topology {
    pub(super) const ALL: [Topology; 3] = [
        Topology { routers: 3, links: 2 },
        Topology { routers: 4, links: 3 },
        Topology { routers: 5, links: 5 },
    ];

    /// Each router sends in both directions: up to three hops in a ring, or as far as an end of the
    /// line. Most go as far as they can.
    pub(super) fn streams(self, frames: u32, random: &mut fastrand::Rng) -> Vec<Stream> {
        let mut streams = Vec::new();
        for origin in 0..self.routers {
            for direction in [NEXT, BEFORE] {
                let most = match direction {
                    _ if self.links == self.routers => 3,
                    NEXT => self.routers - 1 - origin,
                    _ => origin,
                };
                let hops = if random.bool() { most } else { random.usize(0..=most) };
                streams.push(Stream { origin, direction, hops, frames });
            }
        }
        streams.retain(|stream| stream.hops > 0);
        streams
    }

    /// The router so many hops away.
    pub(super) fn router(self, from: usize, direction: usize, hops: usize) -> usize {
        let steps = if direction == NEXT { hops } else { self.routers - hops };
        (from + steps) % self.routers
    }

    /// The routers that are handed the frames of a stream, in order.
    pub(super) fn path(self, stream: Stream) -> impl Iterator<Item = usize> {
        let Stream { origin, direction, hops, .. } = stream;
        (1..=hops).map(move |hop| self.router(origin, direction, hop))
    }

    /// The link at the end of which a router is handed frames.
    pub(super) fn link_to(self, router: usize, direction: usize) -> usize {
        if direction == NEXT { self.router(router, BEFORE, 1) } else { router }
    }

    /// The number of neighbours of a router.
    pub(super) fn degree(self, router: usize) -> usize {
        (0..self.links).filter(|link| self.ends(*link).contains(&router)).count()
    }

    /// The routers at both ends of a link.
    pub(super) fn ends(self, link: usize) -> [usize; 2] {
        [link, self.router(link, NEXT, 1)]
    }
}

/// What the routers have been handed.
pub(super) struct Ledger {
    topology: Topology,
    pub(super) streams: Vec<Stream>,
    /// By router and stream: the number of the next frame.
    next: Vec<Vec<u32>>,
    /// When each router was handed its last frame.
    pub(super) handed: Vec<Instant>,
}

impl Ledger {
    pub(super) fn new(topology: Topology, streams: Vec<Stream>) -> Ledger {
        let next = vec![vec![0; streams.len()]; topology.routers];
        Ledger { topology, streams, next, handed: vec![clock::now(); topology.routers] }
    }

    /// Records a frame that a router was handed. Returns where it is forwarded, if it is.
    pub(super) fn hand(&mut self, router: usize, frame: &Frame) -> Option<usize> {
        let (stream, number) = numbers_of(frame);
        let next = &mut self.next[router][stream];
        assert_eq!(number, *next, "stream {stream} at router {router}: not the next frame");
        *next += 1;
        self.handed[router] = clock::now();
        let Stream { origin, direction, hops, .. } = self.streams[stream];
        (self.topology.router(origin, direction, hops) != router).then_some(direction)
    }

    /// Whether a router is still to be handed frames of a stream.
    pub(super) fn is_due(&self, router: usize, stream: usize) -> bool {
        self.next[router][stream] < self.streams[stream].frames
    }

    pub(super) fn is_done(&self) -> bool {
        let is_due = |(number, stream): (usize, &Stream)| {
            self.topology.path(*stream).any(|router| self.is_due(router, number))
        };
        !self.streams.iter().enumerate().any(is_due)
    }
}

/// How large the frames of a case are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sizes {
    Up(usize),
    Largest,
    Mixed,
}

impl Sizes {
    pub(super) fn random(random: &mut fastrand::Rng) -> Sizes {
        match random.u8(..6) {
            0 => Sizes::Up(100),
            1 => Sizes::Up(2_000),
            2 => Sizes::Up(9_000),
            3 => Sizes::Up(65_000),
            4 => Sizes::Largest,
            _ => Sizes::Mixed,
        }
    }

    /// Whether some frames may cost more than half of the smallest window. Routers in a ring may lock
    /// up then: the router's own frames leave half of a window to those that it forwards, and one
    /// that is larger leaves nothing.
    pub(super) fn is_large(self) -> bool {
        !matches!(self, Sizes::Up(..10_000))
    }

    /// The number of frames that make a few windows of the smallest size.
    pub(super) fn frames(self) -> u32 {
        match self {
            Sizes::Up(100) => 1_500,
            Sizes::Up(2_000) => 400,
            Sizes::Up(9_000) => 120,
            Sizes::Up(_) | Sizes::Mixed => 40,
            Sizes::Largest => 25,
        }
    }

    pub(super) fn frame(self, stream: usize, number: u32, random: &mut fastrand::Rng) -> Frame {
        let len = match self {
            Sizes::Up(most) => random.usize(5..most),
            Sizes::Largest => 65_535,
            Sizes::Mixed => {
                let most = 1 << random.u32(4..17);
                random.usize(5..most).min(65_535)
            }
        };
        let mut payload = vec![0; len];
        payload[0] = stream as u8;
        payload[1..5].copy_from_slice(&number.to_be_bytes());
        let mut frame = Frame::builder(8, Id::from_bytes([8; 32])).payload(payload);
        if let Sizes::Largest = self {
            frame = frame.recipient(Recipient::Address(Id::from_bytes([9; 32])));
            frame = frame.sequence_id(SequenceId { hash: [9; 32], num: 0, last: 0 });
            frame = frame.auxiliary_data([9; 64]).signature([9; 64]);
        }
        frame.build().expect("a frame of at most the maximum length")
    }
}

/// The numbers of the stream and of the frame.
fn numbers_of(frame: &Frame) -> (usize, u32) {
    let payload = frame.payload();
    (payload[0].into(), u32::from_be_bytes(payload[1..5].try_into().expect("four bytes")))
}
