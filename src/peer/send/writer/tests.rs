//! Writes that are short, blocked or interrupted by the end of the link.

use super::*;
use crate::error::{Goodbye, GoodbyeReason};
use crate::peer::Closing;
use crate::peer::send::send_buffer::SendBuffer;
use crate::peer::send::test_support::{FRAME_LEN, LinkedPeer};
use crate::primitives::buffer_pool::BufferPool;
use crate::proto::{Frame, Id, LENGTH_PREFIX, encode_length, peek_len};
use crate::testing::kit::pipe::{Pipe, WriteCall};

#[test]
fn short_writes_never_tear_a_frame() {
    let seed = 0x7ea2;
    let mut random = fastrand::Rng::with_seed(seed);
    for case in 0..100 {
        let (local, remote) = Pipe::pair();
        let is_plain = case % 2 == 0;
        let control_sender = (!is_plain).then_some(Id::from_bytes([5; 32]));
        let link = Link::unencrypted(local.clone(), None, Vec::new(), control_sender);
        let count = random.usize(1..60);
        let frames: Vec<Frame> = std::iter::repeat_with(|| {
            let len = [random.usize(..100), random.usize(..6000), random.usize(..60_000)];
            let id = Id::from_bytes([random.u8(..); 32]);
            Frame::builder(8, id).payload(vec![9; len[random.usize(..3)]]).build().unwrap()
        })
        .take(count)
        .collect();
        let mut batch = WriteBatch::default();
        let mut buffer = SendBuffer::default();
        let buffers = BufferPool::new(1 << 20);
        for frame in &frames {
            match SendBuffer::should_coalesce(frame.len()) {
                true => buffer.append_coalesced(frame, &buffers),
                false => buffer.push(frame.clone(), None, None),
            }
        }
        let (mut sent, mut bytes) = (0, 0);
        let control = Extension { ack_delay: Some(7), ..Extension::default() };
        let control = control.into_frame(Id::from_bytes([5; 32])).unwrap();
        let mut controls = 0;
        while sent < frames.len() {
            batch.reset(Some(&control));
            buffer.fill_batch(&mut batch, usize::MAX);
            controls += 1;
            while batch.unwritten() > 0 {
                local.outgoing().room = random.usize(1..5000);
                let written = write_batch(&mut batch, &link).unwrap();
                let (more_frames, more_bytes) = buffer.advance(written);
                sent += more_frames;
                bytes += more_bytes;
                assert!(remote.incoming().bytes.len() >= bytes);
            }
        }
        let mut incoming = remote.incoming();
        let taken = incoming.bytes.make_contiguous().to_vec();
        let counted = taken.len() - controls * (LENGTH_PREFIX + control.len());
        assert_eq!(counted, bytes, "seed {seed} case {case}");
        let mut arrived = split(&taken);
        arrived.retain(|frame| *frame != control);
        assert_eq!(arrived, frames, "seed {seed} case {case}");
        match is_plain {
            true => assert_each_is_a_record(&taken, &incoming.writes),
            false => assert!(incoming.writes.iter().all(|write| !write.ends_record)),
        }
    }
}

/// Each write extends to the end of the message in which it begins, and no further.
fn assert_each_is_a_record(taken: &[u8], writes: &[WriteCall]) {
    let (mut start, mut end) = (0, 0);
    for write in writes {
        if start == end {
            end += peek_len(&taken[start..]).unwrap().unwrap();
        }
        assert!(start < end && write.ends_record);
        assert_eq!(start + write.requested, end);
        start += write.written;
    }
    assert_eq!((start, end), (taken.len(), taken.len()));
}

/// A coalesced run and two separate frames, of 100 bytes each with their length prefixes.
fn three_messages() -> WriteBatch {
    let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![7; 55]).build();
    let frame = frame.unwrap();
    let message = [&encode_length(96), frame.as_bytes()].concat();
    let mut batch = WriteBatch::default();
    batch.reset(None);
    batch.add(message.into());
    batch.add_frame(&frame);
    batch.add_frame(&frame);
    batch
}

#[test]
fn a_plain_link_resumes_where_the_socket_blocked() {
    let (local, remote) = Pipe::pair();
    let link = Link::unencrypted(local.clone(), None, Vec::new(), None);
    let mut batch = three_messages();
    let mut write = |room| {
        local.outgoing().room = room;
        let written = write_batch(&mut batch, &link);
        (written.map_err(|error| error.kind()), link.write_half().is_mid_frame)
    };
    assert_eq!(write(0), (Err(io::ErrorKind::WouldBlock), false));
    assert_eq!(write(102), (Ok(102), true), "inside of a length");
    assert_eq!(write(0), (Err(io::ErrorKind::WouldBlock), true));
    assert_eq!(write(98), (Ok(98), false));
    local.outgoing().is_broken = true;
    assert_eq!(write(100), (Err(io::ErrorKind::BrokenPipe), false));
    local.outgoing().is_broken = false;
    assert_eq!(write(200), (Ok(100), false));
    assert_eq!(split(remote.incoming().bytes.make_contiguous()).len(), 3);
}

