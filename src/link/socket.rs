//! What the standard library cannot set on a socket.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{self as sys, AddressFamily, SocketType, sockopt};

use crate::limits::Limits;

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

/// How long the kernel waits on a link before it gives it up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For sent bytes that are not taken. With none the kernel counts probes instead.
    user_timeout: Duration,
    /// In quiet, before the first probe.
    idle: Duration,
    /// From one probe to the next.
    interval: Duration,
    /// Probes that are not answered.
    probes: u32,
}

/// Finds out whether the other end is still there: in about 2 s on a link that was quiet, in 3 s and
/// some more, for the kernel's clock is coarse, on one that carried something a moment ago.
pub(super) const PROBE: Patience = Patience {
    user_timeout: Duration::ZERO,
    idle: Duration::from_secs(1),
    interval: Duration::from_secs(1),
    probes: 2,
};

/// Time after which both probes of [`PROBE`] were sent, the second of them most of a second ago, and
/// the kernel is asked for its judgement. Left alone it takes 0.2 s longer.
pub(crate) const JUDGED: Duration = Duration::from_millis(2900);

/// Time after which [`PROBE`] has ended the link, or the other end has answered.
pub(crate) const PROBING: Duration = Duration::from_secs(4);

impl Patience {
    pub(crate) fn new(limits: &Limits) -> Patience {
        Patience {
            user_timeout: limits.user_timeout,
            idle: limits.keepalive,
            interval: KEEPALIVE_INTERVAL,
            probes: KEEPALIVE_PROBES,
        }
    }

    pub(super) fn set(&self, stream: &TcpStream) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // The kernel takes whole seconds from 1 to 32 767 here, and milliseconds below.
            let idle = self.idle.clamp(Duration::from_secs(1), Duration::from_secs(32_767));
            let millis = u32::try_from(self.user_timeout.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(stream, millis)?;
            sockopt::set_tcp_keepcnt(stream, self.probes)?;
            sockopt::set_tcp_keepintvl(stream, self.interval)?;
            sockopt::set_tcp_keepidle(stream, idle)?;
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = (self.user_timeout, self.idle, self.interval, self.probes);
        sockopt::set_socket_keepalive(stream, true)?;
        Ok(())
    }
}
