//! A batch of data for one vectored write.

use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::primitives::lazy_box::StaticDefault;
use crate::proto::{Frame, LENGTH_PREFIX, encode_length, peek_len};
use crate::transport::{Link, WriteHalf};

/// Size at which a batch is full: about what loopback and fast networks accept in one write.
const MAX_BATCH_BYTES: usize = 256 << 10;

/// Maximum number of slices in one vectored write.
const MAX_IOVECS: usize = 64;

/// Maximum number of frames per call on a plain link, where each takes a system call of its own.
const MAX_MESSAGES: usize = 32;

/// The data to be written: a control frame, if there is one, and then router frames.
#[derive(Debug, Default)]
pub(crate) struct WriteBatch {
    /// The data that is not completely written yet.
    chunks: Vec<Chunk>,
    /// Bytes of the first chunk that are written.
    skip: usize,
    /// Length of the whole batch.
    len: usize,
    /// Length of the control frame at the front; zero if there is none.
    control_len: usize,
    /// Bytes that are written. Invariant: at most `len`.
    written: usize,
    /// Unwritten bytes of a partially written message. Maintained on plain links only.
    message_left: usize,
    /// Whether the control frame is the goodbye.
    is_goodbye: bool,
}

impl StaticDefault for WriteBatch {
    const DEFAULT: &'static WriteBatch = &WriteBatch {
        chunks: Vec::new(),
        skip: 0,
        len: 0,
        control_len: 0,
        written: 0,
        message_left: 0,
        is_goodbye: false,
    };
}

#[derive(Debug)]
enum Chunk {
    Length([u8; LENGTH_PREFIX]),
    Bytes(Bytes),
}

impl Chunk {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Chunk::Length(bytes) => bytes,
            Chunk::Bytes(bytes) => bytes,
        }
    }
}

impl WriteBatch {
    /// Clears the batch and starts a new one, with the control frame `records` at the front.
    pub(crate) fn reset(&mut self, records: Option<&Frame>) {
        self.chunks.clear();
        (self.skip, self.len, self.written, self.message_left) = (0, 0, 0, 0);
        self.is_goodbye = false;
        if let Some(frame) = records {
            self.add_frame(frame);
        }
        self.control_len = self.len;
    }

    /// Clears the batch and starts one that holds the goodbye alone.
    pub(crate) fn begin_goodbye(&mut self, records: &Frame) {
        self.reset(Some(records));
        self.is_goodbye = true;
    }

    /// Whether there is room for one more frame.
    pub(crate) fn has_room(&self) -> bool {
        self.len < MAX_BATCH_BYTES && self.chunks.len() + 2 <= MAX_IOVECS
    }

    /// Adds frames that include their length prefixes.
    pub(crate) fn add(&mut self, messages: Bytes) {
        if !messages.is_empty() {
            self.len += messages.len();
            self.chunks.push(Chunk::Bytes(messages));
        }
    }

    /// Adds a frame with its length prefix.
    pub(crate) fn add_frame(&mut self, frame: &Frame) {
        self.len += LENGTH_PREFIX;
        self.chunks.push(Chunk::Length(encode_length(frame.len())));
        self.add(frame.clone().into_bytes());
    }

    /// Number of bytes that are still to be written.
    pub(crate) fn unwritten(&self) -> usize {
        self.len - self.written
    }

    /// Writes from where the last write stopped. Returns the number of bytes of router frames
    /// written.
    ///
    /// On an extended link that is one vectored write. On a plain link it is one write per frame,
    /// for up to [`MAX_MESSAGES`] frames: a plain Ratman node may fail for good on a partial length
    /// prefix, so no prefix may be split over two TCP segments.
    ///
    /// Fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the write half of the link is
    /// closed.
    pub(crate) fn write(&mut self, link: &Link) -> io::Result<usize> {
        self.write_to(link, &mut link.write_half())
    }

    /// Like [`write`](WriteBatch::write), for a caller that holds the lock of the write half.
    pub(crate) fn write_to(&mut self, link: &Link, half: &mut WriteHalf) -> io::Result<usize> {
        if half.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let counted = self.frame_bytes_written();
        match link.is_extended() {
            true => {
                self.write_batch(link)?;
                half.is_mid_frame = self.unwritten() > 0;
            }
            false => {
                self.write_messages(link)?;
                half.is_mid_frame = self.message_left > 0;
            }
        }
        half.has_goodbye |= self.is_goodbye && self.unwritten() == 0;
        Ok(self.frame_bytes_written() - counted)
    }

