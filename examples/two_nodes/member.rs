//! One of the two nodes: an endpoint controlled by lines on standard input, which reports on
//! standard output.

use std::error::Error;
use std::time::{Duration, Instant};

use futures_lite::io::{AsyncBufReadExt, BufReader};
use futures_lite::{StreamExt, future};
use netmod_inet::{DownReason, Event, Events, Frame, InetEndpoint, Limits, Target};

/// Frames that each node sends in one exchange.
const FRAMES: u32 = 10_000;

/// Payload bytes of each.
const PAYLOAD: usize = 1024;

type Failure = Box<dyn Error + Send + Sync>;

/// Runs a node until the command to quit. Dials `peer`, if there is one.
pub(crate) async fn run(peer: Option<String>) -> Result<(), Failure> {
    let mut limits = Limits::default();
    // Generous, for a busy machine.
    limits.send_timeout = Duration::from_secs(60);
    let endpoint = InetEndpoint::builder().bind("127.0.0.1:0").limits(limits).start().await?;
    let events = endpoint.events();
    println!("listens on port {}", endpoint.port().unwrap_or(0));
    endpoint.add_peers(peer).await?;

    let mut link = Link { endpoint: &endpoint, events: &events, target: None };
    let mut commands = BufReader::new(smol::Unblock::new(std::io::stdin())).lines();
    loop {
        let command = future::or(async { commands.next().await }, link.watch()).await;
        match command.transpose()?.as_deref() {
            Some("exchange") => link.exchange().await?,
            _ => break,
        }
    }
    endpoint.shutdown().await;
    println!("shut down");
    Ok(())
}

/// The link to the remote node.
struct Link<'a> {
    endpoint: &'a InetEndpoint,
    events: &'a Events,
    target: Option<Target>,
}

impl Link<'_> {
    /// Reports events until cancelled.
    async fn watch<T>(&mut self) -> T {
        loop {
            match self.events.next().await {
                Ok(event) => self.on_event(event),
                Err(_) => return future::pending().await,
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Up { target, id, .. } => {
                self.target = Some(target);
                println!("link up: target {target} is router {:.8}…", id.to_string());
            }
            Event::Down { reason, retry, .. } if !is_planned(&reason) => match retry {
                Some(retry) => println!("link down: {reason}; dialing in {retry:.1?}"),
                None => println!("link down: {reason}"),
            },
            _ => {}
        }
    }

    /// Sends `FRAMES` frames and receives as many, concurrently.
    async fn exchange(&mut self) -> Result<(), Failure> {
        let target = self.target.ok_or("there is no link")?;
        let started = Instant::now();
        future::try_zip(self.send(target), self.receive()).await?;
        println!(
            "exchanged {FRAMES} frames of {PAYLOAD} bytes each way in {:.0?}",
            started.elapsed()
        );
        Ok(())
    }

    async fn send(&self, target: Target) -> Result<(), Failure> {
        for number in 0..FRAMES {
            let mut payload = vec![0; PAYLOAD];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            let frame = Frame::builder(8, self.endpoint.router_id()).payload(payload).build()?;
            self.endpoint.send(target, frame).await?;
        }
        Ok(())
    }

    async fn receive(&self) -> Result<(), Failure> {
        for number in 0..FRAMES {
            let (_, frame) = self.endpoint.next().await?;
            if frame.payload().len() != PAYLOAD
                || !frame.payload().starts_with(&number.to_be_bytes())
            {
                return Err(format!("frame {number} is not the one that is due").into());
            }
        }
        Ok(())
    }
}

/// Whether a link is down because one of the nodes quits.
fn is_planned(reason: &DownReason) -> bool {
    matches!(reason, DownReason::ShuttingDown)
}
