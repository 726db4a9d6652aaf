//! Moves frames from one endpoint to another, for callgrind to count instructions.
//!
//! ```sh
//! netmod-inet-instructions codec|plain|resumable|many PAYLOAD FRAMES
//! ```
//!
//! The difference of two runs with different numbers of frames is what those frames cost: start and
//! end cancel out. `.ci/instructions` does that.

mod relay;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use netmod_inet::{Event, Frame, Id, InetEndpoint, Limits, SendErrorKind, Target};
use smol::Executor;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at)?.parse::<usize>().ok();
    let (Some(measure), Some(payload), Some(frames)) = (arguments.first(), number(1), number(2))
    else {
        return usage();
    };
    match measure.as_str() {
        "codec" => codec(payload, frames),
        "plain" => link(payload, frames, SendMode::Plain),
        "resumable" => link(payload, frames, SendMode::Resumable),
        "many" => link(payload, frames, SendMode::Many),
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: netmod-inet-instructions codec|plain|resumable|many PAYLOAD FRAMES");
    ExitCode::from(2)
}

/// How frames go from one endpoint to the other.
#[derive(Clone, Copy, PartialEq)]
enum SendMode {
    /// With a call for each, to a plain node.
    Plain,
    /// With a call for each, to one that acknowledges them.
    Resumable,
    /// The same with a call for many.
    Many,
}

/// Frames that go with one call.
const SEND_BATCH: usize = 64;

fn frame(payload: usize) -> Frame {
    let builder = Frame::builder(8, Id::from_bytes([7; 32]));
    builder.payload(vec![7; payload]).build().expect("a short payload")
}

/// Makes frames and reads them.
fn codec(payload: usize, frames: usize) {
    for _ in 0..frames {
        let made = frame(payload);
        let read = Frame::parse(made.into_bytes()).expect("a frame");
        assert_eq!(read.payload().len(), payload);
    }
}

/// Sends frames from one endpoint to another, as many at once as there is room for, and takes them
/// there: all on one thread. A relay between the two, the same for both measures, may take the
/// records off the handshake.
fn link(payload: usize, frames: usize, mode: SendMode) {
    let is_plain = mode == SendMode::Plain;
    let executor = Arc::new(Executor::new());
    let mut limits = Limits::default();
    // A machine that stands still for a while ends nothing here.
    limits.send_timeout = Duration::from_secs(60);
    let builder =
        || InetEndpoint::builder().limits(limits.clone()).spawner(Arc::downgrade(&executor));
    smol::block_on(executor.run(async {
        let listener = builder().bind("127.0.0.1:0").start().await.expect("a free port");
        let dialer = builder().start().await.expect("an endpoint");
        let addr = relay::to(listener.local_addrs()[0], is_plain);
        let target = dialer.add_peers([addr.to_string()]).await.expect("a peer")[0];
        let events = dialer.events();
        while !matches!(events.next().await, Ok(Event::Up { .. })) {}

        let sending = async {
            match mode {
                SendMode::Many => send_many(&dialer, target, frame(payload), frames).await,
                _ => send_all(&dialer, target, frame(payload), frames).await,
            }
        };
        let receiving = async {
            for _ in 0..frames {
                let (_, frame) = listener.next().await.expect("a running endpoint");
                assert_eq!(frame.payload().len(), payload);
            }
        };
        future::zip(sending, receiving).await;
        let is_measured = dialer.peers()[0].round_trip.is_some();
        assert_eq!(is_measured, !is_plain, "the wrong kind of link");
    }));
}

async fn send_all(from: &InetEndpoint, target: Target, frame: Frame, frames: usize) {
    for _ in 0..frames {
        if let Err(error) = from.try_send(target, frame.clone()) {
            from.send(target, error.into_frame()).await.expect("room before long");
        }
    }
}

async fn send_many(from: &InetEndpoint, target: Target, frame: Frame, frames: usize) {
    let (mut left, mut batch) = (frames, VecDeque::new());
    while left > 0 {
        batch.resize(SEND_BATCH.min(left), frame.clone());
        let all = batch.len();
        let sent = from.try_send_many(target, &mut batch);
        left -= all - batch.len();
        if let Err(SendErrorKind::Full) = sent {
            from.send(target, frame.clone()).await.expect("room before long");
            left -= 1;
        }
    }
}
