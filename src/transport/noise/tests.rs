//! Tests of encrypted streams and of their handshake.

use std::io::{self, IoSlice};
use std::sync::Arc;

use serde_json::Value;
use snow::Builder;

use super::*;
use crate::config::KeyPair;
use crate::primitives::buffer_pool::BufferPool;
use crate::proto::{Role, Suite};
use crate::testing::kit::pipe::Pipe;
use crate::transport::Stream;
use crate::transport::noise::cipher_state::{CipherState, HEADER, MAX_RECORD};
use crate::transport::noise::decrypt::Decryptor;
use crate::transport::noise::primitives::{SnowResolver, TAG};

/// Both ends of a completed handshake.
fn exchanged(suite: Suite) -> [NoiseHandshake; 2] {
    let [one, other] = [1, 2].map(|number| KeyPair::from_bytes([number; 32]));
    let begin = |role, keys| NoiseHandshake::begin(suite, role, keys, None, b"hello").unwrap();
    let (mut dialer, mut listener) = (begin(Role::Dialer, &one), begin(Role::Listener, &other));
    listener.read(&dialer.write().unwrap()).unwrap();
    dialer.read(&listener.write().unwrap()).unwrap();
    listener.read(&dialer.write().unwrap()).unwrap();
    assert_eq!(dialer.remote_static(), Some(other.public()));
    assert_eq!(listener.remote_static(), Some(one.public()));
    [dialer, listener]
}

/// Two encrypted streams, and the ends of the pipe between them.
fn joined(suite: Suite) -> ([NoiseStream; 2], [Arc<Pipe>; 2]) {
    let [dialer, listener] = exchanged(suite);
    let (near, far) = Pipe::pair();
    let buffers = Arc::<NoiseBuffers>::default();
    let finish = |handshake: NoiseHandshake, pipe: &Arc<Pipe>| {
        let stream = handshake.finish(pipe.clone(), Vec::new(), buffers.clone(), 100).unwrap();
        stream.lift_limit();
        stream
    };
    ([finish(dialer, &near), finish(listener, &far)], [near, far])
}

/// The transport keys of both ends.
fn keys() -> [CipherState; 2] {
    exchanged(Suite::ChaChaPoly)
        .map(|handshake| CipherState::new(handshake.into_transport().unwrap()))
}

/// Whether more was read than fits the buffer of the caller, and no whole record.
fn is_partial<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted)
}

/// Reads until nothing is left.
fn read_all(stream: &NoiseStream, buffer: &mut Vec<u8>) {
    loop {
        let read = stream.try_read(buffer);
        if read.is_err() && !is_partial(&read) {
            return;
        }
    }
}

fn is_blocked<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn fault<T>(result: io::Result<T>) -> Option<RecordError> {
    RecordError::of(&result.err()?)
}

#[test]
fn published_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/noise.json"))
        .expect("the vectors are JSON");
    let vectors = vectors["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 4);
    vectors.iter().for_each(check);
}

fn check(vector: &Value) {
    let name = vector["protocol_name"].as_str().unwrap();
    let bytes = |value: &Value| -> Vec<u8> {
        let text = value.as_str().unwrap();
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    };
    let side = |side: &str| {
        let field = |field: &str| bytes(&vector[format!("{side}_{field}")]);
        let (private, ephemeral, prologue) =
            (field("static"), field("ephemeral"), field("prologue"));
        let psk = vector[format!("{side}_psks")].get(0).map(&bytes);
        let primitives = SnowResolver::new().unwrap();
        let psk = psk.map(|psk| primitives.masked(&psk.try_into().unwrap()));
        let mut builder = Builder::with_resolver(name.parse().unwrap(), Box::new(primitives));
        builder = builder.local_private_key(&private).unwrap().prologue(&prologue).unwrap();
        builder = builder.fixed_ephemeral_key_for_testing_only(&ephemeral);
        if let Some(psk) = &psk {
            builder = builder.psk(3, psk).unwrap();
        }
        match side {
            "init" => builder.build_initiator().unwrap(),
            _ => builder.build_responder().unwrap(),
        }
    };
    let mut sides = [side("init"), side("resp")];
    let mut messages = vector["messages"].as_array().unwrap().iter().enumerate();
    let both = |message: &Value| (bytes(&message["payload"]), bytes(&message["ciphertext"]));
    let (mut sealed, mut opened) = ([0; 200], [0; 200]);
    for (at, message) in messages.by_ref().take(3) {
        let (payload, ciphertext) = both(message);
        let len = sides[at % 2].write_message(&payload, &mut sealed).unwrap();
        assert_eq!(sealed[..len], ciphertext, "{name} {at}");
        let len = sides[1 - at % 2].read_message(&ciphertext, &mut opened).unwrap();
        assert_eq!(opened[..len], payload, "{name} {at}");
    }
    let mut sides = sides.map(|side| side.into_transport_mode().unwrap());
    for (at, message) in messages {
        let (payload, ciphertext) = both(message);
        let len = sides[at % 2].write_message(&payload, &mut sealed).unwrap();
        assert_eq!(sealed[..len], ciphertext, "{name} {at}");
        let len = sides[1 - at % 2].read_message(&ciphertext, &mut opened).unwrap();
        assert_eq!(opened[..len], payload, "{name} {at}");
    }
}

