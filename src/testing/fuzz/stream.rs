use crate::error::DownReason;
use crate::peer::recv::reader::run_reader;
use crate::peer::{
    Inbound, InboundSender, InitialCredit, MemoryBudget, OnNewSession, Origin, Peer, SendQueue,
    WindowSize, inbound,
};
use crate::proto::{
    CONTROL, CloseRecord, Direction, Extension, Frame, FrameError, FramingError, Id, LENGTH_PREFIX,
    PeerType, SequenceId, encode_length, is_peering, peek_len,
};
use crate::testing::kit::{
    byte_source::ByteSource,
    pipe::{Pipe, TestWaker},
};
use crate::transport::Link;

/// Pieces are added up to this length, which bounds the run time of an input.
const MAX_STREAM: usize = 70_000;

/// The configuration of the link, and the fragmentation of its bytes.
struct Case {
    peer_type: PeerType,
    is_extended: bool,
    /// Size of the inbound queue.
    inbound_bytes: usize,
    /// Number of bytes that arrive before the link starts, and then in each step.
    cuts: Vec<usize>,
}

/// The outcome of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    frames: Vec<Frame>,
    ignored: u64,
    reason: String,
}

/// See [`crate::testing::fuzz::stream`].
pub(crate) fn stream(bytes: &[u8]) {
    let mut input = ByteSource::new(bytes);
    let flags = input.byte();
    let case = Case {
        peer_type: peer_type(flags),
        is_extended: flags & 4 != 0,
        inbound_bytes: (usize::from(input.byte() % 64) + 4) << 10,
        cuts: (0..input.byte() % 32).map(|_| input.size()).collect(),
    };
    let mut stream = Vec::new();
    while !input.is_empty() && stream.len() < MAX_STREAM {
        piece(&mut input, &mut stream);
    }
    let expected = expected(&case, &stream);
    assert_eq!(run_fragmented(&case, &stream), expected);
    let unfragmented = Case { cuts: vec![0, stream.len()], ..case };
    assert_eq!(run_fragmented(&unfragmented, &stream), expected);
}

fn peer_type(flags: u8) -> PeerType {
    match flags & 3 {
        0 => PeerType::Standard,
        1 => PeerType::Cross,
        2 => PeerType::Limited(Direction::Sending),
        _ => PeerType::Limited(Direction::Receiving),
    }
}

/// Appends raw bytes of the input, or a frame.
fn piece(input: &mut ByteSource<'_>, stream: &mut Vec<u8>) {
    let what = input.byte();
    let detail = usize::from(what & 31);
    let frame = match what >> 5 {
        0 => return stream.extend_from_slice(input.take(detail)),
        1 => frame(8, payload(input)),
        2 => return with_trailing(frame(64, payload(input)), detail, stream),
        3 => frame(32 + u16::from(what & 31), payload(input)),
        4 => extension(detail, input).into_frame(Id::from_bytes([2; 32])).unwrap(),
        5 => return other_version(what & 31, input, stream),
        6 => with_all_fields(input),
        _ => return stream.extend_from_slice(&encode_length(input.size() + detail)),
    };
    with_trailing(frame, 0, stream);
}

fn payload(input: &mut ByteSource<'_>) -> Vec<u8> {
    let len = input.size();
    vec![len as u8; len.min(Frame::MAX_PAYLOAD)]
}

fn frame(modes: u16, payload: Vec<u8>) -> Frame {
    Frame::builder(modes, Id::from_bytes([1; 32])).payload(payload).build().unwrap()
}

/// Appends a message with `trailing` bytes after the payload.
fn with_trailing(frame: Frame, trailing: usize, stream: &mut Vec<u8>) {
    let len = (frame.len() + trailing).min(Frame::MAX_LEN);
    stream.extend_from_slice(&encode_length(len));
    stream.extend_from_slice(frame.as_bytes());
    stream.resize(stream.len() + len - frame.len(), 0xAA);
}

fn other_version(version: u8, input: &mut ByteSource<'_>, stream: &mut Vec<u8>) {
    let start = stream.len();
    with_trailing(frame(8, payload(input)), 0, stream);
    stream[start + LENGTH_PREFIX] = version;
}

fn with_all_fields(input: &mut ByteSource<'_>) -> Frame {
    let sequence_id = SequenceId { hash: [4; 32], num: input.byte(), last: input.byte() };
    let builder = Frame::builder(9, Id::from_bytes([1; 32])).sequence_id(sequence_id);
    builder.auxiliary_data([5; 64]).signature([6; 64]).payload(payload(input)).build().unwrap()
}

fn extension(which: usize, input: &mut ByteSource<'_>) -> Extension {
    let has = |bit: usize| which & bit != 0;
    let close = CloseRecord { reason: input.byte(), retry_after_ms: 7 };
    Extension {
        ack: has(1).then(|| input.byte().into()),
        ack_delay: has(2).then_some(9),
        credit: has(8).then_some(9),
        // Later entries are still read.
        close: (which & 12 == 12).then_some(close),
        ping: has(16).then_some(()),
        paused: has(4).then_some(()),
        ..Extension::default()
    }
}

