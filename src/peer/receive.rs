//! The receive loop of a link.

use std::io;

use bytes::Bytes;
use futures_lite::future;

use super::Peer;
use super::inbound::{Batch, InboundSender, Room};
use crate::error::{Closed, DownReason};
use crate::link::{Link, ReadHalf};
use crate::proto::{Header, OutOfStep, PREFIX, PeerType, VERSION, is_peering, whole_message};

/// Least room that a read is given: holds the frames of a burst of small ones, and is little
/// enough that thousands of links may read at once.
const MIN_READ: usize = 16 << 10;

/// Most room that a read is given. A link that fills its buffer gets one twice as large next time;
/// at this size the part of a large frame that has to be moved to the next buffer is small beside
/// what was read.
const MAX_READ: usize = 256 << 10;

/// Runs up to this length are copied out of the buffer, which is then read into again. Longer ones
/// take the buffer with them and are never copied.
const COPY: usize = 16 << 10;

/// Reads in a row before other tasks get their turn, so that a busy peer cannot starve them.
const READS_PER_TURN: usize = 8;

/// Reads frames and hands them to the router until the link ends. Returns why it did.
///
/// An idle link costs nothing: after a read that found no data the loop yields once, and then
/// sleeps until the system says that there is something to read.
pub(super) async fn receive(peer: &Peer, link: &Link, inbound: &InboundSender) -> DownReason {
    let mut reads = 0;
    loop {
        let mut half = link.read_half.lock().await;
        match read_frames(peer, link, &mut half, inbound).await {
            Step::NoData => {
                half.rest();
                drop(half);
                future::yield_now().await;
                if let Err(error) = link.readable().await {
                    return DownReason::io(error);
                }
                reads = 0;
            }
            Step::Frames(batch) => {
                if let Err(Closed) = inbound.send(batch).await {
                    return DownReason::ShuttingDown;
                }
                reads += 1;
            }
            Step::More => reads += 1,
            Step::Failed(reason) => return reason,
        }
        if reads >= READS_PER_TURN {
            future::yield_now().await;
            reads = 0;
        }
    }
}

/// What one turn came to.
enum Step {
    /// The socket has nothing to read.
    NoData,
    /// Whole frames for the router.
    Frames(Batch),
    /// Bytes, but no frame for the router yet.
    More,
    /// The link is at its end.
    Failed(DownReason),
}

/// Takes whole frames out of the buffer, or else does one non-blocking read.
///
/// Room is waited for first: while the router is slow nothing is read, and TCP holds the sender
/// back.
async fn read_frames(
    peer: &Peer,
    link: &Link,
    half: &mut ReadHalf,
    inbound: &InboundSender,
) -> Step {
    let Ok(room) = inbound.room(half.target()).await else {
        return Step::Failed(DownReason::ShuttingDown);
    };
    match take_run(peer, half, room) {
        Ok(Taken::Batch(batch)) => return Step::Frames(batch),
        Ok(Taken::Ignored) => return Step::More,
        Ok(Taken::Nothing) => {}
        Err(reason) => return Step::Failed(reason),
    }
    match half.read(link) {
        Ok(0) if half.buffer.is_empty() => Step::Failed(DownReason::Closed),
        Ok(0) => Step::Failed(DownReason::ClosedInsideFrame),
        Ok(_) => Step::More,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::NoData,
        Err(error) => Step::Failed(DownReason::io(error)),
    }
}

/// What [`take_run`] took.
enum Taken {
    Batch(Batch),
    /// Frames that are not for the router, and that were counted.
    Ignored,
    Nothing,
}

/// Takes the whole frames off that the buffer begins with.
fn take_run(peer: &Peer, half: &mut ReadHalf, mut room: Room) -> Result<Taken, DownReason> {
    let run = scan(&half.buffer, peer.peer_type(), room.frames())?;
    if run.ignored > 0 {
        peer.count_ignored(run.ignored);
        half.buffer.drain(..run.len);
        return Ok(Taken::Ignored);
    }
    if run.frames == 0 {
        return Ok(Taken::Nothing);
    }
    peer.count_received(run.frames, run.len);
    let (messages, pinned) = half.split_off(run.len);
    room.shrink(pinned, run.frames);
    Ok(Taken::Batch(Batch { target: peer.target(), messages, pinned, _room: room }))
}

/// The messages that a buffer begins with, all for the router or all not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Run {
    len: usize,
    frames: usize,
    ignored: usize,
}

/// Finds the run at the start of `buffer`, of at most `most` frames.
///
/// What is wrong behind a run of good frames is left for the next scan, so that they arrive first.
fn scan(buffer: &[u8], peer_type: PeerType, most: usize) -> Result<Run, DownReason> {
    let mut run = Run::default();
    while run.frames < most {
        match first_message(&buffer[run.len..], peer_type) {
            Ok(Some((len, true))) if run.ignored == 0 => {
                run.frames += 1;
                run.len += len;
            }
            Ok(Some((len, false))) if run.frames == 0 => {
                run.ignored += 1;
                run.len += len;
            }
            Err(reason) if run.len == 0 => return Err(reason),
            _ => break,
        }
    }
    Ok(run)
}

/// Length of the whole message that `bytes` begin with, and whether it is for the router.
fn first_message(bytes: &[u8], peer_type: PeerType) -> Result<Option<(usize, bool)>, DownReason> {
    let Some(len) = whole_message(bytes).map_err(DownReason::OutOfStep)? else { return Ok(None) };
    let Some(frame) = bytes.get(PREFIX..len) else { return Ok(None) };
    Header::parse(frame).map_err(|error| DownReason::OutOfStep(OutOfStep::Frame(error)))?;
    let for_router = frame[0] == VERSION && !is_peering(u16::from_be_bytes([frame[1], frame[2]]));
    match for_router && !peer_type.may_receive() {
        true => Err(DownReason::WrongDirection),
        false => Ok(Some((len, for_router))),
    }
}