/// Data arrives intact however writes are split and the pipe fragments them. Rekeys many times
/// meanwhile.
#[test]
fn written_data_arrives_intact_however_it_is_fragmented() {
    let mut random = fastrand::Rng::with_seed(5);
    for suite in [Suite::ChaChaPoly, Suite::AesGcm] {
        let ([dialer, listener], pipes) = joined(suite);
        for _ in 0..2_500 {
            let (writer, reader, at) = match random.bool() {
                true => (&dialer, &listener, 0),
                false => (&listener, &dialer, 1),
            };
            let len = *random.choice(&[1, 10, 1_000, 40_000]).unwrap();
            let sent: Vec<u8> = (0..random.usize(1..=len)).map(|_| random.u8(..)).collect();
            let (first, second) = sent.split_at(random.usize(0..=sent.len()));
            let mut got = Vec::new();
            let mut done = 0;
            while got.len() < sent.len() {
                pipes[at].outgoing().room += random.usize(1..=len);
                if done < sent.len() {
                    let rest = done.min(first.len());
                    let slices = [&first[rest..], &second[done - rest..]].map(IoSlice::new);
                    match writer.try_write(&slices, false) {
                        Ok(count) => done += count,
                        blocked => assert!(is_blocked(&blocked)),
                    }
                }
                pipes[1 - at].incoming().arrive(random.usize(1..=len));
                let mut piece = Vec::with_capacity(random.usize(1..=len));
                match reader.try_read(&mut piece) {
                    Ok(count) => assert_eq!(piece.len(), count),
                    blocked => assert!(is_blocked(&blocked) || is_partial(&blocked)),
                }
                got.extend(piece);
            }
            assert!(got == sent && done == sent.len());
        }
        for stream in [&dialer, &listener] {
            assert!(is_blocked(&stream.try_read(&mut Vec::with_capacity(10))));
            assert!(stream.numbers().iter().all(|number| *number > 1_024), "it was not rekeyed");
            assert!(stream.allocated() < 200, "{} bytes while idle", stream.allocated());
        }
    }
}

/// Nothing counts as written that the remote could not have read.
#[test]
fn written_bytes_can_be_read_without_a_flush() {
    let ([dialer, listener], [near, far]) = joined(Suite::ChaChaPoly);
    let sent = vec![7; 100_000];
    let mut done = 0;
    let mut got = Vec::with_capacity(sent.len());
    while done < sent.len() {
        near.outgoing().room += 5_000;
        match dialer.try_write(&[IoSlice::new(&sent[done..])], false) {
            Ok(count) => done += count,
            blocked => assert!(is_blocked(&blocked)),
        }
        far.incoming().arrive(usize::MAX);
        read_all(&listener, &mut got);
        assert_eq!(got.len(), done);
    }
    // A caller that passes other bytes after a blocked write does not replace the pending ones.
    assert!(is_blocked(&dialer.try_write(&[IoSlice::new(&sent[..50_000])], false)));
    near.outgoing().room = 1 << 20;
    assert_eq!(dialer.try_write(&[IoSlice::new(&[1, 2, 3])], false).unwrap(), 3);
    far.incoming().arrive(usize::MAX);
    let mut rest = Vec::with_capacity(sent.len());
    read_all(&listener, &mut rest);
    assert_eq!(rest, sent[..50_000]);
}

/// Encodes a record as it goes over the wire.
fn seal(keys: &mut CipherState, plain: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADER + plain.len() + TAG];
    let len = keys.seal(plain, &mut message[HEADER..]).unwrap();
    message[..HEADER].copy_from_slice(&(len as u32).to_be_bytes());
    message
}

