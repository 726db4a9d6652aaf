use super::*;

/// Generates a frame of random shape and content.
fn any_frame(random: &mut fastrand::Rng) -> FrameBuilder {
    let mut id = || Id::from_bytes(std::array::from_fn(|_| random.u8(..)));
    let (sender, other) = (id(), id());
    let mut builder = Frame::builder(random.u16(..), sender);
    match random.u8(..3) {
        0 => {}
        1 => builder = builder.recipient(Recipient::Address(other)),
        _ => builder = builder.recipient(Recipient::Namespace(other)),
    }
    if random.bool() {
        let hash = std::array::from_fn(|_| random.u8(..));
        let (num, last) = (random.u8(..), random.u8(..));
        builder = builder.sequence_id(SequenceId { hash, num, last });
    }
    if random.bool() {
        builder = builder.auxiliary_data(std::array::from_fn(|_| random.u8(1..)));
    }
    if random.bool() {
        builder = builder.signature(std::array::from_fn(|_| random.u8(1..)));
    }
    let len = random.usize(..300);
    let payload = std::iter::repeat_with(|| random.u8(..)).take(len);
    builder.payload(payload.collect::<Vec<u8>>())
}

#[test]
fn ten_thousand_round_trips() {
    let seed = 0x6e65_746d;
    let mut random = fastrand::Rng::with_seed(seed);
    for case in 0..10_000 {
        let builder = any_frame(&mut random);
        let frame = builder.clone().build().unwrap();
        let mut wire = frame.as_bytes().to_vec();
        wire.resize(wire.len() + random.usize(..9), 0xAA);
        let read = Frame::parse(wire).unwrap();
        assert_eq!(read, frame, "seed {seed} case {case}");
        assert_eq!(builder.header_len(), frame.header_len(), "seed {seed} case {case}");
        assert_eq!(read.modes(), builder.modes);
        assert_eq!(read.sender(), builder.sender);
        assert_eq!(read.recipient(), builder.recipient);
        assert_eq!(read.sequence_id(), builder.sequence_id);
        assert_eq!(read.auxiliary_data(), builder.auxiliary_data.as_ref());
        assert_eq!(read.signature(), builder.signature.as_ref());
        assert_eq!(read.payload(), builder.payload);
    }
}

#[test]
fn truncated_frames_are_refused() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let frame = any_frame(&mut random).build().unwrap();
        for len in 0..frame.len() {
            assert!(Frame::parse(frame.as_bytes()[..len].to_vec()).is_err());
        }
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..100_000 {
        let len = random.usize(..400);
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
        if let Some(tag) = bytes.get_mut(FIXED) {
            *tag %= 4; // or nearly none would get past the recipient
        }
        if let Ok(frame) = Frame::parse(bytes) {
            let _ = (frame.sequence_id(), frame.auxiliary_data(), frame.signature());
            assert!(frame.payload().len() <= frame.len());
        }
    }
}

#[test]
fn errors_name_the_fault() {
    let frame = Frame::builder(8, Id::from_bytes([1; 32])).payload("abc").build().unwrap();
    let changed = |at: usize, to: u8| {
        let mut bytes = frame.as_bytes().to_vec();
        bytes[at] = to;
        Frame::parse(bytes).unwrap_err()
    };
    assert_eq!(changed(0, 2), FrameError::Version(2));
    assert_eq!(changed(35, 3), FrameError::RecipientTag(3));
    assert_eq!(changed(40, 4), FrameError::PayloadCut { declared: 4, present: 3 });
    let builder = Frame::builder(8, Id::from_bytes([1; 32]));
    let error = builder.clone().payload(vec![0; 65_536]).build().unwrap_err();
    assert_eq!(error, FrameError::PayloadTooLong(65_536));
    let error = builder.signature([0; 64]).build().unwrap_err();
    assert_eq!(error, FrameError::LeadingZero("signature"));
}

#[test]
fn a_compact_slice_releases_its_large_buffer() {
    let frame = Frame::builder(8, Id::from_bytes([1; 32])).build().unwrap();
    let slice = Frame::from_slice(frame.bytes.clone(), 65_536);
    assert_ne!(slice.compact().as_bytes().as_ptr(), frame.as_bytes().as_ptr());
    assert_eq!(frame.clone().compact().as_bytes().as_ptr(), frame.as_bytes().as_ptr());
}
