//! Socket options that the standard library does not offer.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{self as sys, AddressFamily, SocketType, sockopt};

use crate::config::Limits;

/// Length of the accept queue. The kernel caps it at `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// Unanswered keepalive probes after which the kernel closes an idle link.
const KEEPALIVE_PROBES: u8 = 3;

/// Time between two keepalive probes, in seconds.
const KEEPALIVE_INTERVAL: u8 = 10;

/// Range that the kernel accepts for the idle time before the first probe, in seconds.
const KEEPALIVE_IDLE: std::ops::RangeInclusive<u64> = 1..=32_767;

/// Opens a listener. One for IPv6 is dual-stack unless `only_v6`.
pub(crate) fn listen(addr: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = open(family)?;
    // A restarted node must be able to rebind its port while old connections linger.
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
    // Atomically, so that no child process can inherit the socket in between.
    Ok(sys::socket_with(family, SocketType::STREAM, sys::SocketFlags::CLOEXEC, None)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open(family: AddressFamily) -> io::Result<rustix::fd::OwnedFd> {
    let socket = sys::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

/// Keepalive settings of a socket. In the kernel's units, which are smaller than a [`Duration`]:
/// every link holds a copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keepalive {
    /// `TCP_USER_TIMEOUT` for unacknowledged data, in milliseconds. 0: keepalive probes are counted
    /// instead.
    user_timeout: u32,
    /// Idle time before the first probe, in seconds: 1 to 32 767.
    idle: u16,
    /// Time between two probes, in seconds.
    interval: u8,
    /// Number of unanswered probes after which the connection is closed.
    probes: u8,
}

/// Detects a dead remote quickly: in about 2 s on a link that was idle, and in a little over 3 s,
/// since the kernel's clock is coarse, on one that was active a moment ago.
pub(crate) const PROBE_KEEPALIVE: Keepalive =
    Keepalive { user_timeout: 0, idle: 1, interval: 1, probes: 2 };

/// Time after which both probes of [`PROBE_KEEPALIVE`] have been sent, the second almost a second
/// ago, and the kernel is asked for its verdict. It would reach it on its own 0.2 s later.
pub(crate) const PROBE_VERDICT_AFTER: Duration = Duration::from_millis(2900);

/// Time after which [`PROBE_KEEPALIVE`] has closed the link, unless the remote answered.
pub(crate) const PROBE_WINDOW: Duration = Duration::from_secs(4);

impl Keepalive {
    pub(crate) fn new(limits: &Limits) -> Keepalive {
        // In whole seconds, rounded up.
        let idle = limits.keepalive.as_secs() + u64::from(limits.keepalive.subsec_nanos() > 0);
        let idle = idle.clamp(*KEEPALIVE_IDLE.start(), *KEEPALIVE_IDLE.end());
        Keepalive {
            user_timeout: u32::try_from(limits.user_timeout.as_millis()).unwrap_or(u32::MAX),
            idle: idle as u16,
            interval: KEEPALIVE_INTERVAL,
            probes: KEEPALIVE_PROBES,
        }
    }

    pub(crate) fn set(&self, stream: &TcpStream) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let seconds = |seconds: u16| Duration::from_secs(seconds.into());
            sockopt::set_tcp_user_timeout(stream, self.user_timeout)?;
            sockopt::set_tcp_keepcnt(stream, self.probes.into())?;
            sockopt::set_tcp_keepintvl(stream, seconds(self.interval.into()))?;
            sockopt::set_tcp_keepidle(stream, seconds(self.idle))?;
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = (self.user_timeout, self.idle, self.interval, self.probes);
        sockopt::set_socket_keepalive(stream, true)?;
        Ok(())
    }
}
