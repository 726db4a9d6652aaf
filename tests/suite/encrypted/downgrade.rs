//! An attacker on the path that downgrades links to plain ones.

use netmod_inet::{Event, HandshakeError};

use super::proxy::{Proxy, modify_hellos, with_capabilities};
use super::{dialer, encryption, listener, public, refused};

#[test]
fn optional_encryption_can_be_downgraded_and_the_status_shows_it() {
    let far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let proxy = Proxy::to(far.port());
    let target = near.add(&format!("127.0.0.1:{}", proxy.port()));
    modify_hellos(proxy.next(), |hello| with_capabilities(hello, None), <[u8]>::to_vec);
    near.up();
    assert_eq!(near.info(target).key, None);
}

#[test]
fn a_dialer_that_requires_encryption_cannot_be_downgraded() {
    let far = listener(1, encryption(1));
    for (encryption, options) in
        [(encryption(2).required(), String::new()), (encryption(2), format!("?key={}", public(1)))]
    {
        let mut near = dialer(2, encryption);
        let proxy = Proxy::to(far.port());
        let target = near.add(&format!("127.0.0.1:{}{options}", proxy.port()));
        // Both records gone, so that the listener believes in a plain dialer.
        modify_hellos(proxy.next(), |hello| with_capabilities(hello, None), <[u8]>::to_vec);
        let error = refused(&mut near, target);
        assert!(matches!(error, HandshakeError::NotEncrypted), "{error}");
        // Only that of the listener gone.
        modify_hellos(proxy.next(), <[u8]>::to_vec, |ack| with_capabilities(ack, None));
        let error = refused(&mut near, target);
        assert!(matches!(error, HandshakeError::NotEncrypted), "{error}");
        near.remove(target);
    }
    // Nobody came in, but for those that were believed to be plain for a moment.
    far.until("nobody", |endpoint| endpoint.peers().iter().all(|peer| peer.key.is_none()));
}

#[test]
fn a_listener_that_requires_encryption_cannot_be_downgraded() {
    for demand in [encryption(1).required(), encryption(1).allow(public(2))] {
        let mut far = listener(1, demand);
        let near = dialer(2, encryption(2));
        let proxy = Proxy::to(far.port());
        near.add(&format!("127.0.0.1:{}", proxy.port()));
        modify_hellos(proxy.next(), |hello| with_capabilities(hello, None), <[u8]>::to_vec);
        let reason = far.wait("dropped connection", |event| match event {
            Event::Dropped { reason, .. } => Some(reason.to_string()),
            _ => None,
        });
        assert!(reason.contains("does not encrypt"), "{reason}");
        assert!(far.endpoint.peers().is_empty());
    }
}

/// Not even from one cipher to the other.
#[test]
fn any_change_of_the_hellos_fails_the_key_exchange() {
    let mut far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let proxy = Proxy::to(far.port());
    let target = near.add(&format!("127.0.0.1:{}", proxy.port()));
    let mut fails = |hello: fn(&[u8]) -> Vec<u8>, ack: fn(&[u8]) -> Vec<u8>| {
        modify_hellos(proxy.next(), hello, ack);
        let error = refused(&mut near, target);
        let is_due = matches!(error, HandshakeError::Closed | HandshakeError::NotAuthentic);
        assert!(is_due, "{error}");
        let reason = far.wait("dropped connection", |event| match event {
            Event::Dropped { reason, .. } => Some(reason.to_string()),
            _ => None,
        });
        let is_due = reason.contains("exchange of keys failed") || reason.contains("closed");
        assert!(is_due, "{reason}");
    };
    let same = <[u8]>::to_vec;
    fails(|hello| with_capabilities(hello, Some(1)), |ack| with_capabilities(ack, Some(1)));
    fails(|hello| with_capabilities(hello, Some(0x7f)), same);
    fails(same, |ack| with_capabilities(ack, Some(0x41)));
    // The port in the Hello, and bytes behind all records.
    fails(
        |hello| {
            let mut hello = hello.to_vec();
            hello[41 + 8] ^= 1;
            hello
        },
        same,
    );
    fails(same, |ack| {
        let mut ack = ack.to_vec();
        let payload = u16::from_be_bytes([ack[39], ack[40]]) + 3;
        ack[39..41].copy_from_slice(&payload.to_be_bytes());
        ack.extend([1, 2, 3]);
        ack
    });
    // Behind the payload, where no frame has anything.
    fails(|hello| [hello, &[0]].concat(), same);
}
