//! The lanes of an outbound queue: frames that wait for credit, those that are forwarded apart from
//! those that the router sends itself.
//!
//! Frames enter the send buffer, whose order is that on the wire, only as far as the credit of the
//! remote lasts. What the router sends itself leaves the remainder of the credit to forwarded
//! frames. Without it, routers in a ring that all send as much as they can would fill each other's
//! windows with frames on their first hop, and none of them could take its second. This is *bubble
//! flow control*, known from networks on chips.

use crate::peer::recv::permit::Permit;
use crate::peer::send::send_buffer::SendBuffer;
use crate::primitives::lazy_box::StaticDefault;

/// What an outbound queue holds beside its send buffer.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(super) own: SendBuffer,
    pub(super) forwarded: SendBuffer,
    /// Whether `own` is served next. Both alternate while there is credit for both.
    pub(super) is_own_next: bool,
    /// What waits for this peer, or for its acknowledgement, of each peer that it came from. By
    /// [`Permit::ingress`].
    pub(super) waiting: Vec<(usize, usize)>,
}

impl StaticDefault for Lanes {
    const DEFAULT: &'static Lanes = &Lanes {
        own: SendBuffer::EMPTY,
        forwarded: SendBuffer::EMPTY,
        is_own_next: false,
        waiting: Vec::new(),
    };
}

impl Lanes {
    /// Whether no frame waits for credit.
    pub(crate) fn is_idle(&self) -> bool {
        self.own.is_empty() && self.forwarded.is_empty()
    }

    /// Number of frames that wait for credit, and their cost.
    pub(super) fn size(&self) -> (usize, usize) {
        add(self.own.size(), self.forwarded.size())
    }

    /// Adds what frames take of the window of the peer that they came from. Returns how much waits of
    /// that one now.
    pub(super) fn add_waiting(&mut self, ingress: usize, cost: usize) -> usize {
        match self.waiting.iter_mut().find(|(other, _)| *other == ingress) {
            Some((_, waiting)) => {
                *waiting += cost;
                *waiting
            }
            None => {
                self.waiting.push((ingress, cost));
                cost
            }
        }
    }

    pub(super) fn sub_waiting(&mut self, permit: &Permit) {
        let ingress = permit.ingress();
        if let Some(at) = self.waiting.iter().position(|(other, _)| *other == ingress) {
            let waiting = &mut self.waiting[at].1;
            *waiting = waiting.saturating_sub(permit.cost());
            if *waiting == 0 {
                self.waiting.swap_remove(at);
            }
        }
    }
}

pub(super) fn add(one: (usize, usize), other: (usize, usize)) -> (usize, usize) {
    (one.0 + other.0, one.1 + other.1)
}
