//! The fast sender.

use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_lite::future;
use netmod_inet::{Event, Frame, InetEndpoint, SendError, SendErrorKind, Target};
use smol::Timer;

use crate::bench_util::child::Failure;
use crate::options::Options;
use crate::pattern;

/// Delay before a retry while the queue is full and the link down.
const AGAIN: Duration = Duration::from_millis(10);

/// Sends all frames, then waits for the command to end.
pub(crate) async fn run(port: u16, options: &Options) -> Result<(), Failure> {
    let endpoint = InetEndpoint::builder().router_id(pattern::SENDER).start().await?;
    let events = endpoint.events();
    let target = endpoint.add_peers([format!("127.0.0.1:{port}")]).await?[0];
    let mut sender = Sender { endpoint, target, held: Held::default() };
    while !matches!(events.next().await?, Event::Up { .. }) {}
    println!("ready");
    io::stdin().read_line(&mut String::new())?;

    let started = Instant::now();
    for number in 0..options.frames {
        sender.send(pattern::frame(number, options.payload)?).await?;
    }
    let took = started.elapsed();
    // Wait for the end of input, since a shutdown drains the queue only for
    // `Limits::drain_timeout`.
    io::stdin().read_line(&mut String::new())?;
    let links = sender.endpoint.peers().first().map_or(0, |peer| peer.links);
    println!("sent {}; links needed: {links}", sender.held.summary(took));
    sender.endpoint.shutdown().await;
    Ok(())
}

struct Sender {
    endpoint: InetEndpoint,
    target: Target,
    held: Held,
}

/// How back-pressure held the sender back.
#[derive(Default)]
struct Held {
    times: u64,
    time: Duration,
    longest: Duration,
    given_back: u64,
}

impl Sender {
    /// Sends a frame. Retries while the queue is full.
    async fn send(&mut self, mut frame: Frame) -> Result<(), Failure> {
        loop {
            let error = match self.try_once(frame).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error.reason() {
                SendErrorKind::TimedOut => {}
                SendErrorKind::Full | SendErrorKind::EndpointFull => {
                    Timer::after(AGAIN).await;
                }
                _ => return Err(error.into()),
            }
            self.held.given_back += 1;
            frame = error.into_frame();
        }
    }

    /// Sends a frame, and records the time if it has to wait.
    async fn try_once(&mut self, frame: Frame) -> Result<(), SendError> {
        let mut sending = pin!(self.endpoint.send(self.target, frame));
        if let Some(done) = future::poll_once(&mut sending).await {
            return done;
        }
        let started = Instant::now();
        let done = sending.await;
        let waited = started.elapsed();
        self.held.times += 1;
        self.held.time += waited;
        self.held.longest = self.held.longest.max(waited);
        done
    }
}

impl Held {
    fn summary(&self, all: Duration) -> String {
        if self.times == 0 {
            return "without being held back: there are too few frames for that".to_owned();
        }
        let share = 100.0 * self.time.as_secs_f64() / all.as_secs_f64();
        format!(
            "in {all:.2?}; held back {} times, {:.2?} in all ({share:.0} %), {:.2?} at most; \
             {} frames were given back and sent again",
            self.times, self.time, self.longest, self.given_back
        )
    }
}
