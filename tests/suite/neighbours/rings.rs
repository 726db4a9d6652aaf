//! Lines and rings of routers that all send as much as they can, and forward inside their receive
//! loops: none of them may stand still.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future;
use netmod_inet::{InetEndpoint, Limits, Target};

use crate::reliability::figures::number;
use crate::scripted::{number_of, numbered};
use crate::subject::{Node, parsed, quick, within};

/// Routers in a line or a ring. Each sends a stream of frames as far as two hops in both directions,
/// or to the ends of the line.
struct Routers {
    nodes: Vec<Node>,
    /// The neighbour with the next number, and the one with the number before, of each router.
    neighbours: Vec<[Option<Target>; 2]>,
}

const NEXT: usize = 0;
const BEFORE: usize = 1;

/// A frame has its destination in the first byte behind its number, and the direction in the next.
fn frame(number: u32, to: usize, direction: usize, payload: usize) -> Vec<u8> {
    let mut frame = numbered(number, payload);
    let end = frame.len();
    (frame[end - 2], frame[end - 1]) = (to as u8, direction as u8);
    frame
}

impl Routers {
    fn new(count: usize, is_ring: bool, limits: &Limits) -> Routers {
        let builder = || InetEndpoint::builder().bind("127.0.0.1:0").limits(limits.clone());
        let mut nodes: Vec<_> = (0..count).map(|_| Node::built(builder())).collect();
        let mut neighbours = vec![[None; 2]; count];
        for at in 0..if is_ring { count } else { count - 1 } {
            let next = (at + 1) % count;
            let addr = format!("127.0.0.1:{}", nodes[next].port());
            neighbours[at][NEXT] = Some(nodes[at].add(&addr));
            nodes[at].up();
            neighbours[next][BEFORE] = Some(nodes[next].up().0);
        }
        Routers { nodes, neighbours }
    }

    /// Where the streams of a router go, in each direction.
    fn destination(&self, at: usize, direction: usize, is_ring: bool) -> Option<usize> {
        let count = self.nodes.len();
        match (is_ring, direction) {
            (true, NEXT) => Some((at + 2) % count),
            (true, _) => Some((at + count - 2) % count),
            (false, NEXT) => (at + 1 < count).then_some(count - 1),
            (false, _) => (at > 0).then_some(0),
        }
    }

    /// Runs all streams of `frames` frames. Returns the longest time in which a router was handed no
    /// frame, while it had some to expect.
    fn run(self, is_ring: bool, frames: u32, payload: usize) -> Duration {
        let count = self.nodes.len();
        let mut expected = vec![0; count];
        let mut threads = Vec::new();
        for at in 0..count {
            for direction in [NEXT, BEFORE] {
                let Some(to) = self.destination(at, direction, is_ring) else { continue };
                let Some(target) = self.neighbours[at][direction] else { continue };
                expected[to] += frames;
                let endpoint = self.nodes[at].endpoint.clone();
                threads.push(thread::spawn(move || {
                    smol::block_on(async {
                        for number in 0..frames {
                            let frame = parsed(&frame(number, to, direction, payload));
                            let sent = endpoint.send_within(target, frame, LONG).await;
                            sent.expect("a router that goes on");
                        }
                    });
                }));
            }
        }
        let arrived: Arc<Vec<AtomicU32>> = Arc::new((0..count).map(|_| 0.into()).collect());
        let expected = Arc::new(expected);
        let routers: Vec<_> = (0..count)
            .map(|at| {
                let router = Router {
                    at,
                    endpoint: self.nodes[at].endpoint.clone(),
                    neighbours: self.neighbours[at],
                };
                let (arrived, expected) = (arrived.clone(), expected.clone());
                thread::spawn(move || smol::block_on(router.run(&arrived, &expected)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a sender"));
        let pauses = routers.into_iter().map(|router| router.join().expect("a router"));
        pauses.max().unwrap_or_default()
    }
}

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(1000);

struct Router {
    at: usize,
    endpoint: InetEndpoint,
    neighbours: [Option<Target>; 2],
}

impl Router {
    /// Runs until all routers have received everything. Returns the longest pause.
    async fn run(self, arrived: &[AtomicU32], expected: &[u32]) -> Duration {
        let is_done = || {
            let all = arrived.iter().zip(expected);
            all.fold(true, |done, (arrived, all)| done & (arrived.load(Ordering::Relaxed) == *all))
        };
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        let mut next_numbers = BTreeMap::new();
        while !is_done() {
            let received = async { Some(self.endpoint.recv().await.expect("open")) };
            // The others may have received what they expect, while this one expects no more.
            let moment = async {
                smol::Timer::after(Duration::from_millis(20)).await;
                None
            };
            let Some(received) = future::or(received, moment).await else { continue };
            if arrived[self.at].load(Ordering::Relaxed) < expected[self.at] {
                longest = longest.max(last.elapsed());
            }
            last = Instant::now();
            let bytes = received.frame().as_bytes();
            let [to, direction] = [bytes[bytes.len() - 2], bytes[bytes.len() - 1]].map(usize::from);
            if to != self.at {
                let target = self.neighbours[direction].expect("a route");
                self.endpoint.forward(target, received).expect("it never waits");
                continue;
            }
            // In a line the frames of several routers come by the same neighbour.
            let number = number_of(bytes);
            let counts: &mut Vec<u32> = next_numbers.entry(received.target()).or_default();
            match counts.iter_mut().find(|next| **next == number) {
                Some(next) => *next += 1,
                None => {
                    assert_eq!(number, 0, "router {}: a frame is missing", self.at);
                    counts.push(1);
                }
            }
            arrived[self.at].fetch_add(1, Ordering::Relaxed);
        }
        longest
    }
}

/// The smallest windows, and the default ones.
const WINDOWS: [usize; 2] = [256 << 10, 4 << 20];

/// `FRAMES` frames of `PAYLOAD` bytes in each stream.
fn saturate(count: usize, is_ring: bool) {
    let (frames, payload) = (number("FRAMES", 1_500) as u32, number("PAYLOAD", 1_000));
    for inbound_bytes in WINDOWS {
        let mut limits = quick();
        limits.inbound_bytes = inbound_bytes;
        let routers = Routers::new(count, is_ring, &limits);
        let started = Instant::now();
        let running = async { smol::unblock(move || routers.run(is_ring, frames, payload)).await };
        let longest = match number("FRAMES", 0) {
            0 => within("end of the streams", running),
            _ => smol::block_on(running),
        };
        let shape = if is_ring { "ring" } else { "line" };
        println!(
            "{shape} of {count}, {inbound_bytes} B inbound: {frames} frames in each stream, {:?} in \
             all, longest pause {longest:?}",
            started.elapsed()
        );
    }
}

#[test]
fn a_line_of_three_does_not_stand_still() {
    saturate(3, false);
}

#[test]
fn a_line_of_four_does_not_stand_still() {
    saturate(4, false);
}

#[test]
fn a_ring_of_five_does_not_stand_still() {
    saturate(5, true);
}
