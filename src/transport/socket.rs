//! What the standard library cannot set on a socket.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{self as sys, AddressFamily, SocketType, sockopt};

use crate::config::Limits;

/// Connections that the kernel completes before we accept them. The kernel caps it at
/// `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// Probes of the kernel on a quiet link before it gives up, one every [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_PROBES: u8 = 3;

/// In seconds.
const KEEPALIVE_INTERVAL: u8 = 10;

/// What the kernel takes for the seconds before the first probe.
const KEEPALIVE_IDLE: std::ops::RangeInclusive<u64> = 1..=32_767;

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

/// How long the kernel waits on a link before it gives it up. As the kernel takes it, which is
/// smaller: every link has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keepalive {
    /// For sent bytes that are not taken, in milliseconds. With none the kernel counts probes instead.
    user_timeout: u32,
    /// Seconds of quiet before the first probe: 1 to 32 767.
    idle: u16,
    /// Seconds from one probe to the next.
    interval: u8,
    /// Probes that are not answered.
    probes: u8,
}

/// Finds out whether the other end is still there: in about 2 s on a link that was quiet, in 3 s and
/// some more, for the kernel's clock is coarse, on one that carried something a moment ago.
pub(crate) const PROBE_KEEPALIVE: Keepalive =
    Keepalive { user_timeout: 0, idle: 1, interval: 1, probes: 2 };

/// Time after which both probes of [`PROBE`] were sent, the second of them most of a second ago, and
/// the kernel is asked for its judgement. Left alone it takes 0.2 s longer.
pub(crate) const PROBE_VERDICT_AFTER: Duration = Duration::from_millis(2900);

/// Time after which [`PROBE`] has ended the link, or the other end has answered.
pub(crate) const PROBE_WINDOW: Duration = Duration::from_secs(4);

impl Keepalive {
    pub(crate) fn new(limits: &Limits) -> Keepalive {
        // Whole seconds, and a part of one counts as one.
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
