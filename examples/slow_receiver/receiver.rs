//! The slow one of the two processes.

use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future;
use netmod_inet::{Event, Events, Frame, InetEndpoint};

use crate::bench_util::child::Failure;
use crate::options::Options;
use crate::pattern;

/// Frames between two pauses.
const BATCH: u64 = 32;

/// Takes all frames, and sees that nothing follows them.
pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let endpoint = InetEndpoint::start("127.0.0.1:0").await?;
    let events = endpoint.events();
    println!("ready {}", endpoint.port().unwrap_or(0));
    let mut receiver = Receiver { options, due: 0, slept: Duration::ZERO, started: None };

    let mut down = pin!(until_down(&events));
    let why = loop {
        let next = async { Ok(endpoint.next().await) };
        match future::or(next, async { Err((&mut down).await) }).await {
            Ok(next) => receiver.take(&next?.1)?,
            Err(why) => break why,
        }
    };
    // The link has ended, but what came over it is still to be had.
    while let Some((_, frame)) = endpoint.try_next()? {
        receiver.take(&frame)?;
    }
    if receiver.due < options.frames {
        return Err(format!("only {} frames arrived; the link is down: {why}", receiver.due).into());
    }
    endpoint.shutdown().await;
    Ok(())
}

/// Waits until a link ends; returns why.
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
    /// Number of the frame that comes next.
    due: u64,
    slept: Duration,
    started: Option<Instant>,
}

impl Receiver<'_> {
    /// Verifies a frame, and then takes a rest if it is time for that.
    fn take(&mut self, frame: &Frame) -> Result<(), Failure> {
        let Options { frames, payload, .. } = *self.options;
        let started = *self.started.get_or_insert_with(Instant::now);
        if self.due == frames {
            return Err("one frame too many arrived".into());
        }
        if *frame != pattern::frame(self.due, payload)? {
            return Err(pattern::explain(self.due, payload, frame).into());
        }
        self.due += 1;
        if self.due == frames {
            println!("complete");
            println!("{}", self.tell(started.elapsed()));
            return Ok(());
        }
        if self.due % (frames / 10).max(1) == 0 {
            println!("at {}", self.due);
        }
        if self.due == frames / 2 {
            self.sleep(self.options.stall);
        }
        if self.due % BATCH == 0 {
            self.sleep(self.options.pause);
        }
        Ok(())
    }

    /// Nothing else runs on this thread; the endpoint has another.
    fn sleep(&mut self, time: Duration) {
        if !time.is_zero() {
            let started = Instant::now();
            thread::sleep(time);
            self.slept += started.elapsed();
        }
    }

    fn tell(&self, time: Duration) -> String {
        let seconds = time.as_secs_f64();
        let rate = self.due as f64 / seconds;
        let mib = rate * self.options.payload as f64 / f64::from(1 << 20);
        format!(
            "verified {} frames in {seconds:.2} s, {:.2} s of which it slept: {rate:.0} frames/s, \
             {mib:.0} MiB/s of payload",
            self.due,
            self.slept.as_secs_f64()
        )
    }
}
