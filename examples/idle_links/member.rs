//! One of the two processes that are watched: an endpoint, a router that waits for frames, and a
//! main thread that is blocked in a read of standard input.

use std::future;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use netmod_inet::{AcceptPolicy, Frame, InetEndpoint, Limits, PeerState};
use smol::Executor;

use crate::child::Failure;
use crate::options::{Options, Role};

/// Time between two looks at what is being waited for. There is none once it is over.
const LOOK: Duration = Duration::from_millis(20);

/// Obeys until the end of standard input.
pub(crate) fn run(role: Role, options: &Options) -> Result<(), Failure> {
    let member = Member::start(role, options)?;
    println!("ready {}", member.endpoint.port().unwrap_or(0));
    for line in io::stdin().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("dial", port) => member.dial(port.parse()?)?,
            ("up", _) => member.wait_for(|| member.links_up() == member.links),
            ("flood", payload) => member.flood(payload.parse()?)?,
            ("heard", count) => {
                let count: usize = count.parse()?;
                member.wait_for(|| member.heard.load(Ordering::Relaxed) == count);
            }
            ("send", _) => member.send()?,
            _ => return Err(format!("there is no command \"{line}\"").into()),
        }
        println!("done");
    }
    smol::block_on(member.endpoint.shutdown());
    Ok(())
}

struct Member {
    endpoint: InetEndpoint,
    links: usize,
    /// Frames that the router has taken.
    heard: Arc<AtomicUsize>,
}

impl Member {
    fn start(role: Role, options: &Options) -> Result<Member, Failure> {
        let links = options.links;
        let mut limits = Limits::default();
        // All links come from one address, and at once.
        (limits.peers, limits.pending, limits.pending_per_addr) = (links, links, links);
        let builder = InetEndpoint::builder().limits(limits);
        let builder = match role {
            Role::Dialer => builder,
            // All loopback addresses, and no others.
            Role::Listener => {
                builder.bind("0.0.0.0:0").accept(AcceptPolicy::none().allow("127.0.0.0/8".parse()?))
            }
        };
        let executor = options.own.then(drive).transpose()?;
        let builder = match executor {
            Some(executor) => builder.spawner(executor),
            None => builder,
        };
        let endpoint = smol::block_on(builder.start())?;
        let heard = Arc::new(AtomicUsize::new(0));
        let router = route(endpoint.clone(), heard.clone());
        match executor {
            Some(executor) => executor.spawn(router).detach(),
            None => smol::spawn(router).detach(),
        }
        Ok(Member { endpoint, links, heard })
    }

    /// Dials the same listener at as many addresses as there are to be links.
    fn dial(&self, port: u16) -> Result<(), Failure> {
        let first = u32::from(Ipv4Addr::new(127, 1, 0, 1));
        let addr = |number| format!("{}:{port}", Ipv4Addr::from(first + number));
        let addrs: Vec<String> = (0..u32::try_from(self.links)?).map(addr).collect();
        smol::block_on(self.endpoint.add_peers(addrs))?;
        Ok(())
    }

    fn links_up(&self) -> usize {
        self.endpoint.peers().iter().filter(|peer| peer.state == PeerState::Up).count()
    }

    fn wait_for(&self, is_done: impl Fn() -> bool) {
        while !is_done() {
            std::thread::sleep(LOOK);
        }
    }

    /// Sends a frame over each link.
    fn flood(&self, payload: usize) -> Result<(), Failure> {
        let report = self.endpoint.send_all(self.frame(payload)?)?;
        match report.refused.first() {
            Some((target, refusal)) => Err(format!("target {target}: {refusal}").into()),
            None => Ok(()),
        }
    }

    /// Sends a frame over one link.
    fn send(&self) -> Result<(), Failure> {
        let target = self.endpoint.peers().first().ok_or("there is no link")?.target;
        Ok(self.endpoint.try_send(target, self.frame(64)?)?)
    }

    fn frame(&self, payload: usize) -> Result<Frame, Failure> {
        Ok(Frame::builder(8, self.endpoint.router_id()).payload(vec![7; payload]).build()?)
    }
}

/// Takes what arrives.
async fn route(endpoint: InetEndpoint, heard: Arc<AtomicUsize>) {
    while endpoint.next().await.is_ok() {
        heard.fetch_add(1, Ordering::Relaxed);
    }
}

/// An executor that one thread of ours drives, as long as the process lives.
fn drive() -> io::Result<&'static Executor<'static>> {
    let executor: &'static Executor<'static> = Box::leak(Box::default());
    std::thread::Builder::new()
        .name("driver".to_owned())
        .spawn(|| smol::block_on(executor.run(future::pending::<()>())))?;
    Ok(executor)
}
