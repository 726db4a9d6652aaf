//! Liveness monitor: detects that the remote of an extended link is gone, and that of any link stuck
//! inside a frame.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::error::DownReason;
use crate::peer::Peer;
use crate::peer::recv::partial_frame::PartialFrame;
use crate::primitives::clock;
use crate::transport::Link;

/// Interval at which a monitored link is checked. An idle link is not monitored.
const TICK: Duration = Duration::from_secs(1);

/// Ticks between two `paused` notices, while the local node does not read.
const PAUSED_INTERVAL: u32 = 2;

/// Shortest silence after which the remote is pinged, while it owes an acknowledgement.
const MIN_SILENCE: Duration = Duration::from_secs(5);

/// The same in smoothed round trips. The longer of the two applies.
const ROUND_TRIPS: u32 = 4;

/// Further silences of that length, after the first ping, before the link is given up. With a
/// round trip of 2 s and a loss of one packet in twenty, TCP itself stalls for a dozen seconds now
/// and then. A link that makes progress must not be dropped.
const MAX_UNANSWERED: u32 = 2;

/// Silence after which a link is given up that is being probed, because the remote was seen
/// elsewhere or the peer was kicked.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Monitors a link. Completes when the remote of an extended link is silent for too long though it
/// owes an acknowledgement, or acknowledges nothing for much longer. Any received byte counts as
/// activity, and only acknowledgements as progress. Plain links are monitored by TCP keepalive. Both
/// are given up if they stay inside a frame for too long.
///
/// The task of the link polls this after its reader and its writer, so it needs no waker to notice
/// that the link has to be monitored.
pub(crate) fn run_monitor<'a>(
    peer: &'a Peer,
    link: &'a Link,
) -> impl Future<Output = DownReason> + Send + Unpin + use<'a> {
    let mut running = None;
    poll_fn(move |cx: &mut Context<'_>| {
        while running.is_some() || needs_monitor(peer, link) {
            // Boxed, so that an idle link does not hold the memory of this future.
            let monitor = running.get_or_insert_with(|| Box::pin(monitor(peer, link)));
            if let Some(reason) = ready!(monitor.as_mut().poll(cx)) {
                return Poll::Ready(reason);
            }
            running = None;
        }
        Poll::Pending
    })
}

fn needs_monitor(peer: &Peer, link: &Link) -> bool {
    let is_needed = link.is_extended() && peer.queue.arm_monitor().is_needed();
    is_needed || link.is_inside_frame()
}

/// Monitors the link until no acknowledgement is owed any more and it is not inside a frame. Returns
/// the reason if the link is to be given up.
async fn monitor(peer: &Peer, link: &Link) -> Option<DownReason> {
    let mut partial = PartialFrame::default();
    let mut progress = peer.queue.ack_progress();
    let mut last_activity = link.activity();
    let mut silence = Duration::ZERO;
    let mut is_probing = peer.queue.liveness_inputs().is_probing;
    for tick in 1u32.. {
        tick_or_probe(peer, is_probing).await;
        let inputs = peer.queue.arm_monitor();
        if inputs.is_probing && !is_probing {
            // Activity before the probe started does not count.
            last_activity = link.activity();
            (is_probing, silence) = (true, Duration::ZERO);
            continue;
        }
        is_probing = inputs.is_probing;
        let is_needed = link.is_extended() && inputs.is_needed();
        if is_needed && inputs.is_backpressured && tick % PAUSED_INTERVAL == 0 {
            peer.queue.queue_paused();
        }
        // While the local node does not read, it receives neither frames nor acknowledgements.
        if !inputs.is_backpressured {
            peer.queue.sample_progress(&mut progress);
            let stall = progress.stall().map(DownReason::NoProgress);
            let slow = || sample_partial(&mut partial, link).map(DownReason::SlowFrame);
            if let Some(reason) = stall.or_else(slow) {
                return Some(reason);
            }
        }
        match is_needed {
            true => {}
            false if link.is_inside_frame() => continue,
            false => return None,
        }
        let activity = link.activity();
        // Without reading, the local node cannot tell whether the remote is alive.
        if activity != last_activity || inputs.is_backpressured {
            (last_activity, silence, is_probing) = (activity, Duration::ZERO, false);
            peer.queue.clear_probe();
            continue;
        }
        silence += TICK;
        if inputs.is_probing {
            let rtt = peer.queue.round_trip().unwrap_or_default();
            if silence >= PROBE_TIMEOUT.max(2 * rtt) {
                return Some(DownReason::PeerTimeout(silence));
            }
            continue;
        }
        let limit = peer.queue.round_trip().unwrap_or_default() * ROUND_TRIPS;
        // The reply to a ping comes behind the frames that are on their way.
        let limit = limit.max(MIN_SILENCE).max(progress.transfer_time());
        if silence >= limit * (1 + MAX_UNANSWERED) {
            return Some(DownReason::PeerTimeout(silence));
        }
        if silence >= limit {
            peer.queue.queue_ping();
        }
    }
    None
}

