//! Frames that good neighbours exchange at a steady rate, each with its number and the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;

/// Modes of the frames of good neighbours.
pub(super) const GOOD: u16 = 9;

/// The largest payload of a frame of a good neighbour.
pub(super) const GOOD_PAYLOAD: usize = 1_500;

/// Frames from one node to another, at a steady rate.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) sent: u32,
    pub(super) arrived: u32,
    /// The longest latency of a frame that was sent while the link was up.
    pub(super) worst: Duration,
    /// A time in which the latency does not count, since the link is cut.
    pub(super) outage: Option<[Duration; 2]>,
}

pub(super) type SharedFlow = Arc<Mutex<Flow>>;

impl Flow {
    fn frame(&mut self, random: &mut fastrand::Rng, now: Duration) -> Frame {
        let mut payload = vec![7; random.usize(12..=GOOD_PAYLOAD)];
        payload[..4].copy_from_slice(&self.sent.to_be_bytes());
        payload[4..12].copy_from_slice(&(now.as_micros() as u64).to_be_bytes());
        let frame = Frame::builder(GOOD, Id::from_bytes([8; 32])).payload(payload);
        frame.build().expect("a small frame")
    }

    /// Records a frame that arrived.
    pub(super) fn arrive(&mut self, frame: &Frame, now: Duration) {
        let payload = frame.payload();
        let number = u32::from_be_bytes(payload[..4].try_into().expect("four bytes"));
        assert_eq!(number, self.arrived, "not the next frame");
        self.arrived += 1;
        let micros = u64::from_be_bytes(payload[4..12].try_into().expect("eight bytes"));
        let sent = Duration::from_micros(micros);
        if !self.outage.is_some_and(|[from, to]| (from..to).contains(&sent)) {
            self.worst = self.worst.max(now.saturating_sub(sent));
        }
    }
}

/// The source of a flow.
pub(super) struct Sender {
    pub(super) endpoint: InetEndpoint,
    pub(super) target: Target,
    pub(super) flow: SharedFlow,
    /// Whether each frame finds room at once.
    pub(super) is_granted: bool,
    pub(super) period: Duration,
    pub(super) is_over: Arc<AtomicBool>,
    pub(super) start: Instant,
}

impl Sender {
    /// Sends a frame in each period, until it is over.
    pub(super) async fn run(self, mut random: fastrand::Rng) {
        while !self.is_over.load(Ordering::Relaxed) {
            self.send(&mut random);
            clock::after(self.period).await;
        }
    }

    fn send(&self, random: &mut fastrand::Rng) {
        let mut flow = self.flow.lock().unwrap();
        let frame = flow.frame(random, clock::since(self.start));
        match self.endpoint.try_send(self.target, frame) {
            Ok(()) => flow.sent += 1,
            Err(error) => assert!(!self.is_granted, "refused: {error}"),
        }
    }
}
