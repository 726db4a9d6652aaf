//! A peer that never reads, among many that do.

use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use futures_lite::AsyncReadExt;
use futures_lite::io::BufReader;
use netmod_inet::{InetEndpoint, SendErrorKind, Target};
use smol::{Async, LocalExecutor, Timer};

use super::figures::{grown_since, median, number, percentile, resident};
use super::process::{alone, report};
use crate::scripted::{PlainPeer, STANDARD, carrier, number_of, numbered};
use crate::subject::{Node, TIMEOUT, parsed, quick, within};

/// Time between two floods.
const PACE: Duration = Duration::from_millis(5);

/// More memory than this is not flat: many times what the noise of an allocator is.
const FLAT: usize = 16 << 20;

/// A node, many peers that read, and what they report.
struct Crowd {
    node: Node,
    peers: Vec<Target>,
    /// When the frames arrived, one report for each frame and peer.
    arrivals: Receiver<Duration>,
    began: Instant,
    floods: u32,
}

impl Crowd {
    fn of(size: usize) -> Crowd {
        let mut node = Node::built(InetEndpoint::builder().bind("127.0.0.1:0").limits(quick()));
        let accept_plain = |_| {
            let (peer, target) = node.accept_plain(STANDARD, 5);
            (peer.into_stream(), target)
        };
        let (streams, peers): (Vec<_>, Vec<_>) = (0..size).map(accept_plain).unzip();
        let (report, arrivals) = channel();
        let began = Instant::now();
        std::thread::spawn(move || read_all(streams, began, &report));
        Crowd { node, peers, arrivals, began, floods: 0 }
    }

    /// Floods `floods` frames, and returns the latency that 99 of 100 have. Fails if a peer that
    /// reads does not get all of them. `stalled` has to refuse them, for its queue is full.
    fn p99(&mut self, floods: usize, stalled: Option<Target>) -> Duration {
        let mut latencies = Vec::with_capacity(floods * self.peers.len());
        for _ in 0..floods {
            smol::block_on(Timer::after(PACE));
            self.flood(stalled);
            latencies.extend(self.arrivals.try_iter());
        }
        while latencies.len() < floods * self.peers.len() {
            latencies.push(self.arrivals.recv_timeout(TIMEOUT).expect("a frame for each peer"));
        }
        percentile(&mut latencies, 99)
    }

    fn flood(&mut self, stalled: Option<Target>) {
        let mut payload = self.floods.to_be_bytes().to_vec();
        payload.extend((self.began.elapsed().as_nanos() as u64).to_be_bytes());
        payload.resize(1024, 0);
        let report = self.node.endpoint.send_all(parsed(&carrier(8, 1, &payload)));
        let report = report.expect("room for a flood");
        assert_eq!(report.sent, self.peers);
        let refused: Vec<_> =
            stalled.map(|target| (target, SendErrorKind::Full)).into_iter().collect();
        assert_eq!(report.refused, refused);
        self.floods += 1;
    }

    /// A peer comes in that never reads, and its queue is filled.
    fn stall(&mut self) -> (PlainPeer, Target) {
        let (peer, target) = self.node.accept_plain(STANDARD, 6);
        let limits = self.node.endpoint.limits().clone();
        // Small ones last, so that a flooded frame has no room either.
        for size in [30_000, 400] {
            let frame = parsed(&numbered(0, size));
            let refused = loop {
                let sent = self.node.endpoint.send(target, frame.clone());
                if let Err(refused) = within("room or a refusal", sent) {
                    break refused;
                }
            };
            assert_eq!((refused.reason(), refused.frame()), (SendErrorKind::TimedOut, &frame));
        }
        let queued = self.node.info(target).queued_bytes;
        assert!(queued <= limits.queue_bytes, "{queued} bytes wait");
        // Floods have an eighth of the queue to themselves.
        let flood = parsed(&numbered(0, 400));
        let is_sent = || {
            let report = self.node.endpoint.send_all_except(flood.clone(), &self.peers);
            !report.expect("room for a flood").sent.is_empty()
        };
        while is_sent() {}
        (peer, target)
    }