/// Runs the reader loop on the fragmented stream.
fn run_fragmented(case: &Case, stream: &[u8]) -> Outcome {
    let budget = MemoryBudget::new(0);
    let queue = SendQueue::new(budget, 0, 0);
    let peer = Peer::linked(7.into(), case.peer_type, Origin::Accepted, queue);
    peer.queue.link_up(case.is_extended);
    let (sender, inbound) = inbound(case.inbound_bytes);
    let window = WindowSize::initial(sender.pool(), peer.class());
    let credit = InitialCredit { granted: u64::MAX / 2, received: 0 };
    peer.start_session(None, OnNewSession::ReturnAll, window, credit);
    let (near, far) = Pipe::pair();
    let mut cuts = case.cuts.iter().copied();
    let (ahead, rest) = stream.split_at(cuts.next().unwrap_or(0).min(stream.len()));
    far.outgoing().write(rest);
    far.outgoing().is_closed = true;
    let control_sender = case.is_extended.then_some(Id::from_bytes([8; 32]));
    let link = Link::unencrypted(near, None, ahead.to_vec(), control_sender);
    let (frames, reason) = run_to_end(&peer, &link, (&sender, &inbound), || {
        let mut half = far.outgoing();
        half.arrive(cuts.next().unwrap_or(usize::MAX));
    });
    check_counts(case, &peer, frames.len() as u64);
    let widest = far.outgoing().widest_read;
    assert!(widest <= (2 * stream.len()).max(16 << 10), "a buffer of {widest} bytes");
    drop(link);
    check_memory(&peer, &sender);
    Outcome { frames, ignored: peer.info().frames_ignored, reason: reason.to_string() }
}

/// Runs the reader loop to its end. Whenever it is pending, takes what it delivered or lets more
/// bytes arrive.
fn run_to_end(
    peer: &Peer,
    link: &Link,
    (sender, inbound): (&InboundSender, &Inbound),
    mut arrive: impl FnMut(),
) -> (Vec<Frame>, DownReason) {
    let waker = TestWaker::new();
    let mut reader = Box::pin(run_reader(peer, link, sender, &|_| ()));
    let mut frames = Vec::new();
    let mut idle_polls = 0;
    let reason = loop {
        if let Some(reason) = waker.poll(reader.as_mut()) {
            break reason;
        }
        match inbound.try_next().unwrap() {
            Some((target, frame)) => {
                assert_eq!(target, 7.into());
                frames.push(frame);
                idle_polls = 0;
            }
            None => arrive(),
        }
        idle_polls += 1;
        assert!(idle_polls < 200, "the reader is idle while there is something to read");
    };
    while let Some((_, frame)) = inbound.try_next().unwrap() {
        frames.push(frame);
    }
    (frames, reason)
}

fn check_counts(case: &Case, peer: &Peer, frames: u64) {
    assert_eq!(peer.info().frames_received, frames);
    let expected_total = if case.is_extended { frames } else { 0 };
    assert_eq!(peer.queue.received_total(), expected_total);
}

/// Checks that all memory was released.
fn check_memory(peer: &Peer, sender: &InboundSender) {
    let held = peer.inbox().map_or(0, |inbox| inbox.held());
    assert_eq!((held, sender.pool().strangers().used()), (0, 0), "inbound memory was not released");
}

/// The expected outcome: a reference implementation of the rules, frame by frame.
fn expected(case: &Case, mut bytes: &[u8]) -> Outcome {
    let mut outcome = Outcome { frames: Vec::new(), ignored: 0, reason: String::new() };
    let reason = loop {
        let len = match peek_len(bytes) {
            Ok(Some(len)) if len <= bytes.len() => len,
            Err(error) => break DownReason::Framing(error),
            _ if bytes.is_empty() => break DownReason::Closed,
            _ => break DownReason::ClosedInsideFrame,
        };
        match Frame::parse(bytes[LENGTH_PREFIX..len].to_vec()) {
            Err(FrameError::Version(_)) => outcome.ignored += 1,
            Err(error) => break DownReason::Framing(FramingError::Frame(error)),
            Ok(frame) if frame.modes() == CONTROL && case.is_extended => {
                let extension = Extension::decode(frame.payload());
                outcome.ignored += u64::from(extension.is_none());
                if let Some(reason) = extension.and_then(|extension| invalid_ack(&extension)) {
                    break reason;
                }
            }
            Ok(frame) if is_peering(frame.modes()) => outcome.ignored += 1,
            Ok(_) if !case.peer_type.may_receive() => break DownReason::WrongDirection,
            Ok(frame) => outcome.frames.push(frame),
        }
        bytes = &bytes[len..];
    };
    outcome.reason = reason.to_string();
    outcome
}

/// Nothing was sent, so every acknowledgement but zero is impossible.
fn invalid_ack(extension: &Extension) -> Option<DownReason> {
    let count = extension.ack.filter(|count| *count > 0)?;
    Some(DownReason::InvalidAck(count))
}
