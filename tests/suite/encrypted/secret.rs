//! The secret of a network.

use netmod_inet::{AttemptError, HandshakeError, NetworkSecret};

use super::{at, dialer, dropped, encryption, exchange, listener};

fn secret(byte: u8) -> NetworkSecret {
    NetworkSecret::from_bytes([byte; 32])
}

#[test]
fn nodes_with_the_same_secret_have_links() {
    let mut far = listener(1, encryption(1).network_secret(secret(7)));
    let mut near = dialer(2, encryption(2).network_secret(secret(7)));
    let to_far = near.add(&at(&far, &[1]));
    near.up();
    let (to_near, _, _) = far.up();
    exchange(&near, to_far, &far, to_near);
}

#[test]
fn another_secret_ends_the_first_message_without_a_reply() {
    let mut far = listener(1, encryption(1).network_secret(secret(7)));
    let mut near = dialer(2, encryption(2).network_secret(secret(8)));
    let target = near.add(&at(&far, &[]));
    let reason = near.attempt(target);
    assert!(matches!(reason, AttemptError::Handshake(HandshakeError::Closed)), "{reason}");
    let error = dropped(&mut far);
    assert!(matches!(error, HandshakeError::NotAuthentic), "{error}");
    assert!(error.to_string().contains("another network secret"), "{error}");
}

#[test]
fn a_secret_at_one_end_only_is_reported_at_both() {
    let mut far = listener(1, encryption(1).network_secret(secret(7)));
    let mut near = dialer(2, encryption(2));
    let target = near.add(&at(&far, &[]));
    let reason = near.attempt(target).to_string();
    assert!(reason.contains("it has encrypted links only"), "{reason}");
    let error = dropped(&mut far);
    assert!(matches!(error, HandshakeError::NetworkSecret { here: true }), "{error}");
    let mut far = listener(1, encryption(1));
    let near = dialer(2, encryption(2).network_secret(secret(7)));
    near.add(&at(&far, &[]));
    let error = dropped(&mut far);
    assert!(matches!(error, HandshakeError::NetworkSecret { here: false }), "{error}");
}