    fn write_batch(&mut self, link: &Link) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); MAX_IOVECS];
        let count = self.gather(&mut slices, self.unwritten());
        let written = link.stream.try_write(&slices[..count], false)?;
        self.advance(written)
    }

    /// Writes message by message. Fails only if nothing was written; a persistent error occurs
    /// again on the next call.
    fn write_messages(&mut self, link: &Link) -> io::Result<()> {
        let before = self.written;
        for _ in 0..MAX_MESSAGES {
            if self.unwritten() == 0 {
                break;
            }
            match self.write_message(link) {
                Err(_) if self.written > before => break,
                done => done?,
            }
        }
        Ok(())
    }

    /// Writes one message, or the rest of one, as a separate record.
    fn write_message(&mut self, link: &Link) -> io::Result<()> {
        let len = match self.message_left {
            0 => self.first_message_len(),
            left => left,
        };
        // A message is one chunk, or two: its prefix and its frame.
        let mut slices = [IoSlice::new(&[]); 2];
        let count = self.gather(&mut slices, len);
        let written = link.stream.try_write(&slices[..count], true)?;
        self.advance(written)?;
        self.message_left = len - written;
        Ok(())
    }

    /// Length of the message at the start of the unwritten bytes.
    fn first_message_len(&self) -> usize {
        let first = self.chunks.first().map_or(&[][..], |piece| &piece.as_bytes()[self.skip..]);
        // A batch consists of whole messages.
        peek_len(first).ok().flatten().unwrap_or(self.unwritten())
    }

    /// Fills `slices` with the first `len` unwritten bytes. Returns the number of slices.
    fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>], len: usize) -> usize {
        let (mut skip, mut left, mut count) = (self.skip, len, 0);
        for (slice, piece) in slices.iter_mut().zip(&self.chunks) {
            if left == 0 {
                break;
            }
            let bytes = &piece.as_bytes()[std::mem::take(&mut skip)..];
            let bytes = &bytes[..left.min(bytes.len())];
            *slice = IoSlice::new(bytes);
            left -= bytes.len();
            count += 1;
        }
        count
    }

    /// Records that `written` more bytes were written. Zero is an error.
    fn advance(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += written;
        self.release_written(written);
        Ok(())
    }

    /// Drops the chunks that are completely written.
    fn release_written(&mut self, written: usize) {
        self.skip += written;
        let mut done = 0;
        for piece in &self.chunks {
            let len = piece.as_bytes().len();
            if self.skip < len {
                break;
            }
            self.skip -= len;
            done += 1;
        }
        self.chunks.drain(..done);
    }

    /// Number of bytes of router frames that are written.
    fn frame_bytes_written(&self) -> usize {
        self.written.saturating_sub(self.control_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::send::send_buffer::SendBuffer;
    use crate::primitives::buffer_pool::BufferPool;
    use crate::proto::{Id, Records, peek_len};
    use crate::testing::kit::pipe::Pipe;
    use crate::transport::Stream;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    /// Accepts a few bytes per write.
    #[derive(Default)]
    struct Trickle {
        taken: Mutex<Vec<u8>>,
        /// Start and requested end of each write, and whether it was to end a record.
        writes: Mutex<Vec<(usize, usize, bool)>>,
        random: Mutex<fastrand::Rng>,
    }

    impl Stream for Trickle {
        fn try_read(&self, _: &mut Vec<u8>) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn try_write(&self, slices: &[IoSlice<'_>], ends_record: bool) -> io::Result<usize> {
            let all: usize = slices.iter().map(|slice| slice.len()).sum();
            let start = self.taken.lock().unwrap().len();
            self.writes.lock().unwrap().push((start, start + all, ends_record));
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

        fn has_pending_write(&self) -> bool {
            false
        }

        fn activity(&self) -> u32 {
            0
        }

        fn force_keepalive_verdict(&self) {}

        fn start_keepalive_probe(&self) -> bool {
            true
        }

        fn restore_keepalive(&self) {}

        fn abort(&self) {}
    }

    #[test]
    fn short_writes_tear_no_frame_whatever_the_sizes() {
        let seed = 0x7ea2;
        let mut random = fastrand::Rng::with_seed(seed);
        for case in 0..100 {
            let stream = Arc::new(Trickle::default());
            stream.random.lock().unwrap().seed(case);
            let is_plain = case % 2 == 0;
            let control_sender = (!is_plain).then_some(Id::from_bytes([5; 32]));
            let link = Link::new(stream.clone(), None, Vec::new(), control_sender);
            let count = random.usize(1..60);
            let frames: Vec<Frame> = std::iter::repeat_with(|| {
                let len = [random.usize(..100), random.usize(..6000), random.usize(..60_000)];
                let id = Id::from_bytes([random.u8(..); 32]);
                Frame::builder(8, id).payload(vec![9; len[random.usize(..3)]]).build().unwrap()
            })
            .take(count)
            .collect();
            let mut plan = WriteBatch::default();
            let mut backlog = SendBuffer::default();
            let buffers = BufferPool::new(1 << 20);
            for frame in &frames {
                match SendBuffer::should_coalesce(frame.len()) {
                    true => backlog.append_coalesced(frame, &buffers),
                    false => backlog.push(frame.clone(), None),
                }
            }
            let (mut sent, mut bytes) = (0, 0);
            let control = Records { held: Some(7), ..Records::default() };
            let control = control.into_frame(Id::from_bytes([5; 32])).unwrap();
            let mut controls = 0;
            while sent < frames.len() {
                plan.reset(Some(&control));
                backlog.fill_batch(&mut plan);
                controls += 1;
                while plan.unwritten() > 0 {
                    let (more_frames, more_bytes) = backlog.advance(plan.write(&link).unwrap());
                    sent += more_frames;
                    bytes += more_bytes;
                    assert!(stream.taken.lock().unwrap().len() >= bytes);
                }
            }
            let taken = stream.taken.lock().unwrap();
            let counted = taken.len() - controls * (LENGTH_PREFIX + control.len());
            assert_eq!(counted, bytes, "seed {seed} case {case}");
            let mut arrived = split(&taken);
            arrived.retain(|frame| *frame != control);
            assert_eq!(arrived, frames, "seed {seed} case {case}");
            match is_plain {
                true => assert_each_is_a_record(&taken, &stream.writes.lock().unwrap()),
                false => assert!(stream.writes.lock().unwrap().iter().all(|write| !write.2)),
            }
        }
    }

    /// Each write extends to the end of the message in which it begins, and no further.
    fn assert_each_is_a_record(taken: &[u8], writes: &[(usize, usize, bool)]) {
        let mut end = 0;
        for (start, would_end, ends_record) in writes {
            if *start == end {
                end += peek_len(&taken[*start..]).unwrap().unwrap();
            }
            assert!(*start < end && *ends_record);
            assert_eq!(*would_end, end);
        }
        assert_eq!(end, taken.len());
    }

    /// A coalesced run and two separate frames, of 100 bytes each with their length prefixes.
    fn three_messages() -> WriteBatch {
        let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![7; 55]).build();
        let frame = frame.unwrap();
        let message = [&encode_length(96), frame.as_bytes()].concat();
        let mut plan = WriteBatch::default();
        plan.reset(None);
        plan.add(message.into());
        plan.add_frame(&frame);
        plan.add_frame(&frame);
        plan
    }

    #[test]
    fn messages_are_written_until_the_stream_is_full_and_gone_on_from_there() {
        let (line, other) = Pipe::pair();
        let link = Link::new(line.clone(), None, Vec::new(), None);
        let mut plan = three_messages();
        let mut write = |room| {
            line.outgoing().room = room;
            let written = plan.write(&link);
            (written.map_err(|error| error.kind()), link.write_half().is_mid_frame)
        };
        assert_eq!(write(0), (Err(io::ErrorKind::WouldBlock), false));
        assert_eq!(write(102), (Ok(102), true), "inside of a length");
        assert_eq!(write(0), (Err(io::ErrorKind::WouldBlock), true));
        assert_eq!(write(98), (Ok(98), false));
        line.outgoing().broken = true;
        assert_eq!(write(100), (Err(io::ErrorKind::BrokenPipe), false));
        line.outgoing().broken = false;
        assert_eq!(write(200), (Ok(100), false));
        assert_eq!(split(other.incoming().bytes.make_contiguous()).len(), 3);
    }

    #[test]
    fn one_call_writes_a_bounded_number_of_messages() {
        let (line, _other) = Pipe::pair();
        line.outgoing().room = usize::MAX;
        let link = Link::new(line, None, Vec::new(), None);
        let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload(vec![7; 55]).build();
        let message = [&encode_length(96), frame.unwrap().as_bytes()].concat();
        let mut plan = WriteBatch::default();
        plan.reset(None);
        plan.add(message.repeat(MAX_MESSAGES + 1).into());
        assert_eq!(plan.write(&link).unwrap(), 100 * MAX_MESSAGES);
        assert_eq!(plan.write(&link).unwrap(), 100);
    }

    /// The queue does not count written bytes that need no acknowledgement.
    #[test]
    fn what_was_written_is_let_go_though_the_rest_waits() {
        let (line, other) = Pipe::pair();
        let control_sender = Some(Id::from_bytes([5; 32]));
        let link = Link::new(line.clone(), None, Vec::new(), control_sender);
        let mut plan = WriteBatch::default();
        let alive = [0; 3].map(|_| Arc::new([9; 100]));
        plan.reset(None);
        for bytes in &alive {
            plan.add(Bytes::from_owner(Held(bytes.clone())));
        }
        for (room, held) in [(99, 3), (1, 2), (150, 1), (49, 1), (1, 0)] {
            line.outgoing().room = room;
            assert_eq!(plan.write(&link).unwrap(), room);
            assert_eq!(alive.iter().filter(|one| Arc::strong_count(one) > 1).count(), held);
        }
        assert_eq!((plan.unwritten(), other.incoming().bytes.len()), (0, 300));
    }

    struct Held(Arc<[u8; 100]>);

    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0[..]
        }
    }

    fn split(mut bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(len) = peek_len(bytes).unwrap() {
            frames.push(Frame::parse(bytes[LENGTH_PREFIX..len].to_vec()).unwrap());
            bytes = &bytes[len..];
        }
        frames
    }
}
