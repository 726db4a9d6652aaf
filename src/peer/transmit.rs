//! The writer of a link.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_lite::future;

use super::Peer;
use super::outbox::{Filled, Outbox};
use crate::error::DownReason;
use crate::link::Link;
use crate::proto::{Frame, PREFIX, Records, encode_length};

/// Frames up to this size are copied together; larger ones are written from where they are. An
/// extra slice costs the kernel about as much as copying a few hundred bytes.
const COPY: usize = 2048;

/// Bytes that one write takes at most: what loopback and a fast network accept at once.
const MOST_BYTES: usize = 256 << 10;

/// Slices that one write takes at most.
const MOST_SLICES: usize = 64;

/// Writes in a row before other tasks get their turn.
const WRITES_PER_TURN: usize = 8;

/// Writes what the peer's queue holds until it closes, or fails.
///
/// Frames go out whole and in order, many in one write. Those that were not written whole when
/// the link ends go back to the queue.
pub(super) async fn transmit(peer: &Peer, link: &Link) -> Result<(), DownReason> {
    let mut outbox = Outbox::new(&peer.queue);
    while poll_fn(|cx| outbox.poll_fill(cx)).await == Filled::Something {
        write_out(peer, link, &mut outbox).await.map_err(DownReason::io)?;
    }
    match link.records_as {
        Some(_) => part(peer, link, &mut outbox).await.map_err(DownReason::io),
        None => Ok(()),
    }
}

/// Says goodbye, and then only what the other side is owed, until it has said goodbye too: what it
/// sent before it heard of this is still to be acknowledged.
async fn part(peer: &Peer, link: &Link, outbox: &mut Outbox<'_>) -> io::Result<()> {
    // What was in hand waits for another link.
    outbox.put_back();
    let mut plan = Plan::default();
    plan.make(control_frame(link, Some(peer.goodbye())).as_ref(), std::iter::empty());
    write_plan(peer, link, outbox, &mut plan).await?;
    while poll_fn(|cx| outbox.poll_last_records(cx)).await == Filled::Something {
        plan.make(control_frame(link, outbox.take_control()).as_ref(), std::iter::empty());
        write_plan(peer, link, outbox, &mut plan).await?;
    }
    Ok(())
}

/// Tells the other side what it is owed, if that can be done without waiting: the link ends.
pub(super) fn settle(peer: &Peer, link: &Link) {
    if link.is_torn.load(Ordering::Relaxed) {
        return;
    }
    if let Some(frame) = control_frame(link, peer.queue.owed()) {
        let mut plan = Plan::default();
        plan.make(Some(&frame), std::iter::empty());
        // Whether it arrives or not, the link is over.
        let _ = plan.write(link);
    }
}

/// The frame for records, on a link that carries them.
fn control_frame(link: &Link, records: Option<Records>) -> Option<Frame> {
    records?.into_frame(link.records_as?).ok()
}

/// Writes the frames in hand, all of them unless the queue is to close at once.
async fn write_out(peer: &Peer, link: &Link, outbox: &mut Outbox<'_>) -> io::Result<()> {
    let mut plan = Plan::default();
    let mut plans = 0;
    while !outbox.is_empty() {
        let control = control_frame(link, outbox.take_control());
        if control.is_none() && outbox.is_cut_short() {
            // With empty hands the writer learns that the queue closes.
            outbox.put_back();
            break;
        }
        plan.make(control.as_ref(), outbox.frames());
        write_plan(peer, link, outbox, &mut plan).await?;
        plans += 1;
        if plans % WRITES_PER_TURN == 0 {
            future::yield_now().await;
        }
    }
    Ok(())
}

async fn write_plan(
    peer: &Peer,
    link: &Link,
    outbox: &mut Outbox<'_>,
    plan: &mut Plan,
) -> io::Result<()> {
    while !plan.is_done() {
        match plan.write(link) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => link.writable().await?,
            Err(error) => return Err(error),
        }
        // At once, so that a link that fails later does not send these frames again.
        let (frames, bytes) = plan.take_written();
        if frames > 0 {
            outbox.written(frames);
            peer.count_sent(frames, bytes);
        }
    }
    Ok(())
}

/// One write: frames with their lengths, small ones copied together.
#[derive(Debug, Default)]
struct Plan {
    copied: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where each frame ends, counted from the start of the write.
    ends: Vec<usize>,
    len: usize,
    /// Length of what goes before the first counted frame.
    uncounted: usize,
    written: usize,
    /// Frames of this write that were written whole and reported.
    reported: usize,
}

#[derive(Debug)]
enum Piece {
    Copied(Range<usize>),
    Frame(Bytes),
}

