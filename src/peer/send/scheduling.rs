//! Scheduling: which frames of a queue enter its send buffer, and when.

use crate::peer::recv::permit::Permit;
use crate::peer::send::lanes::add;
use crate::peer::send::segment::Segment;
use crate::peer::send::send_buffer::SendBuffer;
use crate::peer::send::state::SendState;

impl SendState {
    /// The buffer for a new frame: the send buffer, or a lane if it has to wait for credit.
    #[inline]
    pub(crate) fn buffer_for(&mut self, is_forwarded: bool) -> &mut SendBuffer {
        let waits = !self.lanes.is_empty() && !self.lanes.is_idle();
        if waits || !self.has_credit_for(is_forwarded) {
            let lanes = self.lanes.get_or_allocate();
            return if is_forwarded { &mut lanes.forwarded } else { &mut lanes.own };
        }
        &mut self.buffer
    }

    /// Whether the send buffer may take one more frame.
    #[inline]
    fn has_credit_for(&self, is_forwarded: bool) -> bool {
        let kept = if is_forwarded { 0 } else { self.bubble() };
        self.uncommitted_credit() > kept
    }

    /// Moves frames from the lanes to the send buffer, as far as the credit lasts.
    #[inline]
    pub(crate) fn fill_buffer(&mut self) {
        // What the router sends itself waits for credit most of the time.
        if !self.lanes.is_empty() && (self.has_credit_for(false) || !self.waits_only_own()) {
            self.fill_from_lanes();
        }
    }

    /// Whether only frames that the router sends itself wait for credit.
    fn waits_only_own(&self) -> bool {
        !self.lanes.own.is_empty() && self.lanes.forwarded.is_empty()
    }

    fn fill_from_lanes(&mut self) {
        while !self.lanes.is_idle() {
            let (has_own, is_own_next) = (!self.lanes.own.is_empty(), self.lanes.is_own_next);
            let is_forwarded = match self.lanes.forwarded.is_empty() {
                true => false,
                false => !(has_own && is_own_next && self.has_credit_for(false)),
            };
            if !self.has_credit_for(is_forwarded) {
                return;
            }
            let kept = if is_forwarded { 0 } else { self.bubble() };
            let credit = self.uncommitted_credit() - kept;
            let lanes = self.lanes.get_or_allocate();
            let (lane, other) = match is_forwarded {
                true => (&mut lanes.forwarded, &lanes.own),
                false => (&mut lanes.own, &lanes.forwarded),
            };
            if !lane.move_within(credit, &mut self.buffer, other.is_empty()) {
                return;
            }
            lanes.is_own_next = is_forwarded;
        }
        self.drop_idle_lanes();
    }

