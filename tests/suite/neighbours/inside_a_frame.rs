//! A thousand strangers that stop inside a frame.

use std::net::Ipv4Addr;

use netmod_inet::{Builder, DownReason, Event, InetEndpoint, Limits};

use super::stranger::dial_from;
use crate::reliability::figures::{peak_resident, raise_files, resident};
use crate::reliability::process::{alone, report, skipped};
use crate::scripted::{PlainListener, PlainPeer, STANDARD, hello, numbered, prefixed};
use crate::subject::{Node, quick};

const STRANGERS: u16 = 1_000;

/// Both ends of each link, and what a test process has open besides.
const FILES: usize = 2 * STRANGERS as usize + 100;

/// Bytes that all of them together may take, their links included.
const MAX_GROWTH: usize = 24 << 20;

/// A frame of nearly the maximum length.
const FRAME: usize = 65_000;

fn limits() -> Limits {
    let mut limits = quick();
    limits.peers = 2 * usize::from(STRANGERS);
    limits
}

/// Strangers come from many networks.
fn source(number: u16) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, (number % 200) as u8 + 1, 1)
}

/// Fails if the strangers take too much memory, or disturb a good peer.
fn memory_is_bounded<T>(test: &str, builder: Builder, stranger: impl Fn(u16, u16) -> T) {
    alone(test, || {
        if raise_files(FILES) < FILES {
            return skipped(test, "this system allows too few open files");
        }
        let mut node = Node::started(builder.bind("127.0.0.1:0"));
        let listener = PlainListener::bind();
        let good = node.add(&listener.addr(""));
        let mut peer = listener.answer(STANDARD, 200);
        node.up();
        let before = resident();
        let strangers: Vec<T> =
            (0..STRANGERS).map(|number| stranger(node.port(), number)).collect();
        // One at a time may complete its frame, and ends if it does not. So all have been read as
        // far as they will be.
        let reason = node.wait("end of a stranger", |event| match event {
            Event::Down { reason: reason @ DownReason::FrameTimeout(_), .. } => {
                Some(reason.clone())
            }
            _ => None,
        });
        for number in 0..100 {
            peer.send(&numbered(number, 500));
            node.expect_frames(good, [&numbered(number, 500)]);
            node.try_send(good, &numbered(number, 500));
            assert_eq!(peer.read_frame(), numbered(number, 500));
        }
        assert_eq!(node.info(good).links, 1);
        let peers = node.endpoint.peers().len();
        assert!(peers > usize::from(STRANGERS) - 10, "{peers} peers, the first left by: {reason}");
        drop(strangers);
        let grown = peak_resident().zip(before).map_or(0, |(peak, before)| peak - before);
        report(&format!("{STRANGERS} strangers inside a frame: {} KiB", grown >> 10));
        assert!(grown <= MAX_GROWTH, "{grown} bytes");
    });
}

#[test]
fn plain_strangers() {
    let builder = InetEndpoint::builder().limits(limits());
    memory_is_bounded("neighbours::inside_a_frame::plain_strangers", builder, |port, number| {
        let mut stranger = PlainPeer::over(dial_from(source(number), port));
        stranger.send(&hello(STANDARD, 0, (number % 251) as u8));
        stranger.read_frame();
        let frame = prefixed(&numbered(1, FRAME));
        stranger.write(&frame[..frame.len() - 1]);
        stranger
    });
}

#[cfg(feature = "noise")]
mod encrypted {
    use noise_rust_crypto::ChaCha20Poly1305;

    use super::super::stranger::ID;
    use super::*;
    use crate::encrypted::other_implementation::{NoiseLink, exchange_keys};
    use crate::resume::by_hand::{
        ACK, CREDIT, Extension, NOISE, PROOF, Wire, control, extension_of, hello, new_extension,
        proof_of_dialer, secret,
    };

    /// Inside a frame, and inside a Noise message of it.
    fn stranger(port: u16, number: u16) -> NoiseLink<ChaCha20Poly1305> {
        let mut wire = Wire::over(dial_from(source(number), port));
        let [high, low] = number.to_be_bytes();
        let mut bytes = [high + 1; 16];
        bytes[0] = low;
        let mut own = new_extension(&bytes, bytes, bytes);
        own.insert(NOISE, vec![1]);
        let mut key = [high + 1; 32];
        // Not the first byte, of which some bits are ignored.
        key[1] = low;
        // Its router id, in the header and in a Hello.
        let with_id = |mut frame: Vec<u8>| {
            while let Some(at) = frame.windows(32).position(|bytes| bytes == [ID; 32]) {
                frame[at..at + 32].copy_from_slice(&key);
            }
            frame
        };
        let own_hello = with_id(hello(ID, &own));
        wire.send(&own_hello);
        let ack = wire.expect_frame();
        let remote = extension_of(&ack);
        let mut link = exchange_keys(wire, key, true, None, &[&own_hello, &ack]);
        let proof = proof_of_dialer(&secret(&own, &remote), &own, &remote).to_vec();
        let first = Extension::from([(PROOF, proof), (ACK, vec![0; 8]), (CREDIT, vec![0; 8])]);
        link.send(&with_id(control(ID, &first)));
        let frame = prefixed(&numbered(1, FRAME));
        let (first, last) = frame.split_at(FRAME / 2);
        link.write(first);
        link.write_part(last, last.len() - 1);
        link
    }

    #[test]
    fn strangers() {
        let keys = netmod_inet::KeyPair::generate().expect("random bytes");
        let builder = InetEndpoint::builder().encrypt(netmod_inet::Encryption::new(keys));
        let mut limits = limits();
        limits.handshake_cpu = std::time::Duration::from_secs(1);
        let test = "neighbours::inside_a_frame::encrypted::strangers";
        memory_is_bounded(test, builder.limits(limits), stranger);
    }
}