/// Samples the frame that is being received. Returns how long it has taken if that is too long.
fn sample_partial(partial: &mut PartialFrame, link: &Link) -> Option<Duration> {
    let read_buffer = link.read_buffer();
    partial.sample(read_buffer.consumed, link.partial_bytes(&read_buffer))
}

/// Waits for a tick, or until a probe starts if none is running.
fn tick_or_probe(peer: &Peer, is_probing: bool) -> impl Future<Output = ()> + Send {
    let mut tick = clock::after(TICK);
    poll_fn(move |cx: &mut Context<'_>| {
        let is_due = Pin::new(&mut tick).poll(cx).is_ready();
        match is_due || (!is_probing && peer.queue.liveness_inputs().is_probing) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Admission;
    use crate::peer::recv::test_support::{LinkedReader, message};
    use crate::peer::send::test_support::{ID, LinkedPeer};
    use crate::proto::Frame;
    use crate::testing::kit::manual_clock::Clock;
    use crate::testing::kit::pipe::TestWaker;
    use std::sync::atomic::Ordering;

    const SECOND: Duration = Duration::from_secs(1);

    /// An extended link to which frames with payloads of these sizes were written.
    fn linked(payloads: &[usize]) -> LinkedPeer {
        let mut linked = LinkedPeer::new(true);
        for payload in payloads {
            let frame = Frame::builder(8, ID).payload(vec![7; *payload]).build().unwrap();
            linked.peer.push(frame, Admission::Bounded).unwrap();
            while linked.peer.queue.lock().buffer.has_unwritten() {
                assert!(!linked.run_writer());
            }
        }
        linked
    }

    /// Monitors the link while `each` happens every second. Returns the seconds after which the
    /// link is given up, and why. `None` if it is not, within an hour.
    fn given_up(linked: &LinkedPeer, each: impl Fn(u64)) -> Option<(u64, DownReason)> {
        let clock = Clock::install();
        let mut monitor = std::pin::pin!(run_monitor(&linked.peer, &linked.link));
        let waker = TestWaker::new();
        assert!(waker.poll(monitor.as_mut()).is_none());
        (1..3600).find_map(|second| {
            each(second);
            clock.advance(SECOND);
            waker.poll(monitor.as_mut()).map(|reason| (second, reason))
        })
    }

    /// The remote sends something, for example that its reader has paused.
    fn send(linked: &LinkedPeer) {
        linked.link.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Regression: a remote that read everything, and said that it was held up, kept its queue for
    /// as long as it liked.
    #[test]
    fn activity_without_acknowledgements_is_no_progress() {
        let linked = linked(&[1_000, 1_000]);
        let (second, reason) = given_up(&linked, |_| send(&linked)).unwrap();
        assert_eq!(second, 60);
        assert!(matches!(reason, DownReason::NoProgress(stall) if stall == 60 * SECOND));
    }

    #[test]
    fn a_remote_that_acknowledges_within_a_minute_is_kept() {
        let linked = linked(&[1_000; 61]);
        let acknowledge = |second: u64| {
            send(&linked);
            if second % 59 == 0 {
                linked.peer.queue.acknowledge(second / 59, None).unwrap();
            }
        };
        assert!(given_up(&linked, acknowledge).is_none());
        assert_eq!(linked.peer.queue.size().0, 0);
    }

    /// The largest frames at 1 kB/s: each takes 65 s, in which the remote cannot answer a ping.
    #[test]
    fn a_slow_path_gets_the_time_that_a_large_frame_takes() {
        let linked = linked(&[Frame::MAX_LEN - Frame::MIN_LEN - 192; 10]);
        let acknowledge = |second: u64| {
            if second % 65 == 0 && second <= 650 {
                send(&linked);
                linked.peer.queue.acknowledge(second / 65, None).unwrap();
            }
        };
        assert!(given_up(&linked, acknowledge).is_none());
        assert_eq!(linked.peer.queue.size().0, 0);
    }

    /// Reads from a link of either kind, whose remote sends the bytes of `flow`, `rate` of them
    /// every second. Returns the second in which the link is given up, if it is.
    fn given_up_inside_frame(is_extended: bool, flow: &[u8], rate: usize) -> Option<u64> {
        let clock = Clock::install();
        let mut reader = LinkedReader::new(1 << 20, is_extended);
        let (peer, link) = (reader.peer.clone(), reader.link.clone());
        peer.link_up(ID, &link);
        let mut monitor = std::pin::pin!(run_monitor(&peer, &link));
        let waker = TestWaker::new();
        let mut chunks = flow.chunks(rate);
        (1..400).find(|_| {
            reader.receive(chunks.next().unwrap_or_default(), 1);
            assert!(reader.run().is_none());
            while reader.inbound.try_next().unwrap().is_some() {}
            let reason = waker.poll(monitor.as_mut());
            let is_slow = matches!(reason, Some(DownReason::SlowFrame(_)));
            assert!(is_slow || reason.is_none(), "{reason:?}");
            clock.advance(SECOND);
            is_slow
        })
    }

    /// Regression: strangers that stopped inside a frame stayed for as long as they liked.
    #[test]
    fn a_remote_that_stays_inside_a_frame_is_given_up() {
        let (small, large) = (message(8, 9), message(8, 60_000));
        for is_extended in [false, true] {
            let given_up = |flow: &[u8], rate| given_up_inside_frame(is_extended, flow, rate);
            assert_eq!(given_up(&large[..1], 1), Some(62));
            assert_eq!(given_up(&large[..50_000], 50_000), Some(197), "256 B/s for 195 s");
            assert_eq!(given_up(&large, 250), Some(62));
            assert_eq!(given_up(&large, 260), None, "slow is no crime");
            // Inside of another frame every second.
            assert_eq!(given_up(&small.repeat(500), small.len() + 1), None);
        }
    }

    #[test]
    fn a_link_between_two_frames_has_no_timer() {
        let clock = Clock::install();
        let mut reader = LinkedReader::new(1 << 20, false);
        let (peer, link) = (reader.peer.clone(), reader.link.clone());
        let mut monitor = std::pin::pin!(run_monitor(&peer, &link));
        let waker = TestWaker::new();
        let frame = message(8, 9);
        for (bytes, has_timer) in [(&frame[..], false), (&frame[..9], true), (&frame[9..], false)] {
            reader.receive(bytes, 1);
            assert!(reader.run().is_none());
            clock.advance(SECOND);
            assert!(waker.poll(monitor.as_mut()).is_none());
            assert_eq!(clock.next().is_some(), has_timer);
        }
    }

    #[test]
    fn a_silent_remote_is_given_up_after_three_silences() {
        let linked = linked(&[1_000]);
        let (second, reason) = given_up(&linked, |_| {}).unwrap();
        assert_eq!(second, 15);
        assert!(matches!(reason, DownReason::PeerTimeout(silence) if silence == 15 * SECOND));
    }
}
