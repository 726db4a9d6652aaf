//! Endpoints of this crate, used as a router would.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future;
use netmod_inet::{
    AcceptPolicy, Builder, Event, Events, Frame, InetEndpoint, Limits, PeerState, SendErrorKind,
    Target,
};
use smol::{Executor, Timer};

use crate::bench_util::child::Failure;
use crate::job::{Contender, Kind, Part, Side};
use crate::meter::Meter;

/// Frames that the router receives before it yields.
const RECEIVE_BATCH: u64 = 4096;

/// Frames that the router sends with one call.
const SEND_BATCH: usize = 64;

/// Interval of polling for links to be up.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

pub(crate) fn run(part: Part, meter: &Arc<Meter>) -> Result<Infallible, Failure> {
    let executor = Arc::new(Executor::new());
    let node = Node { part, meter: meter.clone(), executor: executor.clone() };
    let router = executor.run(async {
        match part.side {
            Side::Listener => node.listen().await,
            Side::Dialer => node.dial().await,
        }
    });
    match part.with.is_on_own_executor() {
        true => smol::block_on(router),
        // Unlike `smol::block_on` this does not poll the reactor, whose events would have to be
        // passed on to the thread of the executor.
        false => future::block_on(router),
    }
}

struct Node {
    part: Part,
    meter: Arc<Meter>,
    /// Runs the router on the main thread, and either all tasks of the endpoint or none.
    executor: Arc<Executor<'static>>,
}

impl Node {
    async fn listen(&self) -> Result<Infallible, Failure> {
        let endpoint = self.builder()?.bind("127.0.0.1:0").start().await?;
        let events = endpoint.events();
        println!("ready {}", endpoint.port().unwrap_or(0));
        match self.part.job.kind {
            Kind::Both => {
                let target = up(&events).await?;
                let frame = self.part.job.frame()?;
                future::or(self.take(&endpoint), send(&endpoint, target, &frame, SEND_BATCH)).await
            }
            Kind::Flood => self.flood(&endpoint).await,
            _ => self.take(&endpoint).await,
        }
    }

    /// Dials from one endpoint per link, since links between the same two endpoints are merged.
    async fn dial(&self) -> Result<Infallible, Failure> {
        let mut links = Vec::new();
        for _ in 0..self.part.job.links {
            let endpoint = self.builder()?.start().await?;
            let events = endpoint.events();
            let target = endpoint.add_peers([format!("127.0.0.1:{}", self.part.port)]).await?[0];
            up(&events).await?;
            links.push((endpoint, target));
        }
        println!("ready");
        let (ended, end) = async_channel::bounded(1);
        for (link, (endpoint, target)) in links.into_iter().enumerate() {
            let work = self.work(link, endpoint, target)?;
            let ended = ended.clone();
            self.executor.spawn(async move { ended.send(work.await).await }).detach();
        }
        end.recv().await?
    }

    /// The work of the dialer on one link.
    fn work(
        &self,
        link: usize,
        endpoint: InetEndpoint,
        target: Target,
    ) -> Result<impl Future<Output = Result<Infallible, Failure>> + use<>, Failure> {
        let Part { job, .. } = self.part;
        let (frame, load) = (job.frame()?, job.load()?);
        let node = Node { executor: self.executor.clone(), meter: self.meter.clone(), ..*self };
        Ok(async move {
            match job.kind {
                Kind::Trip | Kind::BusyTrip if link == 0 => {
                    trip(&endpoint, target, &frame, &node.meter).await
                }
                Kind::BusyTrip => send(&endpoint, target, &load, SEND_BATCH).await,
                Kind::Both => {
                    future::or(node.take(&endpoint), send(&endpoint, target, &frame, SEND_BATCH))
                        .await
                }
                Kind::Singles => send(&endpoint, target, &frame, 1).await,
                _ => send(&endpoint, target, &frame, SEND_BATCH).await,
            }
        })
    }

