//! Permits: the part of a receive window that a frame takes while the router forwards it.

use std::sync::Arc;

use crate::peer::recv::inbox::Inbox;

/// The part of a peer's receive window that frames take which the router holds, or forwards.
/// Dropping it releases that part.
///
/// It must be dropped without a lock: it may wake up the reader of the peer.
#[derive(Debug)]
pub(crate) struct Permit {
    inbox: Arc<Inbox>,
    // Fits: permits are merged for the frames of a segment at most.
    cost: u32,
    is_stranger: bool,
}

impl Permit {
    pub(crate) fn new(inbox: Arc<Inbox>, cost: usize, is_stranger: bool) -> Permit {
        inbox.count_forwarded(cost);
        Permit { inbox, cost: cost as u32, is_stranger }
    }

    /// The part in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.cost as usize
    }

    /// Identifies the peer, as long as the permit lives.
    pub(crate) fn ingress(&self) -> usize {
        Arc::as_ptr(&self.inbox) as usize
    }

    /// How much of the window may wait for one peer: half of it.
    pub(crate) fn max_waiting(&self) -> usize {
        self.inbox.window() / 2
    }

    /// Whether both permits can be one.
    pub(crate) fn can_merge(&self, other: &Permit) -> bool {
        let is_alike = self.is_empty() == other.is_empty() && self.is_stranger == other.is_stranger;
        self.ingress() == other.ingress() && is_alike
    }

    /// Whether the permit covers nothing: it only marks the frames as forwarded.
    pub(crate) fn is_empty(&self) -> bool {
        self.cost == 0
    }

    /// Whether strangers, of whom it is one, have used up their memory.
    pub(crate) fn is_scarce(&self) -> bool {
        self.is_stranger && self.inbox.account().is_used_up()
    }

    /// Takes all that the permit covers.
    pub(crate) fn take(&mut self) -> Permit {
        self.split(self.cost())
    }

    /// Adds a permit, with which this one [can be merged](Permit::can_merge).
    pub(crate) fn merge(&mut self, mut other: Permit) {
        self.cost += std::mem::take(&mut other.cost);
    }

    /// Splits off a permit of `cost` bytes.
    pub(crate) fn split(&mut self, cost: usize) -> Permit {
        let cost = self.cost.min(cost as u32);
        self.cost -= cost;
        Permit { inbox: self.inbox.clone(), cost, is_stranger: self.is_stranger }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.cost > 0 {
            self.inbox.uncount_forwarded(self.cost());
            self.inbox.release(self.cost(), self.is_stranger);
        }
    }
}
