//! The listening sockets, and their accept loops.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use smol::Async;

use crate::error::{DropReason, StartError};
use crate::events::Event;
use crate::primitives::clock;
use crate::session::handle_stream;
use crate::shared::TaskRef;
use crate::transport::{Keepalive, TcpLink, listen};

/// Connections accepted in a row before the task yields.
const ACCEPTS_PER_TURN: usize = 32;

/// Pause after the first accept that failed for lack of file descriptors or memory. It doubles up
/// to `MAX_ACCEPT_PAUSE`. Meanwhile connections wait in the kernel's backlog.
const MIN_ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Ports tried to find one that is free for both IPv4 and IPv6.
const MAX_PORT_ATTEMPTS: usize = 16;

/// The listening sockets of one port.
///
/// One each for IPv4 and IPv6. A socket for `[::]` alone is dual-stack, as that of a Ratman node.
/// If the same port has an IPv4 socket as well, it is IPv6-only: both could not bind the port
/// otherwise.
#[derive(Debug)]
pub(crate) struct Server {
    /// Invariant: at least one is `Some`; if both are, they have the same port.
    ipv4_listen: Option<Async<TcpListener>>,
    ipv6_listen: Option<Async<TcpListener>>,
}

impl Server {
    /// Opens the sockets for `addrs`, in order. Returns one server for each port.
    ///
    /// The system chooses a port for 0, the same for IPv4 and IPv6 where both request one. An
    /// unspecified IPv6 address is skipped if the machine has no IPv6 and another address is left.
    pub(crate) fn bind(addrs: &[SocketAddr]) -> Result<Vec<Server>, StartError> {
        bind_with(&listen, addrs)
    }

    /// Creates a server from a listener that the caller opened.
    pub(crate) fn from_std(listener: TcpListener) -> Result<Server, StartError> {
        let is_v6 = listener.local_addr().map_err(StartError::Socket)?.is_ipv6();
        let listener = Some(Async::new(listener).map_err(StartError::Socket)?);
        Ok(match is_v6 {
            true => Server { ipv4_listen: None, ipv6_listen: listener },
            false => Server { ipv4_listen: listener, ipv6_listen: None },
        })
    }

    /// Returns the port that the sockets listen on.
    pub(crate) fn port(&self) -> Option<u16> {
        self.local_addrs().first().map(SocketAddr::port)
    }

    /// Returns the addresses that the sockets listen on.
    pub(crate) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners().filter_map(|listener| listener.get_ref().local_addr().ok()).collect()
    }

    fn listeners(&self) -> impl Iterator<Item = &Async<TcpListener>> {
        self.ipv6_listen.iter().chain(&self.ipv4_listen)
    }

    /// Spawns the accept loops, which run until the endpoint stops.
    pub(crate) fn run(self, running: &Arc<TaskRef>) {
        for listener in self.ipv4_listen.into_iter().chain(self.ipv6_listen) {
            let accept_loop = AcceptLoop { listener, running: running.clone() };
            running.spawn(async move { accept_loop.run().await });
        }
    }
}

/// An accept loop: its socket, and a reference that keeps the endpoint running.
///
/// Invariant: the socket is dropped first. A task that waits for the end of the endpoint may reuse
/// the port.
struct AcceptLoop {
    listener: Async<TcpListener>,
    running: Arc<TaskRef>,
}

impl AcceptLoop {
    async fn run(&self) {
        let accepting = accept(&self.running, &self.listener);
        future::or(accepting, self.running.stopping()).await;
    }
}

/// Opens a listening socket; the flag makes an IPv6 socket IPv6-only.
type Listen<'a> = &'a dyn Fn(SocketAddr, bool) -> io::Result<TcpListener>;

fn bind_with(listen: Listen<'_>, addrs: &[SocketAddr]) -> Result<Vec<Server>, StartError> {
    // Sockets kept open between attempts, so that the system chooses another port each time.
    let mut retained: Vec<Vec<Server>> = Vec::new();
    loop {
        let mut servers = Vec::new();
        match bind_all(listen, addrs, &mut servers) {
            // The port chosen for one family is in use for the other: try again with another one.
            Err(StartError::Bind { addr, source })
                if source.kind() == io::ErrorKind::AddrInUse
                    && !addrs.contains(&addr)
                    && retained.len() < MAX_PORT_ATTEMPTS =>
            {
                servers.retain(|server| server.is_ephemeral(addrs));
                retained.push(servers);
            }
            done => return done.map(|()| servers),
        }
    }
}