#[test]
fn one_call_writes_a_bounded_number_of_frames() {
    let (local, _remote) = Pipe::pair();
    local.outgoing().room = usize::MAX;
    let link = Link::unencrypted(local, None, Vec::new(), None);
    let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![7; 55]).build();
    let message = [&encode_length(96), frame.unwrap().as_bytes()].concat();
    let mut batch = WriteBatch::default();
    batch.reset(None);
    batch.add(message.repeat(MAX_MESSAGES + 1).into());
    assert_eq!(write_batch(&mut batch, &link).unwrap(), 100 * MAX_MESSAGES);
    assert_eq!(write_batch(&mut batch, &link).unwrap(), 100);
}

fn split(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(len) = peek_len(bytes).unwrap() {
        frames.push(Frame::parse(bytes[LENGTH_PREFIX..len].to_vec()).unwrap());
        bytes = &bytes[len..];
    }
    frames
}

fn is_goodbye(extension: &Extension) -> bool {
    let goodbye = extension.close.map(Goodbye::from);
    goodbye.is_some_and(|goodbye| goodbye.reason == GoodbyeReason::ShuttingDown)
}

#[test]
fn goodbye_and_final_ack_are_written_once_by_either_path() {
    for is_writer_first in [false, true] {
        let mut linked = LinkedPeer::new(true);
        let peer = linked.peer.clone();
        assert!(!linked.run_writer());
        peer.count_received(3, 300).unwrap();
        peer.stop(Closing::Now, DownReason::ShuttingDown);
        if is_writer_first {
            assert!(!linked.run_writer());
            peer.count_received(2, 200).unwrap();
        }
        peer.close_link();
        assert!(linked.remote.incoming().is_closed);
        let written = linked.written_extensions();
        assert_eq!(written.iter().filter(|one| is_goodbye(one)).count(), 1, "{written:?}");
        let count = if is_writer_first { 5 } else { 3 };
        assert_eq!(written.last().unwrap().ack, Some(count));
        let len = linked.written();
        // The writer and the link run to their end.
        peer.count_received(1, 100).unwrap();
        linked.run_writer();
        flush_final_ack(&peer, &linked.link);
        peer.close_link();
        assert_eq!(linked.written(), len);
    }
}

#[test]
fn no_goodbye_is_written_mid_frame_or_to_a_plain_node() {
    for (is_extended, room) in [(true, 20), (false, 20), (false, usize::MAX), (true, 0)] {
        let mut linked = LinkedPeer::new(is_extended);
        linked.limit_writes(room);
        linked.send();
        assert!(!linked.run_writer());
        let len = linked.written();
        assert_eq!(len, room.min(FRAME_LEN));
        linked.limit_writes(if room == 0 { 0 } else { usize::MAX });
        linked.peer.stop(Closing::Now, DownReason::ShuttingDown);
        linked.peer.close_link();
        linked.run_writer();
        flush_final_ack(&linked.peer, &linked.link);
        assert!(linked.remote.incoming().is_closed);
        assert_eq!(linked.written(), len);
    }
}

#[test]
fn closing_a_peer_without_a_link_does_nothing() {
    let linked = LinkedPeer::new(true);
    linked.peer.link_down(&DownReason::Closed, None);
    linked.peer.close_link();
    assert!(!linked.remote.incoming().is_closed && linked.written() == 0);
}

/// Regression: the frame was flushed as the last data of the link, but not counted, so that no
/// later link could resume the session.
#[cfg(feature = "noise")]
#[test]
fn a_pending_encrypted_frame_is_not_flushed_when_the_link_ends() {
    use crate::config::KeyPair;
    use crate::peer::{Admission, MemoryBudget, Origin, SendQueue};
    use crate::proto::{PeerType, Role, Suite};
    use crate::testing::kit::pipe::TestWaker;
    use crate::transport::{NoiseBuffers, NoiseHandshake};
    use std::pin::pin;

    let keys = [1, 2].map(|number| KeyPair::from_bytes([number; 32]));
    let begin =
        |role, at: usize| NoiseHandshake::begin(Suite::ChaChaPoly, role, &keys[at], None, b"");
    let mut dialer = begin(Role::Dialer, 0).unwrap();
    let mut listener = begin(Role::Listener, 1).unwrap();
    listener.read(&dialer.write().unwrap()).unwrap();
    dialer.read(&listener.write().unwrap()).unwrap();
    listener.read(&dialer.write().unwrap()).unwrap();
    let (near, far) = Pipe::pair();
    let stream = dialer.finish(near, Vec::new(), Arc::<NoiseBuffers>::default(), 100).unwrap();
    stream.lift_limit();
    let id = Id::from_bytes([1; 32]);
    let queue = SendQueue::new(MemoryBudget::new(usize::MAX), usize::MAX, 99);
    let peer = Peer::linked(7.into(), PeerType::Standard, Origin::Accepted, queue);
    let link = Link::unencrypted(Arc::new(stream), None, Vec::new(), Some(id));
    peer.link_up(id, &link);
    peer.queue.add_credit(u64::MAX);
    let frame = Frame::builder(8, id).payload(vec![7; 9]).build().unwrap();
    peer.push(frame, Admission::Bounded).unwrap();
    assert!(TestWaker::new().poll(pin!(run_writer(&peer, &link))).is_none());
    peer.count_received(1, 50).unwrap();
    far.incoming().room = usize::MAX;
    flush_final_ack(&peer, &link);
    peer.close_link();
    assert_eq!(far.incoming().bytes.len(), 0);
    assert!(far.incoming().is_closed);
    peer.link_down(&DownReason::Closed, None);
    peer.queue.resume(0, u64::MAX).unwrap();
    assert_eq!(peer.queue.size().0, 1, "it waits for the next link");
}