    /// Returns all frames of the send buffer, none of which the remote has received, to the lanes:
    /// a new session begins with another credit.
    pub(crate) fn empty_buffer(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut self.buffer);
        let lanes = self.lanes.get_or_allocate();
        let (mut own, mut forwarded) = (SendBuffer::default(), SendBuffer::default());
        while let Some(segment) = before.pop(usize::MAX) {
            let lane = if segment.is_forwarded() { &mut forwarded } else { &mut own };
            lane.push_segment(segment);
        }
        own.append(&mut lanes.own);
        forwarded.append(&mut lanes.forwarded);
        (lanes.own, lanes.forwarded) = (own, forwarded);
    }

    /// Takes over all frames of another queue, behind its own.
    pub(crate) fn append_all(&mut self, other: &mut SendState) {
        other.empty_buffer();
        let Some(mut theirs) = other.lanes.take() else { return };
        let lanes = self.lanes.get_or_allocate();
        lanes.own.append(&mut theirs.own);
        lanes.forwarded.append(&mut theirs.forwarded);
        for (ingress, cost) in theirs.waiting {
            lanes.add_waiting(ingress, cost);
        }
    }

    /// Removes all frames from the lanes.
    pub(crate) fn pop_waiting(&mut self) -> Vec<Segment> {
        let mut segments = Vec::new();
        if let Some(lanes) = self.lanes.get_mut() {
            for lane in [&mut lanes.own, &mut lanes.forwarded] {
                segments.extend(std::iter::from_fn(|| lane.pop(usize::MAX)));
            }
        }
        segments
    }

    /// Evicts the oldest frames of the lanes that take memory of the budget, until that frees `bytes`
    /// bytes, or none is left.
    pub(crate) fn shed_waiting(&mut self, bytes: usize) -> Vec<Segment> {
        let Some(lanes) = self.lanes.get_mut() else { return Vec::new() };
        let mut shed = lanes.own.shed(0, bytes);
        let freed: usize = shed.iter().map(Segment::freed_bytes).sum();
        shed.append(&mut lanes.forwarded.shed(0, bytes.saturating_sub(freed)));
        shed
    }

    /// Whether there are unwritten frames.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.buffer.has_unwritten() || !self.lanes.is_idle()
    }

    /// Number of frames, and their cost.
    pub(crate) fn size(&self) -> (usize, usize) {
        add(self.buffer.size(), self.lanes.size())
    }

    /// Number of the frames that take no part of a window, and their cost.
    #[inline]
    pub(crate) fn own_size(&self) -> (usize, usize) {
        if self.lanes.is_empty() {
            return self.buffer.own_size();
        }
        let lanes = add(self.lanes.own.size(), self.lanes.forwarded.own_size());
        add(self.buffer.own_size(), lanes)
    }

    /// Number of the frames that are floods, and their cost.
    pub(crate) fn flood_size(&self) -> (usize, usize) {
        add(self.buffer.flood_size(), self.lanes.own.flood_size())
    }

    /// Whether too much waits for this peer of the one that the permit belongs to.
    pub(crate) fn is_clogged(&self, permit: &Permit) -> bool {
        let of_peer = self.lanes.waiting.iter().find(|(other, _)| *other == permit.ingress());
        of_peer.is_some_and(|(_, waiting)| waiting + permit.cost() > permit.max_waiting())
    }

    /// Counts a forwarded frame that enters the queue.
    ///
    /// The peer that it came from may send no more once its window is used up by such frames. So an
    /// acknowledgement is requested when they take a quarter of it: it must not wait for the delayed
    /// one.
    pub(crate) fn count_forwarded(&mut self, permit: &Permit) {
        let (ingress, cost) = (permit.ingress(), permit.cost());
        let waiting = self.lanes.get_or_allocate().add_waiting(ingress, cost);
        if waiting >= permit.max_waiting() / 2 {
            self.request_ack();
        }
    }

    /// Takes what the permits cover of all forwarded frames for which `reserve` reserves memory
    /// instead. It must be dropped after the lock. The frames stay in their lane, and in order.
    pub(crate) fn take_permits(&mut self, mut reserve: impl FnMut(usize) -> bool) -> Vec<Permit> {
        let mut permits = self.buffer.take_permits(&mut reserve);
        if let Some(lanes) = self.lanes.get_mut() {
            permits.append(&mut lanes.forwarded.take_permits(&mut reserve));
            permits.iter().for_each(|permit| lanes.sub_waiting(permit));
            self.drop_idle_lanes();
        }
        permits
    }

    /// Counts segments that left the queue.
    pub(crate) fn uncount_forwarded(&mut self, segments: &[Segment]) {
        if let Some(lanes) = self.lanes.get_mut() {
            segments.iter().filter_map(Segment::permit).for_each(|one| lanes.sub_waiting(one));
            self.drop_idle_lanes();
        }
    }

    /// Frees the memory of lanes that hold nothing.
    fn drop_idle_lanes(&mut self) {
        if self.lanes.is_idle() && self.lanes.waiting.is_empty() {
            self.lanes.take();
        }
    }
}

#[cfg(test)]
mod tests;
