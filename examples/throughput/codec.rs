//! What one would write with tokio: `LengthDelimitedCodec` with its defaults, a task per link, and
//! a channel to a consumer task.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use netmod_inet::Frame;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::bytes::{Bytes, BytesMut};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::bench_util::child::Failure;
use crate::job::{Kind, Part, Side};
use crate::meter::Meter;

/// Capacity of the channel to the consumer.
const WAITING: usize = 1024;

type Arrived = mpsc::Receiver<(usize, BytesMut)>;
type Writer = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

#[tokio::main]
pub(crate) async fn run(part: Part, meter: &Meter) -> Result<Infallible, Failure> {
    let (queue, mut arrived) = mpsc::channel(WAITING);
    let mut tasks = JoinSet::new();
    let mut writers = Vec::new();
    for (link, stream) in open(&part).await?.into_iter().enumerate() {
        let (read, write) = stream.into_split();
        tasks.spawn(forward(link, read, queue.clone()));
        writers.push(FramedWrite::new(write, LengthDelimitedCodec::new()));
    }
    let (frame, load) = (part.job.frame()?, part.job.load()?);
    match (part.job.kind, part.side) {
        (Kind::Stream | Kind::Singles, Side::Dialer) | (Kind::Both, _) => {
            for writer in writers.drain(..) {
                tasks.spawn(send(writer, frame.clone()));
            }
        }
        (Kind::BusyTrip, Side::Dialer) => {
            tasks.spawn(send(writers.remove(1), load));
        }
        _ => {}
    }
    let consumer = async {
        match (part.job.kind, part.side) {
            (Kind::Trip | Kind::BusyTrip, Side::Dialer) => {
                trip(&mut writers[0], &mut arrived, frame, meter).await
            }
            _ => consume(&mut writers, &mut arrived, part, meter).await,
        }
    };
    tokio::select! {
        done = consumer => done,
        Some(ended) = tasks.join_next() => ended?,
    }
}

async fn open(part: &Part) -> Result<Vec<TcpStream>, Failure> {
    let mut streams = Vec::new();
    match part.side {
        Side::Listener => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            println!("ready {}", listener.local_addr()?.port());
            for _ in 0..part.job.links {
                streams.push(listener.accept().await?.0);
            }
        }
        Side::Dialer => {
            for _ in 0..part.job.links {
                streams.push(TcpStream::connect((Ipv4Addr::LOCALHOST, part.port)).await?);
            }
            println!("ready");
        }
    }
    streams.iter().try_for_each(|stream| stream.set_nodelay(true))?;
    Ok(streams)
}

/// Forwards the frames of a link to the consumer.
async fn forward(
    link: usize,
    read: OwnedReadHalf,
    queue: mpsc::Sender<(usize, BytesMut)>,
) -> Result<Infallible, Failure> {
    let mut frames = FramedRead::new(read, LengthDelimitedCodec::new());
    while let Some(frame) = frames.next().await {
        queue.send((link, frame?)).await?;
    }
    Err("the remote closed the link".into())
}

async fn send(mut writer: Writer, frame: Frame) -> Result<Infallible, Failure> {
    let frame = frame.into_bytes();
    loop {
        writer.feed(frame.clone()).await?;
    }
}

/// Counts or echoes received frames.
async fn consume(
    writers: &mut [Writer],
    arrived: &mut Arrived,
    part: Part,
    meter: &Meter,
) -> Result<Infallible, Failure> {
    while let Some((link, frame)) = arrived.recv().await {
        match part.job.is_echoed(frame.len()) {
            true => writers[link].send(frame.freeze()).await?,
            false => meter.add(1),
        }
    }
    Err("all links are closed".into())
}

/// Measures consecutive round trips.
async fn trip(
    writer: &mut Writer,
    arrived: &mut Arrived,
    frame: Frame,
    meter: &Meter,
) -> Result<Infallible, Failure> {
    let frame: Bytes = frame.into_bytes();
    loop {
        let began = Instant::now();
        writer.send(frame.clone()).await?;
        arrived.recv().await.ok_or("all links are closed")?;
        meter.add_trip(began.elapsed());
    }
}
