//! The receive loop of a link.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;

use super::buffers::Buffers;
use super::inbound::{Batch, InboundSender, Room};
use super::{Notice, Notices, Peer};
use crate::error::{Closed, DownReason};
use crate::link::{Link, ReadHalf};
use crate::proto::{
    CONTROL, Frame, Header, Impossible, OutOfStep, PREFIX, PeerType, Records, VERSION, is_peering,
    whole_message,
};

/// Least room that a read is given: holds the frames of a burst of small ones, and is little
/// enough that thousands of links may read at once.
const MIN_READ: usize = 16 << 10;

/// Most room that a read is given. A link that fills its buffer gets one twice as large next time;
/// at this size the part of a large frame that has to be moved to the next buffer is small beside
/// what was read. Both ends on one thread moved 0.11, 0.13 and 0.10 M/s of 32 000 B with 64, 128
/// and 256 KiB, and 0.69, 0.75 and 0.67 M/s of 4 KiB.
const MAX_READ: usize = 128 << 10;

/// Runs up to this length are copied out of the buffer, which is then read into again. Longer ones
/// take the buffer with them and are never copied.
const COPY: usize = 16 << 10;

/// Reads in a row before other tasks get their turn, so that a busy peer cannot starve them.
const READS_PER_TURN: usize = 8;