impl Plan {
    /// Starts anew with `control`, which is not counted, and as many of the frames as fit into one
    /// write, one at least.
    fn make<'a>(&mut self, control: Option<&Frame>, frames: impl Iterator<Item = &'a Frame>) {
        self.copied.clear();
        self.pieces.clear();
        self.ends.clear();
        (self.len, self.written, self.reported) = (0, 0, 0);
        if let Some(control) = control {
            self.add(control);
        }
        self.uncounted = self.len;
        for frame in frames {
            if self.len >= MOST_BYTES || self.pieces.len() + 2 > MOST_SLICES {
                break;
            }
            self.add(frame);
            self.ends.push(self.len);
        }
    }

    fn add(&mut self, frame: &Frame) {
        self.copy(&encode_length(frame.len()));
        match frame.len() <= COPY {
            true => self.copy(frame.as_bytes()),
            false => self.pieces.push(Piece::Frame(frame.clone().into_bytes())),
        }
        self.len += PREFIX + frame.len();
    }

    fn copy(&mut self, bytes: &[u8]) {
        let start = self.copied.len();
        self.copied.extend_from_slice(bytes);
        match self.pieces.last_mut() {
            Some(Piece::Copied(range)) => range.end = self.copied.len(),
            _ => self.pieces.push(Piece::Copied(start..self.copied.len())),
        }
    }

    fn is_done(&self) -> bool {
        self.written == self.len
    }

    /// Writes once, from where the last write stopped.
    fn write(&mut self, link: &Link) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); MOST_SLICES];
        let mut count = 0;
        let mut skip = self.written;
        for piece in &self.pieces {
            let bytes = match piece {
                Piece::Copied(range) => &self.copied[range.clone()],
                Piece::Frame(bytes) => bytes,
            };
            match bytes.get(skip..) {
                Some(rest) if !rest.is_empty() => {
                    slices[count] = IoSlice::new(rest);
                    count += 1;
                    skip = 0;
                }
                _ => skip -= bytes.len(),
            }
        }
        match link.stream.try_write(&slices[..count])? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => {
                self.written += written;
                link.is_torn.store(self.written < self.len, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Frames, and their bytes, that were written whole since the last call.
    fn take_written(&mut self) -> (usize, usize) {
        let start = self.reported.checked_sub(1).map_or(self.uncounted, |last| self.ends[last]);
        let frames = self.ends[self.reported..].partition_point(|end| *end <= self.written);
        self.reported += frames;
        let end = self.reported.checked_sub(1).map_or(self.uncounted, |last| self.ends[last]);
        (frames, end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Stream;
    use crate::proto::{Id, whole_message};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    /// Takes a few bytes at each write.
    #[derive(Default)]
    struct Trickle {
        taken: Mutex<Vec<u8>>,
        random: Mutex<fastrand::Rng>,
    }

    impl Stream for Trickle {
        fn try_read(&self, _: &mut Vec<u8>) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let all: usize = slices.iter().map(|slice| slice.len()).sum();
            let count = self.random.lock().unwrap().usize(1..=all.min(5000));
            let mut left = count;
            for slice in slices {
                let part = left.min(slice.len());
                self.taken.lock().unwrap().extend_from_slice(&slice[..part]);
                left -= part;
            }
            Ok(count)
        }

        fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_writable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn close_write(&self) {}

        fn probe(&self) -> bool {
            true
        }

        fn trust(&self) {}

        fn abort(&self) {}
    }

    #[test]
    fn short_writes_tear_no_frame_whatever_the_sizes() {
        let seed = 0x7ea2;
        let mut random = fastrand::Rng::with_seed(seed);
        for case in 0..50 {
            let stream = Arc::new(Trickle::default());
            stream.random.lock().unwrap().seed(case);
            let link = Link::new(stream.clone(), None, Vec::new(), None);
            let count = random.usize(1..60);
            let frames: Vec<Frame> = std::iter::repeat_with(|| {
                let len = [random.usize(..100), random.usize(..6000), random.usize(..60_000)];
                let id = Id::from_bytes([random.u8(..); 32]);
                Frame::builder(8, id).payload(vec![9; len[random.usize(..3)]]).build().unwrap()
            })
            .take(count)
            .collect();
            let mut plan = Plan::default();
            let (mut sent, mut bytes) = (0, 0);
            let control = Records { held: Some(7), ..Records::default() };
            let control = control.into_frame(Id::from_bytes([5; 32])).unwrap();
            let mut controls = 0;
            while sent < frames.len() {
                plan.make(Some(&control), frames[sent..].iter());
                controls += 1;
                while !plan.is_done() {
                    plan.write(&link).unwrap();
                    let (more_frames, more_bytes) = plan.take_written();
                    sent += more_frames;
                    bytes += more_bytes;
                    assert!(stream.taken.lock().unwrap().len() >= bytes);
                }
            }
            let taken = stream.taken.lock().unwrap();
            let counted = taken.len() - controls * (PREFIX + control.len());
            assert_eq!(counted, bytes, "seed {seed} case {case}");
            let mut arrived = split(&taken);
            arrived.retain(|frame| *frame != control);
            assert_eq!(arrived, frames, "seed {seed} case {case}");
        }
    }

    fn split(mut bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(len) = whole_message(bytes).unwrap() {
            frames.push(Frame::parse(bytes[PREFIX..len].to_vec()).unwrap());
            bytes = &bytes[len..];
        }
        frames
    }
}
