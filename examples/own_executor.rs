//! An endpoint on an executor that the caller drives. One thread runs everything, including the
//! router; the crate starts no executor thread.
//!
//! Run with `cargo run --example own_executor`.

use std::error::Error;
use std::sync::Arc;

use netmod_inet::{Frame, InetEndpoint};
use smol::Executor;

fn main() -> Result<(), Box<dyn Error>> {
    let executor = Arc::new(Executor::new());
    // The endpoint holds the executor weakly. Dropping it ends all tasks, and `next` then returns
    // an error.
    smol::block_on(executor.run(run(executor.clone())))
}

async fn run(executor: Arc<Executor<'static>>) -> Result<(), Box<dyn Error>> {
    let start =
        || InetEndpoint::builder().bind("127.0.0.1:0").spawner(Arc::downgrade(&executor)).start();
    let (alice, bob) = (start().await?, start().await?);
    let address = format!("127.0.0.1:{}", alice.port().unwrap_or(0));
    let target = bob.add_peers([address]).await?[0];

    let question = Frame::builder(8, bob.router_id()).payload("who is there?").build()?;
    bob.send(target, question).await?;
    let (from, question) = alice.next().await?;
    println!("alice received: {}", String::from_utf8_lossy(question.payload()));

    let answer = Frame::builder(8, alice.router_id()).payload("one thread").build()?;
    alice.send(from, answer).await?;
    let (_, answer) = bob.next().await?;
    println!("bob received: {}", String::from_utf8_lossy(answer.payload()));

    alice.shutdown().await;
    bob.shutdown().await;
    Ok(())
}
