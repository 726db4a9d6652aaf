//! A name with an address that does not answer.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use netmod_inet::{InetEndpoint, Resolve, ResolveFuture};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

use super::figures::{median, number};
use super::process::skipped;
use crate::addresses::own_addr;
use crate::subject::{Node, quick};

/// What a dead address may cost.
const BOUND: Duration = Duration::from_millis(300);

/// What a busy machine may add: the test and the endpoint are several threads that all have to be
/// woken.
const ALLOWANCE: Duration = Duration::from_millis(300);

/// Far longer than the loopback takes to connect.
const HANGS: Duration = Duration::from_millis(500);

/// A listener whose backlog is full: the system drops what asks to connect to it.
struct Dead {
    addr: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Dead {
    /// `None` on a machine without IPv6.
    fn listener() -> Option<Dead> {
        let socket = socket(AddressFamily::INET6, SocketType::STREAM, None).ok()?;
        bind(&socket, &SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).ok()?;
        listen(&socket, 0).expect("a listener");
        let listener = TcpListener::from(socket);
        let addr = listener.local_addr().expect("an address");
        let connect = || TcpStream::connect_timeout(&addr, HANGS).ok();
        let waiting = std::iter::from_fn(connect).collect();
        Some(Dead { addr, _listener: listener, _waiting: waiting })
    }
}

/// Knows one name.
struct Name(Vec<SocketAddr>);

impl Resolve for Name {
    fn resolve(&self, _: &str, _: u16) -> ResolveFuture {
        let addrs = self.0.clone();
        Box::pin(async { Ok(addrs) })
    }
}

/// How long it takes until a peer at these addresses is up.
fn time_to_up(addrs: Vec<SocketAddr>) -> Duration {
    let mut node = Node::built(InetEndpoint::builder().limits(quick()).resolver(Name(addrs)));
    let started = Instant::now();
    node.add("mynas.example:9000");
    node.up();
    started.elapsed()
}

/// `ROUNDS` times; the bound is for the median.
#[test]
fn a_dead_ipv6_address_costs_little() {
    let Some(dead) = Dead::listener() else {
        return skipped("dead_address", "this machine has no IPv6, so no dead address of it");
    };
    let listener = Node::listening();
    let good = SocketAddr::from(([127, 0, 0, 1], listener.port()));
    let rounds = number("ROUNDS", 3);
    let both = |_| (time_to_up(vec![good]), time_to_up(vec![dead.addr, good]));
    let (mut alone, mut behind): (Vec<_>, Vec<_>) = (0..rounds).map(both).unzip();
    let (alone, behind) = (median(&mut alone), median(&mut behind));
    let cost = behind.saturating_sub(alone);
    println!("dead AAAA in front of a good A: up after {behind:.1?}, without it {alone:.1?}");
    assert!(cost <= BOUND + ALLOWANCE, "{cost:?}");
    assert!(cost >= Duration::from_millis(100), "{cost:?}: it was not dead");
}

/// The address that is dead for the dialer is one that does not answer, not one that refuses.
#[test]
fn the_dead_address_is_given_up_with_a_reason() {
    let Some(dead) = Dead::listener() else {
        return skipped("dead_address", "this machine has no IPv6, so no dead address of it");
    };
    let mut limits = quick();
    limits.connect_timeout = Duration::from_millis(400);
    let name = Name(vec![dead.addr, own_addr()]);
    let mut node = Node::built(InetEndpoint::builder().limits(limits).resolver(name));
    let target = node.add("mynas.example:9000");
    let reasons = [node.attempt(target), node.attempt(target)].map(|reason| reason.to_string());
    assert!(reasons[0].contains("refused") && reasons[1].contains("timed out"), "{reasons:?}");
}

#[test]
fn an_address_that_refused_is_reported_beside_the_one_that_answered() {
    let gone = own_addr();
    let listener = Node::listening();
    let good = SocketAddr::from(([127, 0, 0, 1], listener.port()));
    let name = Name(vec![gone, good]);
    let mut node = Node::built(InetEndpoint::builder().limits(quick()).resolver(name));
    let target = node.add("mynas.example:9000");
    node.up();
    let attempts = node.info(target).attempts;
    let [refused, answered] = &attempts[..] else { panic!("{attempts:?}") };
    assert_eq!(refused.addr, gone.to_string());
    assert!(refused.error.as_ref().is_some_and(|error| error.contains("refused")));
    assert_eq!((&answered.addr, &answered.error), (&good.to_string(), &None));
}
