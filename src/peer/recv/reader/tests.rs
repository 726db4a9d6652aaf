use super::*;
use crate::peer::recv::receive_pool::MAX_WINDOW;
use crate::peer::recv::test_support::{LinkedReader, message};
use crate::proto::{Frame, LENGTH_PREFIX};
use crate::testing::kit::manual_clock::Clock;
#[cfg(feature = "noise")]
use crate::{
    proto::{Extension, Id, encode_length},
    transport::Stream,
};
use futures_lite::future::block_on;

const POOL: usize = 4 << 20;

/// The most that one read brings.
const READ: usize = 128 << 10;

#[test]
fn a_paused_reader_of_a_plain_node_holds_no_more_than_its_window_and_a_read() {
    let (small, large) = (message(8, 0), message(8, 60_000));
    let both = [&small[..], &large].concat();
    for flow in [&small, &large, &both] {
        let mut reader = LinkedReader::new(POOL, false);
        for _ in 0..20 {
            reader.fill(flow, 1 << 20);
            let held = reader.peer.inbox().unwrap().held();
            // Small frames cost more than their length.
            assert!(held <= MAX_WINDOW + 4 * READ, "{held} bytes of {}", flow.len());
            while reader.inbound.try_next().unwrap().is_some() {}
            assert!(reader.run().is_none());
        }
        reader.fill(flow, 1 << 20);
        reader.stop();
        let kept = reader.link.read_buffer().buffer.capacity();
        assert!(kept < LENGTH_PREFIX + Frame::MAX_LEN, "{kept} bytes of {}", flow.len());
    }
}

/// Regression: a reader that only yielded ran again up to two hundred times before the executor
/// looked for the data of others.
#[test]
fn a_busy_reader_yields_and_waits_for_readiness_after_each_turn() {
    let (small, large) = (message(8, 0), message(8, 60_000));
    let most = turn(PeerClass::Stranger) + READ;
    let ignored = message(40, 1000);
    // What is for nobody is read in small pieces.
    let little = 16 << 10;
    let cases = [
        (&small, false, most),
        (&large, false, most),
        (&large, true, most),
        (&ignored, false, little),
    ];
    for (flow, is_closed, most) in cases {
        let mut reader = LinkedReader::new(POOL, false);
        if is_closed {
            reader.inbound.close();
        }
        for _ in 0..20 {
            reader.receive(flow, (1 << 20) / flow.len());
            let read = reader.poll_once();
            assert!(read <= most, "{read} in one poll of {}", flow.len());
            assert!(reader.run().is_none());
            while reader.inbound.try_next().is_ok_and(|next| next.is_some()) {}
        }
        let longest = reader.remote.outgoing().longest_turn;
        assert!(longest <= most, "{longest} without a wait of {}", flow.len());
    }
}

/// Makes `bytes` bytes arrive over an encrypted stream, of a flow that repeats.
#[cfg(feature = "noise")]
fn receive_encrypted(reader: &LinkedReader, far: &dyn Stream, flow: &[u8], bytes: usize) {
    let (all, mut at) = (flow.repeat(bytes / flow.len()), 0);
    while at < all.len() {
        at += far.try_write(&[io::IoSlice::new(&all[at..])], false).unwrap();
    }
    reader.remote.outgoing().arrive(usize::MAX);
}

/// Regression: records that were read ahead made the stream ready at once, and one poll read all that
/// a stranger sent.
#[test]
#[cfg(feature = "noise")]
fn a_busy_encrypted_reader_waits_for_the_socket_too() {
    let ping = Extension { ping: Some(()), ..Default::default() };
    let ping = ping.into_frame(Id::from_bytes([3; 32])).unwrap();
    let ping = [&encode_length(ping.len())[..], ping.as_bytes()].concat();
    // A read ahead of 72 KiB comes to it.
    let most = turn(PeerClass::Stranger) + READ + (72 << 10);
    for (flow, bytes) in
        [(&ping, 4 << 20), (&message(40, 1000), 4 << 20), (&message(8, 1000), 200_000)]
    {
        let (mut reader, [_, far]) = LinkedReader::encrypted(POOL);
        receive_encrypted(&reader, &*far, flow, bytes);
        let read = reader.poll_once();
        assert!(read <= most, "{read} in one poll of {}", flow.len());
        assert!(reader.run().is_none());
        let way = reader.remote.outgoing();
        assert!(way.bytes.is_empty() && way.longest_turn <= most, "{} at once", way.longest_turn);
    }
}

