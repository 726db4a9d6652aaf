//! An endpoint in a smol program: one task loops over the stream of frames, another over the stream
//! of events.
//!
//! Run with `cargo run --example smol`.

use std::error::Error;

use futures_lite::{StreamExt, future};
use netmod_inet::{Event, Frame, InetEndpoint, Target};

/// Requests that bob sends.
const QUESTIONS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let alice = InetEndpoint::start("127.0.0.1:0").await?;
        let answering = smol::spawn(answer(alice.clone()));
        let bob = InetEndpoint::start("127.0.0.1:0").await?;
        let watching = smol::spawn(watch(bob.clone()));

        let address = format!("127.0.0.1:{}", alice.port().unwrap_or(0));
        let target = bob.add_peers([address]).await?[0];
        let answers = bob.frames().take(QUESTIONS).for_each(|(_, frame)| {
            println!("bob received: {}", String::from_utf8_lossy(frame.payload()));
        });
        // Send and receive concurrently: replies must be received while requests are sent.
        let (asked, ()) = future::zip(ask(&bob, target), answers).await;
        asked?;

        bob.shutdown().await;
        alice.shutdown().await;
        // Both streams have ended.
        watching.await;
        answering.await;
        Ok(())
    })
}

async fn ask(bob: &InetEndpoint, target: Target) -> Result<(), Box<dyn Error>> {
    for number in 1..=QUESTIONS {
        let text = format!("question {number}");
        bob.send(target, Frame::builder(8, bob.router_id()).payload(text).build()?).await?;
    }
    Ok(())
}

/// Echoes received frames.
async fn answer(alice: InetEndpoint) {
    let mut frames = alice.frames();
    while let Some((from, frame)) = frames.next().await {
        let text = format!("{}? yes", String::from_utf8_lossy(frame.payload()));
        let answer = Frame::builder(8, alice.router_id()).payload(text).build();
        let sent = answer.map(|answer| alice.try_send(from, answer));
        if let Ok(Err(error)) = sent {
            println!("alice cannot answer: {error}");
        }
    }
}

/// Prints events.
async fn watch(bob: InetEndpoint) {
    let mut events = bob.events();
    // Drop the handle, which would keep the endpoint open: this loop ends with it.
    drop(bob);
    while let Some(event) = StreamExt::next(&mut events).await {
        match event {
            Event::Up { .. } | Event::Down { .. } => println!("bob: {event}"),
            _ => {}
        }
    }
}