/// Reads frames and hands them to the router until the link ends. Returns why it did.
///
/// An idle link costs nothing: after a read that found no data the loop yields once, and then
/// sleeps until the system says that there is something to read. Nor much memory: it holds this
/// future for as long as it lasts, so waits for a slow router are in boxes of their own, and an
/// `async fn` would hold its arguments twice.
pub(super) fn receive<'a>(
    peer: &'a Peer,
    link: &'a Link,
    inbound: &'a InboundSender,
    notices: Notices<'a>,
) -> impl Future<Output = DownReason> + Send + use<'a> {
    async move {
        let mut reads = 0;
        let mut room = None;
        loop {
            match read_frames(peer, link, &mut room, inbound, notices) {
                Step::NoData => {
                    room = None;
                    future::yield_now().await;
                    if let Err(error) = link.readable().await {
                        return DownReason::io(error);
                    }
                    reads = 0;
                }
                Step::NoRoom(bytes) => match Box::pin(held_up(peer, inbound.room(bytes))).await {
                    Ok(taken) => room = Some(taken),
                    Err(Closed) => return DownReason::ShuttingDown,
                },
                Step::NoPlace(found) => {
                    let Found { batch, frames, bytes } = *found;
                    match Box::pin(held_up(peer, inbound.send(batch))).await {
                        Ok(()) => peer.count_received(frames, bytes),
                        Err(Closed) => return DownReason::ShuttingDown,
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
}

/// Waits for what only the router can give. The other side is told meanwhile that this one lives.
async fn held_up<T>(peer: &Peer, waiting: impl Future<Output = T>) -> T {
    peer.queue.set_held_up(true);
    let done = waiting.await;
    peer.queue.set_held_up(false);
    done
}

/// What one turn came to.
enum Step {
    /// The socket has nothing to read.
    NoData,
    /// There must be room for so many bytes first.
    NoRoom(usize),
    /// The router must make a place for these frames first.
    NoPlace(Box<Found>),
    /// Bytes, or frames that were handed to the router.
    More,
    /// The link is at its end.
    Failed(DownReason),
}

/// Whole frames for the router.
struct Found {
    batch: Batch,
    frames: usize,
    bytes: usize,
}

/// Takes whole frames out of the buffer and hands them to the router, or else does one non-blocking read.
///
/// Room comes first: while the router is slow nothing is read, and TCP holds the sender back. The
/// room of a read lasts until the last whole frame of it was taken.
fn read_frames(
    peer: &Peer,
    link: &Link,
    room: &mut Option<Room>,
    inbound: &InboundSender,
    notices: Notices<'_>,
) -> Step {
    let mut half = link.read_half();
    let step = read_once(peer, link, &mut half, room, inbound, notices);
    // Memory is not held by those who wait.
    match step {
        Step::NoData | Step::NoRoom(_) => half.rest(inbound.buffers()),
        Step::NoPlace(_) => half.ease(inbound.buffers()),
        Step::More | Step::Failed(_) => {}
    }
    step
}

fn read_once(
    peer: &Peer,
    link: &Link,
    half: &mut ReadHalf,
    room: &mut Option<Room>,
    inbound: &InboundSender,
    notices: Notices<'_>,
) -> Step {
    let unread = half.unread().len();
    if unread > 0 {
        let room = match find_room(room, unread, inbound) {
            Ok(room) => room,
            Err(step) => return step,
        };
        match take_run(peer, link, half, room, inbound.buffers(), notices) {
            Ok(Some(Taken::Frames(found))) => return hand_on(peer, found, inbound),
            Ok(Some(Taken::Others)) => return Step::More,
            Ok(None) => {}
            Err(reason) => return Step::Failed(reason),
        }
    }
    let (room, target) = match widen_room(room, half, inbound) {
        Ok(found) => found,
        Err(step) => return step,
    };
    half.prepare(target, inbound.buffers());
    room.cover(half.buffer.capacity());
    match half.read(link, target) {
        Ok(0) if half.unread().is_empty() => Step::Failed(DownReason::Closed),
        Ok(0) => Step::Failed(DownReason::ClosedInsideFrame),
        Ok(_) => {
            link.reads.fetch_add(1, Ordering::Relaxed);
            Step::More
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::NoData,
        Err(error) => Step::Failed(DownReason::io(error)),
    }
}

/// Room for the next read, and how much that reads.
///
/// A part of a frame that was read is not left lying while others read: if there is no more room, it
/// gets what the rest of this one frame takes, beyond the bound. Thousands of links that wait with
/// 16 KiB each would take more.
fn widen_room<'a>(
    room: &'a mut Option<Room>,
    half: &mut ReadHalf,
    inbound: &InboundSender,
) -> Result<(&'a mut Room, usize), Step> {
    let target = half.target();
    let old = match room.take() {
        // What was waited for is kept: another may be waiting behind it.
        Some(room_there) if room_there.is_enough_for(target) => {
            return Ok((room.insert(room_there), target));
        }
        old => old,
    };
    let begun = half.begun().zip(old);
    match (inbound.try_room(target), begun) {
        (Ok(Some(new)), _) => Ok((room.insert(new), target)),
        (Ok(None), Some((len, mut old))) => {
            // No more is to be read than that, and a length alone makes nobody allocate.
            let target = len.min(target);
            half.rest(inbound.buffers());
            old.cover(target);
            Ok((room.insert(old), target))
        }
        (Ok(None), None) => Err(Step::NoRoom(target)),
        (Err(Closed), _) => Err(Step::Failed(DownReason::ShuttingDown)),
    }
}

/// Hands frames to the router, if there is a place for them.
fn hand_on(peer: &Peer, found: Found, inbound: &InboundSender) -> Step {
    let Found { batch, frames, bytes } = found;
    match inbound.try_send(batch) {
        Ok(None) => {
            // Only now: what is told as received must not be lost with this task.
            peer.count_received(frames, bytes);
            Step::More
        }
        Ok(Some(batch)) => Step::NoPlace(Box::new(Found { batch, frames, bytes })),
        Err(Closed) => Step::Failed(DownReason::ShuttingDown),
    }
}

/// The room that there is, or else room for so many bytes.
fn find_room<'a>(
    room: &'a mut Option<Room>,
    bytes: usize,
    inbound: &InboundSender,
) -> Result<&'a mut Room, Step> {
    let taken = match room.take().filter(|room| room.frames() > 0) {
        Some(room) => room,
        None => match inbound.try_room(bytes) {
            Ok(Some(room)) => room,
            Ok(None) => return Err(Step::NoRoom(bytes)),
            Err(Closed) => return Err(Step::Failed(DownReason::ShuttingDown)),
        },
    };
    Ok(room.insert(taken))
}

/// What was taken off the buffer.
enum Taken {
    Frames(Found),
    /// Frames that are not for the router.
    Others,
}

/// Takes the whole frames off that the buffer begins with. `None`: there is none.
fn take_run(
    peer: &Peer,
    link: &Link,
    half: &mut ReadHalf,
    room: &mut Room,
    buffers: &Arc<Buffers>,
    notices: Notices<'_>,
) -> Result<Option<Taken>, DownReason> {
    let rules = Rules { peer_type: peer.peer_type(), carries_records: link.records_as.is_some() };
    let run = scan(half.unread(), rules, room.frames())?;
    match run.kind {
        _ if run.frames == 0 => Ok(None),
        Kind::Ignored => {
            peer.count_ignored(run.frames);
            half.skip(run.len);
            Ok(Some(Taken::Others))
        }
        Kind::Control => {
            let heard = hear(peer, &half.unread()[PREFIX..run.len], notices);
            half.skip(run.len);
            heard.map(|()| Some(Taken::Others))
        }
        Kind::Router => {
            let (messages, pinned) = half.take(run.len, buffers);
            let _room = room.split(pinned, run.frames);
            let (target, is_exact) = (peer.target(), run.is_exact);
            let batch = Batch { target, messages, pinned, is_exact, _room };
            Ok(Some(Taken::Frames(Found { batch, frames: run.frames, bytes: run.len })))
        }
    }
}

/// Does what the records of a control frame say.
fn hear(peer: &Peer, frame: &[u8], notices: Notices<'_>) -> Result<(), DownReason> {
    let records = Frame::parse(frame.to_vec()).ok();
    let Some(records) = records.and_then(|frame| Records::decode(frame.payload())) else {
        peer.count_ignored(1);
        return Ok(());
    };
    if let Some(count) = records.received {
        let held = records.held.map(|held| Duration::from_micros(held.into()));
        let done = peer.queue.acknowledge(count, held);
        done.map_err(|Impossible| DownReason::ImpossibleCount(count))?;
        peer.note_life();
    }
    if let Some((name, proof)) = records.same {
        notices(Notice::Same { name, proof });
    }
    if let Some((name, (received, proof))) = records.merge {
        notices(Notice::Merge { name, received, proof });
    }
    if let Some((name, received)) = records.merged {
        notices(Notice::Merged { name, received });
    }
    if records.probe.is_some() {
        peer.queue.say_received();
    }
    if let Some(end) = records.end {
        peer.note_farewell(end.into());
    }
    Ok(())
}

/// What may come over a link.
#[derive(Debug, Clone, Copy)]
struct Rules {
    peer_type: PeerType,
    carries_records: bool,
}

/// Whom a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Router,
    /// This crate.
    Control,
    /// Nobody here: of an unknown version, or of modes that are not the router's.
    Ignored,
}

/// The messages that a buffer begins with, all of one kind.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    kind: Kind,
    len: usize,
    frames: usize,
    /// Whether nothing follows the payload inside the length, in any of them.
    is_exact: bool,
}