impl ReadHalf {
    /// Size that the buffer should have for the next read.
    fn target(&self) -> usize {
        // A full buffer whose message is still incomplete needs more, but never more than twice
        // what has really arrived: a length alone makes nobody allocate.
        match self.buffer.len() < self.size {
            true => self.size.max(MIN_READ),
            false => (2 * self.buffer.len()).max(MIN_READ),
        }
    }

    /// Reads once.
    fn read(&mut self, link: &Link) -> io::Result<usize> {
        let target = self.target();
        if self.buffer.capacity() < target {
            self.buffer.reserve_exact(target - self.buffer.len());
        }
        let read = link.stream.try_read(&mut self.buffer)?;
        if self.buffer.len() == self.buffer.capacity() {
            self.size = (2 * target).min(MAX_READ);
        }
        Ok(read)
    }

    /// Splits the first `len` bytes off; also tells how much memory they keep.
    fn split_off(&mut self, len: usize) -> (Bytes, usize) {
        if len <= COPY {
            let run = Bytes::copy_from_slice(&self.buffer[..len]);
            self.buffer.drain(..len);
            return (run, len);
        }
        let mut tail = Vec::with_capacity(self.size.max(self.buffer.len() - len));
        tail.extend_from_slice(&self.buffer[len..]);
        self.buffer.truncate(len);
        let run = std::mem::replace(&mut self.buffer, tail);
        let pinned = run.capacity();
        (Bytes::from(run), pinned)
    }

    /// Gives memory back, because nothing is to be read for now.
    fn rest(&mut self) {
        self.buffer.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Direction, Frame, FrameError, Id, encode_length};

    fn message(modes: u16, payload: usize) -> Vec<u8> {
        let id = Id::from_bytes([3; 32]);
        let frame = Frame::builder(modes, id).payload(vec![1; payload]).build().unwrap();
        [&encode_length(frame.len())[..], frame.as_bytes()].concat()
    }

    fn run(len: usize, frames: usize, ignored: usize) -> Run {
        Run { len, frames, ignored }
    }

    #[test]
    fn runs_end_where_the_kind_of_frame_changes() {
        let buffer = [message(8, 5), message(9, 0), message(33, 2), message(8, 0)].concat();
        let scan = |at: usize| scan(&buffer[at..], PeerType::Standard, 99).unwrap();
        assert_eq!(scan(0), run(50 + 45, 2, 0));
        assert_eq!(scan(95), run(47, 0, 1));
        assert_eq!(scan(142), run(45, 1, 0));
        assert_eq!(scan(187), run(0, 0, 0));
    }

    #[test]
    fn any_cut_leaves_the_whole_frames() {
        let buffer = [message(8, 5), message(8, 6)].concat();
        for len in 0..buffer.len() {
            let frames = usize::from(len >= 50);
            let found = scan(&buffer[..len], PeerType::Standard, 99).unwrap();
            assert_eq!(found, run(50 * frames, frames, 0), "cut at {len}");
        }
        assert_eq!(scan(&buffer, PeerType::Standard, 1).unwrap(), run(50, 1, 0));
    }

    #[test]
    fn good_frames_go_before_what_is_wrong_behind_them() {
        let mut bad = message(8, 5);
        bad[PREFIX + 35] = 9;
        let buffer = [message(8, 0), bad].concat();
        assert_eq!(scan(&buffer, PeerType::Standard, 9).unwrap(), run(45, 1, 0));
        let reason = scan(&buffer[45..], PeerType::Standard, 9).unwrap_err();
        let OutOfStep::Frame(FrameError::RecipientTag(9)) = out_of_step(reason) else { panic!() };
    }

    fn out_of_step(reason: DownReason) -> OutOfStep {
        match reason {
            DownReason::OutOfStep(why) => why,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_wrong_way_ends_a_limited_link_but_our_own_modes_do_not() {
        let sending = PeerType::Limited(Direction::Sending);
        assert!(matches!(scan(&message(8, 0), sending, 9), Err(DownReason::WrongDirection)));
        assert_eq!(scan(&message(40, 0), sending, 9).unwrap(), run(45, 0, 1));
        let receiving = PeerType::Limited(Direction::Receiving);
        assert_eq!(scan(&message(8, 0), receiving, 9).unwrap(), run(45, 1, 0));
    }

    #[test]
    fn an_unknown_version_is_ignored_only_if_it_is_well_formed() {
        let mut other = message(8, 3);
        other[PREFIX] = 2;
        assert_eq!(scan(&other, PeerType::Standard, 9).unwrap(), run(48, 0, 1));
        other[PREFIX + 40] = 200;
        assert!(scan(&other, PeerType::Standard, 9).is_err());
    }

    #[test]
    fn long_runs_are_not_copied_and_short_ones_free_the_buffer() {
        let mut half = ReadHalf { buffer: vec![7; COPY + 10], size: 0 };
        let start = half.buffer.as_ptr();
        let (run, pinned) = half.split_off(COPY + 1);
        assert_eq!((run.as_ptr(), run.len(), half.buffer.len()), (start, COPY + 1, 9));
        assert!(pinned >= COPY + 10);
        let (run, pinned) = half.split_off(3);
        assert_eq!((&run[..], pinned, half.buffer.len()), (&[7; 3][..], 3, 6));
    }
}
