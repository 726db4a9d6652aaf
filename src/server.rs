use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use smol::Async;

use crate::context::Running;
use crate::error::{DropReason, StartError};
use crate::events::Event;
use crate::link::{Connection, Patience, listen};
use crate::session::handle_stream;
use crate::timer;

/// Connections accepted in a row before other tasks get their turn.
const ACCEPTS_PER_TURN: usize = 32;

/// Waits after the first accept that failed for want of descriptors or memory; it doubles up to
/// the second. Meanwhile connections wait in the kernel.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The listening sockets of one port.
///
/// IPv4 and IPv6 have one each. One for `[::]` alone takes IPv4 as well, as that of a Ratman node
/// does; beside one for IPv4 it is for IPv6 only, since both could not have the port otherwise.
#[derive(Debug)]
pub(crate) struct Server {
    ipv4_listen: Option<Async<TcpListener>>,
    ipv6_listen: Option<Async<TcpListener>>,
}

impl Server {
    /// Opens the sockets for `addrs`, in their order: the servers, one for each port.
    ///
    /// A port 0 is chosen by the system, the same for IPv4 and IPv6 where both ask for it. An
    /// unspecified IPv6 address is passed over where the machine has no IPv6 and another is left.
    pub(crate) fn bind(addrs: &[SocketAddr]) -> Result<Vec<Server>, StartError> {
        let mut servers: Vec<Server> = Vec::new();
        for (at, addr) in addrs.iter().enumerate() {
            let others = || addrs.iter().enumerate().filter(|(other, _)| *other != at);
            let only_v6 = others().any(|(_, other)| other.is_ipv4() && other.port() == addr.port());
            match bind_one(*addr, only_v6, &mut servers) {
                Err(error) if error.is_ipv6_unavailable() && others().next().is_some() => {}
                done => done?,
            }
        }
        match servers.is_empty() && !addrs.is_empty() {
            true => Err(StartError::Address("IPv6 on a machine without it".to_owned())),
            false => Ok(servers),
        }
    }

    /// A server of a listener that the caller opened.
    pub(crate) fn adopt(listener: TcpListener) -> Result<Server, StartError> {
        let is_v6 = listener.local_addr().map_err(StartError::Socket)?.is_ipv6();
        let listener = Some(Async::new(listener).map_err(StartError::Socket)?);
        Ok(match is_v6 {
            true => Server { ipv4_listen: None, ipv6_listen: listener },
            false => Server { ipv4_listen: listener, ipv6_listen: None },
        })
    }

    /// The port that the sockets listen on.
    pub(crate) fn port(&self) -> Option<u16> {
        self.local_addrs().first().map(SocketAddr::port)
    }

    /// The addresses that the sockets listen on.
    pub(crate) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners().filter_map(|listener| listener.get_ref().local_addr().ok()).collect()
    }

    fn listeners(&self) -> impl Iterator<Item = &Async<TcpListener>> {
        self.ipv6_listen.iter().chain(&self.ipv4_listen)
    }

    /// Starts to accept connections, until the endpoint stops.
    pub(crate) fn run(self, running: &Arc<Running>) {
        for listener in self.ipv4_listen.into_iter().chain(self.ipv6_listen) {
            let accepting = Accepting { listener, running: running.clone() };
            running.spawn(async move { accepting.run().await });
        }
    }
}

/// A listener at work, and what tells that the endpoint still runs.
///
/// They are dropped in this order: whoever waits for the end of the endpoint may want the port.
struct Accepting {
    listener: Async<TcpListener>,
    running: Arc<Running>,
}

impl Accepting {
    async fn run(&self) {
        let accepting = accept(&self.running, &self.listener);
        future::or(accepting, self.running.until_stopping()).await;
    }
}

/// Opens one socket, and joins it to the server that has its port, if one has.
fn bind_one(
    mut addr: SocketAddr,
    only_v6: bool,
    servers: &mut Vec<Server>,
) -> Result<(), StartError> {
    let wanted = addr.port();
    if let (0, Some(port)) = (wanted, free_port(addr, servers)) {
        addr.set_port(port);
    }
    let mut opened = listen(addr, only_v6);
    if wanted == 0 && addr.port() != 0 && opened.is_err() {
        // The port is the system's for the other family only; so this one gets its own.
        addr.set_port(0);
        opened = listen(addr, only_v6);
    }
    let failed = |source| StartError::Bind { addr, source };
    let new = Server::adopt(opened.map_err(failed)?)?;
    let partner = servers.iter_mut().find(|server| server.takes(&new));
    match partner {
        Some(server) => {
            server.ipv4_listen = server.ipv4_listen.take().or(new.ipv4_listen);
            server.ipv6_listen = server.ipv6_listen.take().or(new.ipv6_listen);
        }
        None => servers.push(new),
    }
    Ok(())
}

/// The port of a server that still lacks the family of `addr`.
fn free_port(addr: SocketAddr, servers: &[Server]) -> Option<u16> {
    let lacks = |server: &&Server| match addr.is_ipv6() {
        true => server.ipv6_listen.is_none(),
        false => server.ipv4_listen.is_none(),
    };
    servers.iter().find(lacks).and_then(Server::port)
}

impl Server {
    /// Whether `other` has the same port, and the family that this one lacks.
    fn takes(&self, other: &Server) -> bool {
        self.port() == other.port()
            && self.ipv4_listen.is_some() != other.ipv4_listen.is_some()
            && self.ipv6_listen.is_some() != other.ipv6_listen.is_some()
    }
}

/// Accepts connections for ever.
async fn accept(running: &Arc<Running>, listener: &Async<TcpListener>) {
    let mut wait = FIRST_WAIT;
    let mut accepted = 0;
    loop {
        match listener.get_ref().accept() {
            Ok((stream, addr)) => {
                welcome(running, stream, addr);
                (wait, accepted) = (FIRST_WAIT, accepted + 1);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Err(error) = listener.readable().await {
                    pause(running, listener, &error, &mut wait).await;
                }
                accepted = 0;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => pause(running, listener, &error, &mut wait).await,
        }
        if accepted >= ACCEPTS_PER_TURN {
            future::yield_now().await;
            accepted = 0;
        }
    }
}

/// Whether a failed accept says something about the connection, not about this node.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted)
}

/// Tells that accepting fails for now, and waits a while.
async fn pause(
    running: &Running,
    listener: &Async<TcpListener>,
    error: &io::Error,
    wait: &mut Duration,
) {
    let addr = listener.get_ref().local_addr().ok();
    if *wait == FIRST_WAIT || *wait == LONGEST_WAIT {
        running.events.emit(Event::AcceptFailed { addr, reason: error.to_string() });
    }
    timer::after(*wait).await;
    *wait = (*wait * 2).min(LONGEST_WAIT);
}

/// Starts a task for a stream that may say who it is.
fn welcome(running: &Arc<Running>, stream: TcpStream, addr: SocketAddr) {
    // An IPv4 address that came over an IPv6 socket is shown, and judged, as what it is.
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    if !running.admits_addr(addr) {
        return running.events.dropped(Some(addr), DropReason::NotAllowed);
    }
    let prepared = Async::new(stream)
        .and_then(|stream| Connection::new(stream, Patience::new(&running.limits)))
        .map_err(|error| DropReason::Handshake(error.into()));
    match prepared {
        Ok(stream) => running.spawn(handle_stream(running.clone(), Arc::new(stream), addr)),
        Err(reason) => running.events.dropped(Some(addr), reason),
    }
}