/// Regression: a turn that ended by bytes left an empty buffer behind.
#[test]
#[cfg(feature = "noise")]
fn an_idle_encrypted_link_keeps_no_buffer() {
    let (small, large) = (message(8, 0), message(8, 1000));
    let mut flows = vec![(message(33, 1000), 1500), (message(40, 0), small.len() * 16)];
    flows.extend((60_000..200_000).step_by(5000).map(|bytes| (large.clone(), bytes)));
    for (flow, bytes) in flows {
        let (mut reader, [near, far]) = LinkedReader::encrypted(POOL);
        receive_encrypted(&reader, &*far, &flow, bytes);
        assert!(reader.run().is_none() && reader.remote.outgoing().bytes.is_empty());
        let kept = near.allocated() + reader.link.read_buffer().buffer.capacity();
        assert_eq!(kept, 0, "after {bytes} bytes of {}", flow.len());
    }
}

/// Regression: it ended with unread input, and the reset lost what had been sent last.
#[test]
fn a_reader_reads_to_the_end_after_the_inbound_queue_closed() {
    for is_waiting in [false, true] {
        let mut reader = LinkedReader::new(10_000, false);
        let frame = message(8, 1000);
        if is_waiting {
            reader.fill(&frame, 10_000);
            reader.receive(&frame[..500], 1);
            assert!(reader.run().is_none());
        }
        let received = reader.peer.info().frames_received;
        reader.inbound.close();
        reader.receive(&frame, 300);
        reader.receive(&frame[..500], 1);
        assert!(reader.run().is_none());
        assert!(reader.remote.outgoing().bytes.is_empty());
        assert_eq!(reader.peer.info().frames_received, received);
        assert_eq!(reader.link.read_buffer().buffer.capacity(), 0);
        reader.remote.outgoing().is_closed = true;
        let reason = reader.run();
        assert!(matches!(reason, Some(DownReason::Closed)), "{reason:?}");
    }
}

#[test]
fn an_extended_node_is_read_while_the_router_takes_nothing_and_gets_credit_when_it_does() {
    let mut reader = LinkedReader::new(POOL, true);
    let credit = reader.peer.queue.granted_credit();
    let frame = message(8, 1000);
    let cost = (frame.len() + 64) as u64;
    reader.receive(&frame, (credit / cost) as usize);
    assert!(reader.run().is_none() && !reader.is_backpressured());
    assert_eq!(reader.peer.queue.granted_credit(), credit);
    let half = credit / cost / 2 + 1;
    (0..half).for_each(|_| drop(reader.inbound.try_next()));
    assert!(reader.run().is_none());
    let raised = reader.peer.queue.granted_credit();
    assert!(raised >= credit + credit / 2 - cost, "{raised} instead of {credit}");
    let announced = reader.peer.queue.lock().control.take().unwrap().credit;
    assert_eq!(announced, Some(raised));
}

#[test]
fn more_than_the_credit_and_one_frame_ends_the_link() {
    let mut reader = LinkedReader::new(POOL, true);
    let credit = reader.peer.queue.granted_credit() as usize;
    let frame = message(8, 60_000);
    reader.receive(&frame, credit / frame.len() + 1);
    assert!(reader.run().is_none());
    reader.receive(&frame, 1);
    let reason = reader.run();
    assert!(matches!(reason, Some(DownReason::CreditExceeded)), "{reason:?}");
}

#[test]
fn strangers_pause_at_their_part_of_the_memory_but_for_the_first_bytes() {
    let clock = Clock::install();
    let mut slow = LinkedReader::new(64 << 10, true);
    let strangers = slow.sender.pool().strangers().clone();
    let hoarder = strangers.account(None.into());
    hoarder.charge(32 << 10);
    let overdraft = block_on(hoarder.overdraft());
    // A partial frame, of less than the smallest window.
    let frame = message(8, 60_000);
    slow.receive(&frame[..MIN_WINDOW - 1], 1);
    assert!(slow.run().is_none() && !slow.is_backpressured());
    assert_eq!(strangers.used(), (32 << 10) + MIN_WINDOW - 1, "it counts as it grows");
    slow.receive(&frame[MIN_WINDOW - 1..4000], 1);
    assert!(slow.run().is_none() && slow.is_backpressured());
    hoarder.release(32 << 10);
    assert!(slow.run().is_none() && !slow.is_backpressured());
    hoarder.charge(32 << 10);
    slow.receive(&frame[4000..9000], 1);
    assert!(slow.run().is_none() && slow.is_backpressured());
    drop(overdraft);
    assert!(slow.run().is_none() && !slow.is_backpressured(), "it may complete its frame");
    slow.receive(&frame[9000..], 1);
    assert!(slow.run().is_none() && slow.is_backpressured(), "the frame itself is held");
    assert!(slow.inbound.try_next().unwrap().is_some());
    slow.receive(&frame[..9000], 1);
    assert!(slow.run().is_none());
    clock.advance(OVERDRAFT_TIMEOUT);
    let reason = slow.run();
    assert!(matches!(reason, Some(DownReason::FrameTimeout(_))), "{reason:?}");
    slow.stop();
    hoarder.release(32 << 10);
    assert_eq!(strangers.used(), 0);
}
