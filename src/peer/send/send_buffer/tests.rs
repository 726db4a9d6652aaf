use super::*;
use crate::peer::send::memory_budget::{MemoryBudget, cost};
use crate::proto::Id;

fn frame(number: u8, payload: usize) -> Frame {
    let builder = Frame::builder(8, Id::from_bytes([number; 32]));
    builder.payload(vec![number; payload]).build().unwrap()
}

fn append(buffer: &mut SendBuffer, frame: Frame) {
    buffer.append_coalesced(&frame, &BufferPool::new(0));
}

fn add(buffer: &mut SendBuffer, frame: Frame) {
    match SendBuffer::should_coalesce(frame.len()) {
        true => append(buffer, frame),
        false => buffer.push(frame, None, None),
    }
}

fn pop(buffer: &mut SendBuffer, mut count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(segment) = buffer.pop(count) {
        count -= segment.frames();
        segment.into_frames(&mut frames);
    }
    frames
}

#[test]
fn the_next_tail_is_sized_by_the_last_one() {
    let mut buffer = SendBuffer::default();
    (0..100).for_each(|number| append(&mut buffer, frame(number, 500)));
    buffer.fill_batch(&mut WriteBatch::default(), usize::MAX);
    assert_eq!(pop(&mut buffer, 100).len(), 100);
    append(&mut buffer, frame(1, 0));
    assert!(buffer.tail.capacity() > 1000, "sized for a burst");
    buffer.fill_batch(&mut WriteBatch::default(), usize::MAX);
    assert!(buffer.next_capacity < 100 && buffer.tail.capacity() == 0);
}

#[test]
fn the_first_tail_after_a_burst_is_small() {
    let mut buffer = SendBuffer::default();
    (0..200).for_each(|number| append(&mut buffer, frame(number, 500)));
    buffer.fill_batch(&mut WriteBatch::default(), usize::MAX);
    append(&mut buffer, frame(1, 0));
    assert!(buffer.tail.capacity() <= SEGMENT_INITIAL, "{}", buffer.tail.capacity());
    (0..100).for_each(|number| append(&mut buffer, frame(number, 500)));
    assert!(buffer.tail.capacity() <= 2 * buffer.tail.len());
}

#[test]
fn full_segments_return_to_the_pool() {
    let buffers = BufferPool::new(1 << 20);
    let mut buffer = SendBuffer::default();
    let mut fill = |count| {
        (0..count).for_each(|_| buffer.append_coalesced(&frame(1, 1000), &buffers));
        buffer.fill_batch(&mut WriteBatch::default(), usize::MAX);
        let kept = buffers.pooled_bytes();
        while buffer.pop(usize::MAX).is_some() {}
        (kept, buffers.pooled_bytes())
    };
    let (while_full, after) = fill(200);
    assert!(after >= while_full + 2 * SEGMENT_MAX, "{while_full} {after}");
    assert_eq!(fill(200), (while_full, after), "the buffers are reused");
}

#[test]
fn the_rest_of_a_segment_is_reallocated() {
    let end = |buffer: &SendBuffer| match &buffer.segments[0] {
        Segment::Coalesced { messages, .. } => messages.as_ptr_range().end,
        Segment::Frame { .. } => panic!("a small frame is copied"),
    };
    let tail = BufferPool::new(0).get_pooled(SEGMENT_MAX);
    let mut buffer = SendBuffer { tail, ..SendBuffer::default() };
    (0..100).for_each(|number| append(&mut buffer, frame(number, 500)));
    buffer.fill_batch(&mut WriteBatch::default(), usize::MAX);
    let original = end(&buffer);
    assert_eq!(pop(&mut buffer, 60).len(), 60);
    assert_eq!(end(&buffer), original, "not worth copying");
    assert_eq!(pop(&mut buffer, 20).len(), 20);
    let reallocated = end(&buffer);
    assert_ne!(reallocated, original);
    assert_eq!(pop(&mut buffer, 10).len(), 10);
    assert_eq!(end(&buffer), reallocated, "not worth copying");
    assert_eq!(pop(&mut buffer, 9).len(), 9);
    assert_ne!(end(&buffer), reallocated);
    assert_eq!(pop(&mut buffer, 2), [frame(99, 500)]);
}

/// Random operations, compared with a plain list of frames as the model.
#[test]
fn behaves_like_a_plain_list_of_frames() {
    let budget = MemoryBudget::new(usize::MAX);
    let is_flood = |frame: &Frame| frame.sender().as_bytes()[0] % 4 == 0;
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut buffer = SendBuffer::default();
        let (mut list, mut written, mut number) = (VecDeque::new(), 0, 0u8);
        for _ in 0..200 {
            match random.u8(..8) {
                0..=2 => {
                    number = number.wrapping_add(1);
                    let payload = [random.usize(..9), random.usize(..3000)][random.usize(..2)];
                    let frame = frame(number, payload);
                    list.push_back(frame.clone());
                    match is_flood(&frame) {
                        true => {
                            let flood = SharedReservation::new(&budget, &frame);
                            buffer.push(frame, flood, None);
                        }
                        false => add(&mut buffer, frame),
                    }
                }
                3 => {
                    let mut batch = WriteBatch::default();
                    buffer.fill_batch(&mut batch, usize::MAX);
                    let bytes = random.usize(..=batch.unwritten());
                    let (frames, frame_bytes) = buffer.advance(bytes);
                    let expected = list.range(written..).map(|frame| LENGTH_PREFIX + frame.len());
                    let mut sum = 0;
                    let expected: Vec<usize> = expected
                        .take_while(|len| {
                            sum += len;
                            sum <= bytes
                        })
                        .collect();
                    let sum = expected.iter().sum::<usize>();
                    assert_eq!((frames, frame_bytes), (expected.len(), sum), "seed {seed}");
                    written += frames;
                    buffer.reset_partial();
                }
                4 => {
                    let count = random.usize(..=written);
                    let taken = pop(&mut buffer, count);
                    assert_eq!(taken, list.drain(..count).collect::<Vec<_>>(), "seed {seed}");
                    written -= count;
                }
                5 => {
                    buffer.rewind();
                    written = 0;
                }
                6 => {
                    let kept = random.usize(written..=list.len());
                    let count = random.usize(..4);
                    let mut taken = Vec::new();
                    for segment in buffer.shed(kept, count * 3300) {
                        segment.into_frames(&mut taken);
                    }
                    assert!(count == 0 || !taken.is_empty() || kept == list.len());
                    let expected: Vec<_> = list.drain(kept..kept + taken.len()).collect();
                    assert_eq!(taken, expected, "seed {seed}");
                }
                _ => {
                    let mut other = SendBuffer::default();
                    other.append(&mut buffer);
                    (buffer, written) = (other, 0);
                }
            }
            let size = |is_counted: &dyn Fn(&&Frame) -> bool| {
                let counted = list.iter().filter(is_counted);
                counted.fold((0, 0), |(n, bytes), frame| (n + 1, bytes + cost(frame)))
            };
            assert_eq!(buffer.size(), size(&|_| true), "seed {seed}");
            assert_eq!(buffer.flood_size(), size(&|frame| is_flood(frame)), "seed {seed}");
            assert_eq!((buffer.written(), buffer.has_unwritten()), (written, written < list.len()));
        }
        let all: Vec<_> = list.into_iter().collect();
        assert_eq!(pop(&mut buffer, usize::MAX), all, "seed {seed}");
    }
}