    fn builder(&self) -> Result<Builder, Failure> {
        let mut limits = Limits::default();
        // All links come from one address at the same time. An eighth of the places is for nodes with
        // a listed key.
        let links = self.part.job.links;
        limits.peers = limits.peers.max(links + links / 7 + 1).min(20_000);
        limits.max_handshakes = limits.max_handshakes.max(links);
        limits.max_handshakes_per_addr = limits.max_handshakes_per_addr.max(links);
        let policy = AcceptPolicy::none().allow("127.0.0.0/8".parse()?);
        let builder = InetEndpoint::builder().limits(limits).accept(policy);
        let builder = match self.part.with {
            Contender::Encrypted | Contender::EncryptedOwn => encrypted(builder)?,
            _ => builder,
        };
        Ok(match self.part.with.is_on_own_executor() {
            true => builder.spawner(Arc::downgrade(&self.executor)),
            false => builder,
        })
    }

    /// Counts or echoes received frames.
    async fn take(&self, endpoint: &InetEndpoint) -> Result<Infallible, Failure> {
        loop {
            let mut next = Some(endpoint.next().await?);
            let (mut taken, mut count) = (0, 0);
            while let Some((target, frame)) = next {
                match self.part.job.is_echoed(frame.len()) {
                    true => endpoint.try_send(target, frame)?,
                    false => count += 1,
                }
                taken += 1;
                next = if taken < RECEIVE_BATCH { endpoint.try_next()? } else { None };
            }
            self.meter.add(count);
            if taken == RECEIVE_BATCH {
                future::yield_now().await;
            }
        }
    }

    /// Floods a frame once the previous one has arrived everywhere.
    async fn flood(&self, endpoint: &InetEndpoint) -> Result<Infallible, Failure> {
        let is_up = || endpoint.peers().iter().filter(|peer| peer.state == PeerState::Up).count();
        while is_up() < self.part.job.links {
            Timer::after(POLL_INTERVAL).await;
        }
        let frame = self.part.job.frame()?;
        loop {
            let report = endpoint.send_all(frame.clone())?;
            if let Some((target, refusal)) = report.refused.first() {
                return Err(format!("target {target}: {refusal}").into());
            }
            endpoint.next().await?;
            self.meter.add(1);
        }
    }
}

#[cfg(feature = "noise")]
fn encrypted(builder: Builder) -> Result<Builder, Failure> {
    let keys = netmod_inet::KeyPair::generate()?;
    Ok(builder.encrypt(netmod_inet::Encryption::new(keys).required()))
}

#[cfg(not(feature = "noise"))]
fn encrypted(_: Builder) -> Result<Builder, Failure> {
    Err("encryption is not built in (feature `noise`)".into())
}

/// Waits for a link to be up. Returns its target.
async fn up(events: &Events) -> Result<Target, Failure> {
    loop {
        if let Event::Up { target, .. } = events.next().await? {
            return Ok(target);
        }
    }
}

/// Sends as fast as possible, `batch` frames per call.
async fn send(
    endpoint: &InetEndpoint,
    target: Target,
    frame: &Frame,
    batch: usize,
) -> Result<Infallible, Failure> {
    let mut frames = VecDeque::with_capacity(batch);
    loop {
        let sent = match batch {
            1 => endpoint.try_send(target, frame.clone()).map_err(|error| error.reason()),
            _ => {
                frames.resize(batch, frame.clone());
                endpoint.try_send_many(target, &mut frames)
            }
        };
        match sent {
            Ok(()) => continue,
            Err(SendErrorKind::Full) => {}
            Err(refusal) => return Err(refusal.to_string().into()),
        }
        match endpoint.send(target, frame.clone()).await {
            // Possible on a busy machine. The frame is replaceable.
            Err(error) if error.reason() == SendErrorKind::TimedOut => {}
            done => done?,
        }
    }
}

/// Measures consecutive round trips.
async fn trip(
    endpoint: &InetEndpoint,
    target: Target,
    frame: &Frame,
    meter: &Meter,
) -> Result<Infallible, Failure> {
    loop {
        let began = Instant::now();
        endpoint.send(target, frame.clone()).await?;
        endpoint.next().await?;
        meter.add_trip(began.elapsed());
    }
}
