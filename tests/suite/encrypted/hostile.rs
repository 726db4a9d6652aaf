//! A peer that has a key and may come in, and does not keep to anything else.

use netmod_inet::DownReason;
use noise_rust_crypto::ChaCha20Poly1305;

use super::other_implementation::{NoiseLink, dial, dialer_proof};
use super::{encryption, id, listener};
use crate::resume::by_hand::{ACK, Extension, control};
use crate::scripted::{carrier, numbered, prefixed};
use crate::subject::Node;

type Peer = NoiseLink<ChaCha20Poly1305>;

/// Why the link of a peer ends that does this.
fn end_of(node: &mut Node, misbehave: impl FnOnce(&mut Peer)) -> DownReason {
    let (mut peer, extensions) = dial(node.port(), 3, 1, None, Extension::new());
    peer.send(&dialer_proof(3, &extensions));
    let (target, claimed, _) = node.up();
    assert_eq!(claimed, id(3));
    peer.send(&numbered(7, 100));
    node.expect_frames(target, [&numbered(7, 100)]);
    misbehave(&mut peer);
    let (reason, _) = node.down(target);
    node.remove(target);
    node.removed(target);
    reason
}

#[test]
fn a_peer_that_violates_the_protocol_is_dropped_with_a_reason() {
    let mut node = listener(1, encryption(1).required());
    let count = control(3, &Extension::from([(ACK, 1_000u64.to_be_bytes().to_vec())]));
    let reason = end_of(&mut node, |peer| peer.send(&count));
    assert!(matches!(reason, DownReason::InvalidAck(1_000)), "{reason}");
    let reason = end_of(&mut node, |peer| peer.write(&[0xff; 500]));
    assert!(matches!(reason, DownReason::Framing(_)), "{reason}");
    // An authentic message with nothing in it, of which there could be many.
    let reason = end_of(&mut node, |peer| peer.write(&[]));
    assert!(matches!(reason, DownReason::Tampered), "{reason}");
    // Half a frame, and then the end.
    let half = prefixed(&numbered(8, 1_000))[..500].to_vec();
    let reason = end_of(&mut node, |peer| {
        peer.write(&half);
        peer.half_close();
    });
    assert!(matches!(reason, DownReason::ClosedInsideFrame), "{reason}");
    let reason = end_of(&mut node, Peer::half_close);
    assert!(matches!(reason, DownReason::Closed), "{reason}");
    // A frame of the exchange of keys, which is over, is not the router's, and counted.
    let (mut peer, extensions) =
        dial::<ChaCha20Poly1305>(node.port(), 3, 1, None, Extension::new());
    peer.send(&dialer_proof(3, &extensions));
    let (target, _, _) = node.up();
    peer.send(&carrier(34, 3, &[1; 32]));
    peer.send(&numbered(9, 10));
    node.expect_frames(target, [&numbered(9, 10)]);
    assert_eq!(node.info(target).frames_ignored, 1);
}

/// What is bounded for those who have shown nothing yet stays so once they have shown a key.
#[test]
fn an_unadmitted_dialer_is_read_no_further_than_its_proof() {
    let mut node = listener(1, encryption(1).required());
    let (mut peer, _) = dial::<ChaCha20Poly1305>(node.port(), 3, 1, None, Extension::new());
    peer.write(&[0; 600]);
    assert!(peer.recv().is_none(), "it was let in");
    let reason = node.wait("dropped connection", |event| match event {
        netmod_inet::Event::Dropped { reason, .. } => Some(reason.to_string()),
        _ => None,
    });
    assert!(reason.contains("exchange of keys failed"), "{reason}");
}