/// Decrypts `bytes`, after which the stream ends.
fn read(keys: &mut CipherState, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut decryptor = Decryptor::new(bytes, MAX_RECORD);
    let mut buffer = Vec::with_capacity(1_000);
    let read = decryptor.read(&mut buffer, keys, &BufferPool::new(0), |_| Ok(0));
    assert!(read.is_ok() || buffer.is_empty(), "plaintext was delivered");
    // The outcome is permanent.
    let mut more = Vec::with_capacity(1_000);
    let again = decryptor.read(&mut more, keys, &BufferPool::new(0), |_| Ok(0));
    assert!(more.is_empty() && again.is_ok() == read.is_ok());
    read.map(|_| buffer)
}

#[test]
fn every_flipped_bit_is_detected() {
    let [mut sender, mut receiver] = keys();
    let mut random = fastrand::Rng::with_seed(6);
    let mut flipped = 0;
    for number in 0..1_000 {
        let plain: Vec<u8> = (0..random.usize(1..100)).map(|_| random.u8(..)).collect();
        let message = seal(&mut sender, &plain);
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1 << random.u8(..8);
            assert!(fault(read(&mut receiver, changed)).is_some(), "message {number} byte {at}");
            flipped += 1;
        }
        assert_eq!(read(&mut receiver, message).unwrap(), plain);
    }
    println!("{flipped} bytes of 1000 messages flipped in turn, and all detected");
}

#[test]
fn replayed_dropped_reordered_and_reflected_records_are_detected() {
    let [mut sender, mut receiver] = keys();
    let [first, second, third] = [1, 2, 3].map(|number| seal(&mut sender, &[number; 30]));
    assert_eq!(
        fault(read(&mut receiver, second.clone())),
        Some(RecordError::Tampered),
        "out of order"
    );
    assert_eq!(read(&mut receiver, first.clone()).unwrap(), [1; 30]);
    assert_eq!(fault(read(&mut receiver, first)), Some(RecordError::Tampered), "replayed");
    assert_eq!(fault(read(&mut receiver, third)), Some(RecordError::Tampered), "dropped");
    // A valid record is delivered before the fault of the next one.
    let mut decryptor = Decryptor::new([&second[..], &second].concat(), MAX_RECORD);
    decryptor.lift_limit();
    let mut buffer = Vec::with_capacity(1_000);
    let mut read = |buffer: &mut Vec<u8>| {
        decryptor.read(buffer, &mut receiver, &BufferPool::new(0), |_| Ok(0))
    };
    assert_eq!(read(&mut buffer).unwrap(), 30);
    assert_eq!(fault(read(&mut buffer)), Some(RecordError::Tampered));
    // The sender's own record, reflected to it.
    let own = seal(&mut sender, &[9]);
    assert_eq!(fault(self::read(&mut sender, own)), Some(RecordError::Tampered), "reflected");
}

#[test]
fn the_end_of_the_stream_differs_from_a_truncated_record() {
    let [mut sender, mut receiver] = keys();
    let message = seal(&mut sender, &[7; 30]);
    assert_eq!(read(&mut receiver, Vec::new()).unwrap(), Vec::<u8>::new());
    for len in 1..message.len() {
        assert_eq!(
            fault(read(&mut receiver, message[..len].to_vec())),
            Some(RecordError::Truncated)
        );
    }
    assert_eq!(read(&mut receiver, message).unwrap(), [7; 30]);
}

#[test]
fn invalid_lengths_cost_no_memory() {
    let [_, mut receiver] = keys();
    for len in [0, 16, 65_536, u32::MAX] {
        let bytes = [&len.to_be_bytes()[..], &[0; 40]].concat();
        assert_eq!(fault(read(&mut receiver, bytes)), Some(RecordError::Tampered), "{len}");
    }
    // Before admission no more is read than a handshake needs.
    let mut decryptor = Decryptor::new(60_000u32.to_be_bytes().to_vec(), 512);
    let mut buffer = Vec::with_capacity(1_000);
    let read =
        decryptor.read(&mut buffer, &mut receiver, &BufferPool::new(0), |_| panic!("it read"));
    assert_eq!(fault(read), Some(RecordError::Tampered));
    let mut decryptor = Decryptor::new(500u32.to_be_bytes().to_vec(), 512);
    let read = decryptor.read(&mut buffer, &mut receiver, &BufferPool::new(0), |bytes| {
        assert!(bytes.capacity() <= 512 + HEADER + 256);
        Ok(0)
    });
    assert_eq!(fault(read), Some(RecordError::Truncated));
}

#[test]
fn a_low_order_key_is_refused() {
    let keys = KeyPair::from_bytes([1; 32]);
    let mut dialer =
        NoiseHandshake::begin(Suite::ChaChaPoly, Role::Dialer, &keys, None, b"").unwrap();
    dialer.write().unwrap();
    // A low-order ephemeral key.
    assert_eq!(dialer.read(&[0; 96]), Err(AuthError));
}