fn bind_all(
    listen: Listen<'_>,
    addrs: &[SocketAddr],
    servers: &mut Vec<Server>,
) -> Result<(), StartError> {
    let mut skipped = Ok(());
    for addr in addrs {
        let only_v6 = addrs.iter().any(|other| other.is_ipv4() && other.port() == addr.port());
        let mut addr = *addr;
        if addr.port() == 0 {
            addr.set_port(free_port(addr, addrs, servers).unwrap_or(0));
        }
        match bind_one(listen, addr, only_v6, servers) {
            Err(error) if error.is_ipv6_unavailable() => skipped = Err(error),
            done => done?,
        }
    }
    if servers.is_empty() { skipped } else { Ok(()) }
}

/// Opens one socket and adds it to the server with the same port, if there is one.
fn bind_one(
    listen: Listen<'_>,
    addr: SocketAddr,
    only_v6: bool,
    servers: &mut Vec<Server>,
) -> Result<(), StartError> {
    let failed = |source| StartError::Bind { addr, source };
    let new = Server::from_std(listen(addr, only_v6).map_err(failed)?)?;
    let partner = servers.iter_mut().find(|server| server.can_join(&new));
    match partner {
        Some(server) => {
            server.ipv4_listen = server.ipv4_listen.take().or(new.ipv4_listen);
            server.ipv6_listen = server.ipv6_listen.take().or(new.ipv6_listen);
        }
        None => servers.push(new),
    }
    Ok(())
}

/// Returns the port that the system chose for a server that still lacks the family of `addr`.
fn free_port(addr: SocketAddr, requested: &[SocketAddr], servers: &[Server]) -> Option<u16> {
    let lacks = |server: &&Server| match addr.is_ipv6() {
        true => server.ipv6_listen.is_none(),
        false => server.ipv4_listen.is_none(),
    };
    servers
        .iter()
        .filter(|server| server.is_ephemeral(requested))
        .find(lacks)
        .and_then(Server::port)
}

impl Server {
    /// Returns whether the system chose the port: none of the requested addresses has it.
    fn is_ephemeral(&self, requested: &[SocketAddr]) -> bool {
        !requested.iter().any(|addr| Some(addr.port()) == self.port())
    }

    /// Returns whether `other` has the same port, and the address family that this one lacks.
    fn can_join(&self, other: &Server) -> bool {
        self.port() == other.port()
            && self.ipv4_listen.is_some() != other.ipv4_listen.is_some()
            && self.ipv6_listen.is_some() != other.ipv6_listen.is_some()
    }
}

