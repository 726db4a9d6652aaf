//! What the standard library cannot set on a socket.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{self as sys, AddressFamily, SocketType, sockopt};

/// Connections that the kernel completes before we accept them. The kernel caps it at
/// `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// Probes of the kernel on a quiet link before it gives up, one every [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_PROBES: u32 = 3;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Opens a listener; one for IPv6 takes IPv4 too unless `only_v6`.
pub(crate) fn listen(addr: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = open(family)?;
    // A node that restarts must get its port back while old connections still linger.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, only_v6)?;
    }
    sys::bind(&socket, &addr)?;
    sys::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open(family: AddressFamily) -> io::Result<rustix::fd::OwnedFd> {
    // In one call, so that no child process can inherit it in between.
    Ok(sys::socket_with(family, SocketType::STREAM, sys::SocketFlags::CLOEXEC, None)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open(family: AddressFamily) -> io::Result<rustix::fd::OwnedFd> {
    let socket = sys::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

/// Sets what every link wants: no delay for small frames, and a kernel that notices on its own
/// when the other end is gone, so that a quiet link needs no timer of ours.
pub(crate) fn configure(
    stream: &TcpStream,
    keepalive: Duration,
    user_timeout: Duration,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // The kernel takes whole seconds from 1 to 32 767 here, and milliseconds below.
        let seconds =
            |time: Duration| time.clamp(Duration::from_secs(1), Duration::from_secs(32_767));
        sockopt::set_tcp_keepidle(stream, seconds(keepalive))?;
        sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
        let millis = u32::try_from(user_timeout.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(stream, millis)?;
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (keepalive, user_timeout, KEEPALIVE_PROBES, KEEPALIVE_INTERVAL);
    Ok(())
}

/// Re-arms the kernel's keepalive to find out in about 2 s whether the other end is still there.
pub(super) fn probe(stream: &TcpStream) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        const SECOND: Duration = Duration::from_secs(1);
        // With a user timeout the kernel would wait for that instead of counting probes.
        sockopt::set_tcp_user_timeout(stream, 0)?;
        sockopt::set_tcp_keepcnt(stream, 2)?;
        sockopt::set_tcp_keepintvl(stream, SECOND)?;
        sockopt::set_tcp_keepidle(stream, SECOND)?;
    }
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}
