//! An endpoint in a tokio program: its tasks run on tokio, and `next` is a branch of `select!`.
//!
//! Run with `cargo run --example tokio`.

use std::error::Error;
use std::time::Duration;

use netmod_inet::{Frame, InetEndpoint, Task};
use tokio::runtime::Handle;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let alice = start().await?;
    let bob = start().await?;
    let address = format!("127.0.0.1:{}", alice.port().unwrap_or(0));
    let target = bob.add_peers([address]).await?[0];

    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let (mut sent, mut received) = (0, 0);
    while received < 5 {
        // `next` is cancel-safe: if the other branch completes first, no frame is lost.
        tokio::select! {
            _ = tick.tick(), if sent < 5 => {
                sent += 1;
                let text = format!("tick {sent}");
                let frame = Frame::builder(8, bob.router_id()).payload(text).build()?;
                bob.try_send(target, frame)?;
            }
            frame = alice.next() => {
                let (from, frame) = frame?;
                received += 1;
                println!("from {from}: {}", String::from_utf8_lossy(frame.payload()));
            }
        }
    }
    alice.shutdown().await;
    bob.shutdown().await;
    Ok(())
}

/// Starts an endpoint whose tasks run on the current runtime.
async fn start() -> Result<InetEndpoint, netmod_inet::StartError> {
    let runtime = Handle::current();
    let spawner = move |task: Task| {
        runtime.spawn(task);
    };
    InetEndpoint::builder().bind("127.0.0.1:0").spawner(spawner).start().await
}
