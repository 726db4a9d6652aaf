use crate::proto::{Ack, Extension, Frame, FrameError, Header, Hello, SequenceId, VERSION};

/// Parses the input as a frame, and its payload as every message of this crate.
///
/// Whatever can be decoded is encoded to the same bytes again.
pub fn frame(bytes: &[u8]) {
    check_extension(bytes);
    let frame = match Frame::parse(bytes.to_vec()) {
        Ok(frame) => frame,
        Err(FrameError::Version(version)) => {
            assert_ne!(version, VERSION);
            return assert!(Header::parse(bytes).is_ok());
        }
        Err(_) => return assert!(bytes.first() != Some(&VERSION) || Header::parse(bytes).is_err()),
    };
    assert_eq!(frame.as_bytes(), &bytes[..frame.len()]);
    assert_eq!(frame.len(), frame.header_len() + frame.payload().len());
    assert_eq!(Frame::parse(frame.as_bytes().to_vec()).as_ref(), Ok(&frame));
    assert!(Frame::parse(bytes[..frame.len() - 1].to_vec()).is_err(), "one byte is missing");
    assert_eq!(rebuilt(&frame), canonical(&frame));
    handshake_payload(&frame);
    check_extension(frame.payload());
}

/// Rebuilds a frame from its fields, with a builder.
fn rebuilt(frame: &Frame) -> Vec<u8> {
    let mut builder = Frame::builder(frame.modes(), frame.sender()).payload(frame.payload_bytes());
    if let Some(recipient) = frame.recipient() {
        builder = builder.recipient(recipient);
    }
    if let Some(SequenceId { hash, num, last }) = frame.sequence_id() {
        builder = builder.sequence_id(SequenceId { hash, num, last });
    }
    if let Some(data) = frame.auxiliary_data() {
        builder = builder.auxiliary_data(*data);
    }
    if let Some(signature) = frame.signature() {
        builder = builder.signature(*signature);
    }
    builder.build().unwrap().as_bytes().to_vec()
}

/// The bytes of the frame, with the sequence id tag that encoders write.
fn canonical(frame: &Frame) -> Vec<u8> {
    let mut bytes = frame.as_bytes().to_vec();
    if frame.sequence_id().is_some() {
        let recipient = if frame.recipient().is_some() { 33 } else { 1 };
        bytes[35 + recipient] = 1;
    }
    bytes
}

fn handshake_payload(frame: &Frame) {
    if let Ok((hello, rest)) = Hello::decode(frame) {
        assert_eq!(hello.encode(rest).unwrap().payload(), frame.payload());
        check_extension(rest);
    }
    if let Ok((ack, rest)) = Ack::decode(frame) {
        assert_eq!(ack.encode(rest).unwrap().payload(), frame.payload());
        check_extension(rest);
    }
}

fn check_extension(bytes: &[u8]) {
    if let Some(extension) = Extension::decode(bytes) {
        assert_eq!(Extension::decode(&extension.encode()), Some(extension));
    }
}