/// Finds the run at the start of `buffer`, of at most `most` frames.
///
/// What is wrong behind a run of good frames is left for the next scan, so that they arrive first.
fn scan(buffer: &[u8], rules: Rules, most: usize) -> Result<Run, DownReason> {
    let mut run = Run { kind: Kind::Router, len: 0, frames: 0, is_exact: true };
    while run.frames < most {
        match first_message(&buffer[run.len..], rules) {
            // Control frames are heard one by one.
            Ok(Some(_)) if run.frames > 0 && run.kind == Kind::Control => break,
            Ok(Some(message)) if run.frames == 0 || run.kind == message.kind => {
                run.kind = message.kind;
                run.len += message.len;
                run.frames += 1;
                run.is_exact &= message.is_exact;
            }
            Err(reason) if run.len == 0 => return Err(reason),
            _ => break,
        }
    }
    Ok(run)
}

/// A whole message: a frame behind its length.
struct Message {
    kind: Kind,
    len: usize,
    /// Whether nothing follows the payload.
    is_exact: bool,
}

/// The whole message that `bytes` begin with.
fn first_message(bytes: &[u8], rules: Rules) -> Result<Option<Message>, DownReason> {
    let Some(len) = whole_message(bytes).map_err(DownReason::OutOfStep)? else { return Ok(None) };
    let Some(frame) = bytes.get(PREFIX..len) else { return Ok(None) };
    let header = Header::parse(frame);
    let header = header.map_err(|error| DownReason::OutOfStep(OutOfStep::Frame(error)))?;
    let modes = u16::from_be_bytes([frame[1], frame[2]]);
    let kind = match frame[0] == VERSION {
        true if modes == CONTROL && rules.carries_records => Kind::Control,
        true if !is_peering(modes) => Kind::Router,
        _ => Kind::Ignored,
    };
    match kind == Kind::Router && !rules.peer_type.may_receive() {
        true => Err(DownReason::WrongDirection),
        false => Ok(Some(Message { kind, len, is_exact: header.frame_len() == frame.len() })),
    }
}

