//! The parts of the process's open files that inbound connections may use.

use rustix::process::{Resource, getrlimit};

use crate::config::Limits;

/// How many inbound connections there may be.
///
/// Half of the limit on open files is for inbound peers and a quarter for inbound handshakes. The
/// rest is a reserve that no inbound connection can use: for dialing, for lookups and listeners,
/// and for what else the process opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileShares {
    pub(super) peers: usize,
    /// Inbound peers from addresses that this node dials, with all others: only the remote node may
    /// be able to connect. In files this is part of the reserve.
    pub(super) with_configured: usize,
    pub(super) handshakes: usize,
    /// Handshakes of one host: an IPv4 address or an IPv6 /64.
    pub(super) handshakes_per_host: usize,
}

impl FileShares {
    /// The shares under the present soft limit of the process.
    pub(super) fn now(limits: &Limits) -> FileShares {
        let files = getrlimit(Resource::Nofile).current;
        let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
        FileShares::of(files, limits)
    }

    fn of(files: usize, limits: &Limits) -> FileShares {
        let share = |divisor: usize| (files / divisor).max(1);
        FileShares {
            peers: limits.peers.min(share(2)),
            with_configured: (2 * limits.peers).min(share(2) + share(8)),
            handshakes: limits.max_handshakes.min(share(4)),
            handshakes_per_host: limits.max_handshakes_per_addr.min(share(8)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_together_with_few_files() {
        let limits = Limits::default();
        let few = FileShares::of(1024, &limits);
        assert_eq!((few.peers, few.handshakes, few.handshakes_per_host), (512, 256, 128));
        for files in [0, 1, 16, 64, 1024, 1 << 20, usize::MAX] {
            let FileShares { peers, with_configured, handshakes, handshakes_per_host } =
                FileShares::of(files, &limits);
            assert!(peers > 0 && handshakes > 0 && handshakes_per_host > 0);
            assert!(peers <= limits.peers && handshakes <= limits.max_handshakes);
            assert!(files < 8 || peers + handshakes <= files - files / 4);
            assert!(files < 8 || with_configured + handshakes <= files - files / 8);
            assert!(with_configured > peers);
        }
    }
}
