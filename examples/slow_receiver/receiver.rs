//! The slow receiver.

use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future;
use netmod_inet::{Event, Events, Frame, InetEndpoint};

use crate::bench_util::child::Failure;
use crate::options::Options;
use crate::pattern;

/// Frames between pauses.
const BATCH: u64 = 32;

/// Receives all frames, and checks that none follow.
pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let endpoint = InetEndpoint::start("127.0.0.1:0").await?;
    let events = endpoint.events();
    println!("ready {}", endpoint.port().unwrap_or(0));
    let mut receiver = Receiver { options, next_number: 0, slept: Duration::ZERO, started: None };

    let mut down = pin!(until_down(&events));
    let why = loop {
        let next = async { Ok(endpoint.next().await) };
        match future::or(next, async { Err((&mut down).await) }).await {
            Ok(next) => receiver.take(&next?.1)?,
            Err(why) => break why,
        }
    };
    // The link is down. Frames that arrived before are still queued.
    while let Some((_, frame)) = endpoint.try_next()? {
        receiver.take(&frame)?;
    }
    if receiver.next_number < options.frames {
        return Err(format!(
            "only {} frames arrived; the link is down: {why}",
            receiver.next_number
        )
        .into());
    }
    endpoint.shutdown().await;
    Ok(())
}

/// Waits until a link is down. Returns the reason.
async fn until_down(events: &Events) -> String {
    loop {
        match events.next().await {
            Ok(Event::Down { reason, .. }) => return reason.to_string(),
            Ok(_) => {}
            Err(closed) => return closed.to_string(),
        }
    }
}

struct Receiver<'a> {
    options: &'a Options,
    /// The number of the next frame.
    next_number: u64,
    slept: Duration,
    started: Option<Instant>,
}

impl Receiver<'_> {
    /// Verifies a frame, and pauses where one is next_number.
    fn take(&mut self, frame: &Frame) -> Result<(), Failure> {
        let Options { frames, payload, .. } = *self.options;
        let started = *self.started.get_or_insert_with(Instant::now);
        if self.next_number == frames {
            return Err("one frame too many arrived".into());
        }
        if *frame != pattern::frame(self.next_number, payload)? {
            return Err(pattern::explain(self.next_number, payload, frame).into());
        }
        self.next_number += 1;
        if self.next_number == frames {
            println!("complete");
            println!("{}", self.report(started.elapsed()));
            return Ok(());
        }
        if self.next_number % (frames / 10).max(1) == 0 {
            println!("at {}", self.next_number);
        }
        if self.next_number == frames / 2 {
            self.sleep(self.options.stall);
        }
        if self.next_number % BATCH == 0 {
            self.sleep(self.options.pause);
        }
        Ok(())
    }

    /// Blocks this thread. The endpoint runs on another.
    fn sleep(&mut self, time: Duration) {
        if !time.is_zero() {
            let started = Instant::now();
            thread::sleep(time);
            self.slept += started.elapsed();
        }
    }

    fn report(&self, time: Duration) -> String {
        let seconds = time.as_secs_f64();
        let rate = self.next_number as f64 / seconds;
        let mib = rate * self.options.payload as f64 / f64::from(1 << 20);
        format!(
            "verified {} frames in {seconds:.2} s, {:.2} s of which it slept: {rate:.0} frames/s, \
             {mib:.0} MiB/s of payload",
            self.next_number,
            self.slept.as_secs_f64()
        )
    }
}