impl ReadHalf {
    /// What arrived and was not handled yet.
    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Notes that the first `len` bytes were handled.
    fn skip(&mut self, len: usize) {
        self.start += len;
    }

    /// Moves what is left to the front, for there is no whole message in it.
    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
    }

    /// Length of the message of which a part has arrived, if that is known.
    fn begun(&self) -> Option<usize> {
        whole_message(self.unread()).ok()?
    }

    /// Size that the buffer should have for the next read.
    fn target(&self) -> usize {
        // A full buffer whose message is still incomplete needs more, but never more than twice
        // what has really arrived: a length alone makes nobody allocate.
        match self.unread().len() < self.size {
            true => self.size.max(MIN_READ),
            false => (2 * self.unread().len()).max(MIN_READ),
        }
    }

    /// Makes room to read, so that there are so many bytes in all.
    fn prepare(&mut self, target: usize, buffers: &Buffers) {
        self.compact();
        if self.buffer.capacity() < target {
            let mut larger = buffers.take(target);
            larger.extend_from_slice(&self.buffer);
            buffers.give(std::mem::replace(&mut self.buffer, larger));
        }
    }

    /// Reads once.
    fn read(&mut self, link: &Link, target: usize) -> io::Result<usize> {
        let read = link.stream.try_read(&mut self.buffer)?;
        if self.buffer.len() == self.buffer.capacity() {
            self.size = (2 * target).min(MAX_READ);
        } else if read < self.size / 4 {
            self.size /= 2;
        }
        Ok(read)
    }

    /// Takes the first `len` bytes; also tells how much memory they keep.
    fn take(&mut self, len: usize, buffers: &Arc<Buffers>) -> (Bytes, usize) {
        // A buffer that is mostly empty is not worth keeping for what is in it.
        if len <= COPY || len < self.buffer.capacity() / 2 {
            let run = Bytes::copy_from_slice(&self.unread()[..len]);
            self.skip(len);
            return (run, len);
        }
        let end = self.start + len;
        let mut tail = buffers.take(self.size.max(self.buffer.len() - end));
        tail.extend_from_slice(&self.buffer[end..]);
        self.buffer.truncate(end);
        let run = std::mem::replace(&mut self.buffer, tail);
        let pinned = run.capacity();
        let start = std::mem::take(&mut self.start);
        (buffers.lend(run).slice(start..), pinned)
    }

    /// Gives memory back, because what was read waits. Not every time: copying all that is left for
    /// each batch would cost the square of it.
    fn ease(&mut self, buffers: &Buffers) {
        if self.unread().len() < self.buffer.capacity() / 2 {
            self.rest(buffers);
        }
    }

    /// Gives memory back, because nothing is read for now.
    fn rest(&mut self, buffers: &Buffers) {
        let left = self.unread().to_vec();
        buffers.give(std::mem::replace(&mut self.buffer, left));
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Line, Wakes};
    use crate::limits::Limits;
    use crate::peer::{Budget, Origin, Queue, inbound};
    use crate::proto::{Direction, Frame, FrameError, Id, encode_length};
    use std::pin::pin;

    fn message(modes: u16, payload: usize) -> Vec<u8> {
        let id = Id::from_bytes([3; 32]);
        let frame = Frame::builder(modes, id).payload(vec![1; payload]).build().unwrap();
        [&encode_length(frame.len())[..], frame.as_bytes()].concat()
    }

    fn run(len: usize, frames: usize, ignored: usize) -> Run {
        match ignored {
            0 => Run { kind: Kind::Router, len, frames, is_exact: true },
            frames => Run { kind: Kind::Ignored, len, frames, is_exact: true },
        }
    }

    fn plain(peer_type: PeerType) -> Rules {
        Rules { peer_type, carries_records: false }
    }

    #[test]
    fn runs_end_where_the_kind_of_frame_changes() {
        let buffer = [message(8, 5), message(9, 0), message(33, 2), message(8, 0)].concat();
        let scan = |at: usize| scan(&buffer[at..], plain(PeerType::Standard), 99).unwrap();
        assert_eq!(scan(0), run(50 + 45, 2, 0));
        assert_eq!(scan(95), run(47, 0, 1));
        assert_eq!(scan(142), run(45, 1, 0));
        assert_eq!(scan(187), run(0, 0, 0));
    }

    #[test]
    fn bytes_behind_a_payload_are_noticed() {
        let mut trailing = message(8, 5);
        trailing.push(0xEE);
        trailing[PREFIX - 1] += 1;
        for (buffer, is_exact) in [(message(8, 1), true), (trailing, false)] {
            let buffer = [message(8, 0), buffer, message(8, 2)].concat();
            let run = scan(&buffer, plain(PeerType::Standard), 99).unwrap();
            assert_eq!((run.frames, run.is_exact), (3, is_exact));
        }
    }

    #[test]
    fn any_cut_leaves_the_whole_frames() {
        let buffer = [message(8, 5), message(8, 6)].concat();
        for len in 0..buffer.len() {
            let frames = usize::from(len >= 50);
            let found = scan(&buffer[..len], plain(PeerType::Standard), 99).unwrap();
            assert_eq!(found, run(50 * frames, frames, 0), "cut at {len}");
        }
        assert_eq!(scan(&buffer, plain(PeerType::Standard), 1).unwrap(), run(50, 1, 0));
    }

    #[test]
    fn good_frames_go_before_what_is_wrong_behind_them() {
        let mut bad = message(8, 5);
        bad[PREFIX + 35] = 9;
        let buffer = [message(8, 0), bad].concat();
        assert_eq!(scan(&buffer, plain(PeerType::Standard), 9).unwrap(), run(45, 1, 0));
        let reason = scan(&buffer[45..], plain(PeerType::Standard), 9).unwrap_err();
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
        let sending = plain(PeerType::Limited(Direction::Sending));
        assert!(matches!(scan(&message(8, 0), sending, 9), Err(DownReason::WrongDirection)));
        assert_eq!(scan(&message(40, 0), sending, 9).unwrap(), run(45, 0, 1));
        let receiving = plain(PeerType::Limited(Direction::Receiving));
        assert_eq!(scan(&message(8, 0), receiving, 9).unwrap(), run(45, 1, 0));
    }

    #[test]
    fn records_are_heard_one_by_one_and_only_where_they_were_agreed_on() {
        let buffer = [message(40, 0), message(40, 0), message(41, 0)].concat();
        let agreed = Rules { peer_type: PeerType::Standard, carries_records: true };
        let control = Run { kind: Kind::Control, len: 45, frames: 1, is_exact: true };
        assert_eq!(scan(&buffer, agreed, 9).unwrap(), control);
        assert_eq!(scan(&buffer[90..], agreed, 9).unwrap(), run(45, 0, 1));
        assert_eq!(scan(&buffer, plain(PeerType::Standard), 9).unwrap(), run(135, 0, 3));
    }

    #[test]
    fn an_unknown_version_is_ignored_only_if_it_is_well_formed() {
        let mut other = message(8, 3);
        other[PREFIX] = 2;
        assert_eq!(scan(&other, plain(PeerType::Standard), 9).unwrap(), run(48, 0, 1));
        other[PREFIX + 40] = 200;
        assert!(scan(&other, plain(PeerType::Standard), 9).is_err());
    }

    #[test]
    fn long_runs_are_not_copied_and_short_ones_free_the_buffer() {
        let buffers = Buffers::new(0);
        let mut half = ReadHalf { buffer: vec![7; COPY + 12], ..ReadHalf::default() };
        let start = half.buffer.as_ptr();
        half.skip(2);
        let (run, pinned) = half.take(COPY + 1, &buffers);
        assert_eq!((run.as_ptr(), run.len()), (start.wrapping_add(2), COPY + 1));
        assert_eq!(half.unread(), [7; 9]);
        assert!(pinned >= COPY + 12);
        let (run, pinned) = half.take(3, &buffers);
        assert_eq!((&run[..], pinned, half.unread()), (&[7; 3][..], 3, &[7; 6][..]));
    }

    /// Frames that come one by one fill the channel before any bound of its own is reached.
    #[test]
    fn a_reader_that_waits_for_a_place_in_the_channel_is_held_up() {
        let limits = Limits::default();
        let (sender, inbound) = inbound(limits.inbound_bytes, limits.inbound_frames);
        let queue = Queue::new(Budget::new(1), 1, 1);
        let peer = Peer::linked(7, PeerType::Standard, Origin::Accepted, queue);
        let (line, other) = Line::pair();
        let link = Link::new(line, None, Vec::new(), None);
        let mut receiving = pin!(receive(&peer, &link, &sender, &|_| ()));
        let wakes = Wakes::new();
        let mut come = || {
            let mut way = other.outgoing();
            way.write(&message(8, 0));
            way.arrive(usize::MAX);
            drop(way);
            assert!(wakes.poll(receiving.as_mut()).is_none());
            peer.queue.watched().is_held_up
        };
        let came = 1 + (0..limits.inbound_frames).take_while(|_| !come()).count();
        assert!(came < limits.inbound_frames, "it was not told");
        let taken = std::iter::from_fn(|| inbound.try_next().unwrap()).count();
        assert_eq!(taken, came - 1);
        assert!(wakes.poll(receiving.as_mut()).is_none());
        assert!(!peer.queue.watched().is_held_up && inbound.try_next().unwrap().is_some());
    }

    #[test]
    fn a_reader_that_waits_holds_no_more_than_a_part_of_a_frame() {
        let (small, large) = (message(8, 0), message(8, 60_000));
        let both = [&small[..], &large].concat();
        for (frames, flow) in [(5_000, &small), (65_536, &small), (65_536, &large), (65_536, &both)]
        {
            let (sender, _inbound) = inbound(1 << 20, frames);
            let queue = Queue::new(Budget::new(1), 1, 1);
            let peer = Peer::linked(7, PeerType::Standard, Origin::Accepted, queue);
            let (line, other) = Line::pair();
            let link = Link::new(line, None, Vec::new(), None);
            let mut receiving = Box::pin(receive(&peer, &link, &sender, &|_| ()));
            let wakes = Wakes::new();
            while !peer.queue.watched().is_held_up {
                let mut way = other.outgoing();
                (0..(1 << 20) / flow.len()).for_each(|_| way.write(flow));
                way.arrive(usize::MAX);
                drop(way);
                assert!(wakes.poll(receiving.as_mut()).is_none());
            }
            drop(receiving);
            let held = link.read_half().buffer.capacity();
            assert!(held < PREFIX + Frame::MAX_LEN, "{held} bytes: {frames}, {}", flow.len());
        }
    }

    #[test]
    fn what_is_left_stays_in_place_until_the_next_read() {
        let buffers = Buffers::new(0);
        let mut half = ReadHalf { buffer: vec![7; 90_000], ..ReadHalf::default() };
        let start = half.buffer.as_ptr();
        for handled in 1..=1000 {
            match handled % 2 {
                0 => half.skip(45),
                _ => drop(half.take(45, &buffers)),
            }
            assert_eq!(half.unread().as_ptr(), start.wrapping_add(45 * handled));
        }
        half.rest(&buffers);
        assert_eq!((half.unread().len(), half.start, half.buffer.capacity()), (45_000, 0, 45_000));
    }
}