    /// The longest that any of the peers that read has to wait in `send`, while one waits that
    /// does not.
    fn longest_send(&mut self, stalled: Target) -> Duration {
        let endpoint = self.node.endpoint.clone();
        let waiting = std::thread::spawn(move || {
            within("a refusal", endpoint.send(stalled, parsed(&numbered(0, 30_000))))
        });
        let send = |target: &Target| {
            let started = Instant::now();
            let mut payload = self.floods.to_be_bytes().to_vec();
            payload.extend([0; 8]);
            let frame = parsed(&carrier(8, 1, &payload));
            within("send", self.node.endpoint.send(*target, frame)).expect("room");
            started.elapsed()
        };
        let longest = self.peers.iter().map(send).max().expect("some peers");
        for _ in &self.peers {
            self.arrivals.recv_timeout(TIMEOUT).expect("a frame for each peer");
        }
        // One more frame for each, as with a flood.
        self.floods += 1;
        let refused = waiting.join().expect("a sender").expect_err("it never reads");
        assert_eq!(refused.reason(), SendErrorKind::TimedOut);
        longest
    }
}

/// Reads what all of them get, on one thread, and reports how old each frame is.
fn read_all(streams: Vec<TcpStream>, began: Instant, report: &Sender<Duration>) {
    let executor = LocalExecutor::new();
    let readers: Vec<_> = streams
        .into_iter()
        .map(|stream| executor.spawn(read(stream, began, report.clone())))
        .collect();
    smol::block_on(executor.run(async {
        for reader in readers {
            reader.await;
        }
    }));
}

async fn read(stream: TcpStream, began: Instant, report: Sender<Duration>) {
    let mut stream = BufReader::new(Async::new(stream).expect("a socket"));
    for number in 0.. {
        let mut size = [0; 4];
        if stream.read_exact(&mut size).await.is_err() {
            return;
        }
        let mut body = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut body).await.expect("a whole frame");
        assert_eq!(number_of(&body), number, "lost or out of order");
        let sent = u64::from_be_bytes(body[45..53].try_into().expect("eight bytes"));
        let _ = report.send(began.elapsed().saturating_sub(Duration::from_nanos(sent)));
    }
}

/// `PEERS` that read and one that does not, `ROUNDS` times `FLOODS` frames to all of them, with
/// and without the one in turn. What it does to the others' latency is printed, not judged: that
/// takes a quiet machine.
#[test]
fn a_peer_that_never_reads_delays_no_other() {
    alone("reliability::stalled::a_peer_that_never_reads_delays_no_other", || {
        let (rounds, floods) = (number("ROUNDS", 2), number("FLOODS", 30));
        let mut crowd = Crowd::of(number("PEERS", 100));
        let (mut without, mut with) = (Vec::new(), Vec::new());
        crowd.p99(floods, None);
        let (mut memory, mut longest) = (None, Duration::ZERO);
        for _ in 0..rounds {
            without.push(crowd.p99(floods, None));
            let (peer, stalled) = crowd.stall();
            memory = memory.or_else(resident);
            with.push(crowd.p99(floods, Some(stalled)));
            let info = crowd.node.info(stalled);
            let limit = crowd.node.endpoint.limits().queue_bytes;
            assert!(info.queued_bytes <= limit + limit / 8, "{info:?}");
            longest = longest.max(crowd.longest_send(stalled));
            drop(peer);
            crowd.node.removed(stalled);
        }
        let grown = grown_since(memory);
        print(&mut without, &mut with, longest, grown);
        assert!(longest < Duration::from_secs(1), "{longest:?}");
        assert!(grown < FLAT, "{grown} bytes more than with the first full queue");
    });
}

fn print(without: &mut [Duration], with: &mut [Duration], longest: Duration, grown: usize) {
    let (before, after) = (median(without), median(with));
    report(&format!(
        "one that never reads: p99 of the others {after:.1?} with it, {before:.1?} without, ratio \
         {:.2} (medians of {}; {:.1?} to {:.1?} and {:.1?} to {:.1?}); longest send {longest:.1?}; \
         memory {} KiB more than at the first full queue",
        after.as_secs_f64() / before.as_secs_f64(),
        with.len(),
        with[0],
        with[with.len() - 1],
        without[0],
        without[without.len() - 1],
        grown >> 10,
    ));
}