/// Accepts connections forever.
async fn accept(running: &Arc<TaskRef>, listener: &Async<TcpListener>) {
    let mut wait = MIN_ACCEPT_PAUSE;
    let mut accepted = 0;
    loop {
        match listener.get_ref().accept() {
            Ok((stream, addr)) => {
                on_accept(running, stream, addr);
                (wait, accepted) = (MIN_ACCEPT_PAUSE, accepted + 1);
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

/// Returns whether an accept error concerns only that connection, not this node.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted)
}

/// Emits an event on the first failure, and then once per attempt at the longest pause; then waits.
async fn pause(
    running: &TaskRef,
    listener: &Async<TcpListener>,
    error: &io::Error,
    wait: &mut Duration,
) {
    let addr = listener.get_ref().local_addr().ok();
    if *wait == MIN_ACCEPT_PAUSE || *wait == MAX_ACCEPT_PAUSE {
        running.events.emit(Event::AcceptFailed { addr, reason: error.to_string() });
    }
    clock::after(*wait).await;
    *wait = (*wait * 2).min(MAX_ACCEPT_PAUSE);
}

/// Converts an IPv4-mapped IPv6 address to IPv4, for display and for the accept policy. Other
/// addresses keep their zone, without which a link-local address cannot be dialed.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, addr.port()).into(),
        IpAddr::V6(_) => addr,
    }
}

/// Spawns a handshake task for an inbound stream that the accept policy admits by address.
fn on_accept(running: &Arc<TaskRef>, stream: TcpStream, addr: SocketAddr) {
    let addr = canonical(addr);
    if !running.admits_addr(addr) {
        return running.events.dropped(Some(addr), DropReason::NotAllowed);
    }
    let prepared = Async::new(stream)
        .and_then(|stream| TcpLink::new(stream, Keepalive::new(&running.limits)))
        .map_err(|error| DropReason::Handshake(error.into()));
    match prepared {
        Ok(stream) => running.spawn(handle_stream(running.clone(), Arc::new(stream), addr)),
        Err(reason) => running.events.dropped(Some(addr), reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ports(servers: &[Server]) -> Vec<u16> {
        servers.iter().filter_map(Server::port).collect()
    }

    #[test]
    fn a_port_in_use_for_the_other_family_is_replaced() {
        let in_use = RefCell::new(Vec::new());
        let listen_busy = |addr: SocketAddr, only_v6| {
            if addr.is_ipv6() && in_use.borrow().len() < 5 {
                in_use.borrow_mut().push(addr.port());
                return Err(io::ErrorKind::AddrInUse.into());
            }
            listen(addr, only_v6)
        };
        let [fixed] = ports(&bind_with(&listen, &addrs(&["127.0.0.1:0"])).unwrap())[..] else {
            panic!("one port");
        };
        let fixed = format!("127.0.0.1:{fixed}");
        let servers = bind_with(&listen_busy, &addrs(&[&fixed, "127.0.0.2:0", "[::1]:0"])).unwrap();
        assert_eq!(servers.iter().flat_map(Server::local_addrs).count(), 3);
        assert_eq!(servers.len(), 2, "both families share a port");
        let mut tried = in_use.into_inner();
        tried.extend(ports(&servers));
        tried.sort_unstable();
        tried.dedup();
        assert_eq!(tried.len(), 5 + 2, "another port each time");
    }

    #[test]
    fn a_family_without_any_free_port_is_an_error() {
        let listen_v4 = |addr: SocketAddr, only_v6| match addr.is_ipv6() {
            true => Err(io::ErrorKind::AddrInUse.into()),
            false => listen(addr, only_v6),
        };
        let error = bind_with(&listen_v4, &addrs(&["127.0.0.1:0", "[::1]:0"])).unwrap_err();
        assert!(error.to_string().starts_with("cannot listen on [::1]:"), "{error}");
    }

    #[test]
    fn without_ipv6_its_addresses_are_skipped_if_others_are_left() {
        let listen_without_v6 = |addr: SocketAddr, only_v6| match addr.is_ipv6() {
            true => Err(rustix::io::Errno::AFNOSUPPORT.into()),
            false => listen(addr, only_v6),
        };
        let servers = bind_with(&listen_without_v6, &addrs(&["[::]:0", "127.0.0.1:0"])).unwrap();
        assert_eq!(servers.len(), 1);
        for binds in [&["[::]:0", "[::]:1"][..], &["[::]:0"]] {
            let error = bind_with(&listen_without_v6, &addrs(binds)).unwrap_err();
            assert!(error.is_ipv6_unavailable(), "{error}");
            assert!(error.to_string().contains("[::]:"), "{error}");
        }
        let error = bind_with(&listen_without_v6, &addrs(&["[::1]:0", "127.0.0.1:0"])).unwrap_err();
        assert!(!error.is_ipv6_unavailable(), "it was requested explicitly: {error}");
    }

    #[test]
    fn ipv4_mapped_addresses_are_shown_as_ipv4() {
        for (from, shown) in [
            ("[::ffff:10.0.0.1]:9", "10.0.0.1:9"),
            ("10.0.0.1:9", "10.0.0.1:9"),
            ("[2001:db8::1]:9", "[2001:db8::1]:9"),
            ("[fe80::1%3]:9", "[fe80::1%3]:9"),
        ] {
            assert_eq!(canonical(from.parse().unwrap()), shown.parse().unwrap());
        }
    }
}
