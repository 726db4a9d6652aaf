//! Bounds on the memory that an endpoint accounts for.

use crate::peer::Origin;
use crate::peer::recv::batch::MAX_FRAME_COST;
use crate::peer::recv::receive_pool::MIN_WINDOW;
use crate::primitives::clock;
use crate::shared::Shared;

/// Bytes that an endpoint accounts for.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Usage {
    /// Received frames that were not released yet, of the peer that takes the largest part of its
    /// window, in percent of that. Frames that began within the credit count in full.
    pub(super) window_percent: usize,
    /// What the frames of strangers take.
    pub(super) strangers: usize,
    /// What the outbound queues take of their budget.
    pub(super) outbound: usize,
}

impl Usage {
    /// Measures what an endpoint holds, and checks what holds whatever its peers do. `beyond` is what
    /// a peer may have sent beyond its credit before that is noticed.
    pub(super) fn of(shared: &Shared, beyond: usize) -> Usage {
        let (limits, pool) = (&shared.limits, shared.inbound.pool());
        let mut usage = Usage {
            window_percent: 0,
            strangers: pool.strangers().used(),
            outbound: shared.budget.used(),
        };
        let (mut forwarded, mut windows, mut peers) = (0, 0, 0);
        // The windows of peers that may have come as strangers, and rose in a merge.
        let mut risen = 0;
        shared.for_each_peer(|peer| {
            let (window, all, own) =
                (peer.queue.window(), peer.queue.size(), peer.queue.own_size());
            (forwarded, windows, peers) = (forwarded + all.1 - own.1, windows + window, peers + 1);
            if peer.origin() == Origin::Accepted && peer.is_dialed() {
                risen += window;
            }
            let held = peer.inbox().map_or(0, |inbox| inbox.held());
            if peer.queue.is_extended() {
                let most = window + MAX_FRAME_COST + beyond;
                let target = peer.target();
                assert!(held <= most, "{held} bytes of {target} in a window of {window}");
                usage.window_percent = usage.window_percent.max(held * 100 / window.max(1));
            }
        });
        assert!(usage.outbound <= limits.total_queue_bytes, "{usage:?}");
        let reserve = limits.inbound_bytes / 2 + peers * MIN_WINDOW + risen;
        assert!(pool.promised() <= reserve, "{} of {reserve} bytes are promised", pool.promised());
        // A small frame costs more in a queue than in a window. Frames that were queued while the
        // link was down take memory of the budget instead.
        let under_way = 2 * (windows + peers * MAX_FRAME_COST) + usage.outbound;
        assert!(forwarded <= under_way, "{forwarded} forwarded bytes in windows of {windows}");
        usage
    }

    /// The larger of both, by part.
    pub(super) fn max(self, other: Usage) -> Usage {
        Usage {
            window_percent: self.window_percent.max(other.window_percent),
            strangers: self.strangers.max(other.strangers),
            outbound: self.outbound.max(other.outbound),
        }
    }
}

/// Asserts that an endpoint holds nothing at all.
pub(super) fn assert_released(shared: &Shared) {
    let usage = Usage::of(shared, 0);
    assert_eq!((usage.strangers, usage.outbound), (0, 0), "at {:?}", clock::now());
    shared.for_each_peer(|peer| {
        let held = peer.inbox().map_or(0, |inbox| inbox.held());
        assert_eq!((held, peer.queue.size()), (0, (0, 0)), "of {}", peer.target());
    });
}