#[test]
fn another_prologue_or_network_secret_is_detected() {
    let keys = KeyPair::from_bytes([1; 32]);
    let secrets = [3, 4].map(|byte| crate::NetworkSecret::from_bytes([byte; 32]));
    let begin = |role, secret, prologue: &[u8]| {
        NoiseHandshake::begin(Suite::ChaChaPoly, role, &keys, secret, prologue).unwrap()
    };
    let agree = |mut dialer: NoiseHandshake, mut listener: NoiseHandshake| {
        listener.read(&dialer.write()?)?;
        dialer.read(&listener.write()?)?;
        listener.read(&dialer.write()?)
    };
    let [one, other] = secrets.each_ref().map(Some);
    let (dialer, listener) = (Role::Dialer, Role::Listener);
    assert_eq!(agree(begin(dialer, one, b"a"), begin(listener, one, b"a")), Ok(()));
    assert_eq!(agree(begin(dialer, one, b"a"), begin(listener, other, b"a")), Err(AuthError));
    assert_eq!(agree(begin(dialer, None, b"a"), begin(listener, one, b"a")), Err(AuthError));
    assert_eq!(agree(begin(dialer, None, b"a"), begin(listener, None, b"b")), Err(AuthError));
    // With the wrong network secret the first message is rejected before any curve multiplication.
    let first = begin(dialer, other, b"a").write().unwrap();
    assert_eq!(begin(listener, one, b"a").read(&first), Err(AuthError));
}

/// Many links may be stalled at once, so a blocked one shrinks its buffer to the pending bytes.
#[test]
fn a_blocked_link_holds_only_the_pending_bytes() {
    let ([one, other], [near, _far]) = joined(Suite::ChaChaPoly);
    let sealed = |len: usize| HEADER + len + TAG;
    near.outgoing().room = 5;
    let small = [IoSlice::new(&[7; 10])];
    assert!(is_blocked(&one.try_write(&small, false)));
    assert!(one.allocated() <= sealed(10), "{} bytes for 10", one.allocated());
    near.outgoing().room = sealed(10) - 5;
    assert_eq!(one.try_write(&small, false).unwrap(), 10);
    // The stream is full again: of a large write only one record is encrypted.
    let large = vec![8; 200_000];
    assert!(is_blocked(&one.try_write(&[IoSlice::new(&large)], false)));
    assert!(one.allocated() <= sealed(16 << 10), "{} bytes of a large write", one.allocated());
    near.outgoing().room = usize::MAX;
    let mut written = 0;
    while written < large.len() {
        written += one.try_write(&[IoSlice::new(&large[written..])], false).unwrap();
    }
    near.outgoing().arrive(usize::MAX);
    let mut got = Vec::with_capacity(300_000);
    read_all(&other, &mut got);
    assert!(got == [&[7; 10][..], &large].concat());
    assert_eq!(one.allocated(), 0, "it is idle");
}

/// Regression: pooled buffers kept plaintext, which the next link received and nothing ever wiped.
#[test]
fn plaintext_is_wiped_from_pooled_buffers() {
    let [dialer, _listener] = exchanged(Suite::ChaChaPoly);
    let (near, _far) = Pipe::pair();
    let buffers = Arc::<NoiseBuffers>::default();
    let stream = dialer.finish(near.clone(), Vec::new(), buffers.clone(), 100).unwrap();
    near.outgoing().room = usize::MAX;
    let text = b"for the remote only";
    let count = stream.try_write(&[IoSlice::new(text), IoSlice::new(text)], false).unwrap();
    assert_eq!(count, 2 * text.len());
    let buffer = buffers.write.get_with_len(encrypt::BUFFER_SIZE);
    assert!(buffer.iter().any(|byte| *byte != 0), "it was not put back");
    assert!(!buffer.windows(text.len()).any(|window| window == text));
}

#[test]
fn a_partial_record_counts_until_it_is_whole() {
    let ([sender, receiver], [_, far]) = joined(Suite::ChaChaPoly);
    far.incoming().room = usize::MAX;
    let mut buffer = Vec::with_capacity(5_000);
    for payload in [10, 3_000] {
        sender.try_write(&[IoSlice::new(&vec![7; payload])], false).unwrap();
        for part in [1, HEADER + TAG] {
            far.incoming().arrive(part);
            assert!(is_blocked(&receiver.try_read(&mut buffer)));
        }
        assert_eq!(receiver.partial_record(), 1 + HEADER + TAG);
        far.incoming().arrive(usize::MAX);
        assert_eq!(receiver.try_read(&mut buffer).unwrap(), payload);
        assert_eq!(receiver.partial_record(), 0);
    }
}
