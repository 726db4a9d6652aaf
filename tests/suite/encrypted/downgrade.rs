//! Somebody on the way who would rather have a plain link.

use netmod_inet::{Event, HandshakeError};

use super::between::{Door, change_hellos, with_means};
use super::{dialer, encryption, listener, public, refused};

#[test]
fn where_nothing_asks_for_encryption_it_can_be_kept_away_and_is_seen_to_be() {
    let far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let door = Door::to(far.port());
    let target = near.add(&format!("127.0.0.1:{}", door.port()));
    change_hellos(door.next(), |hello| with_means(hello, None), <[u8]>::to_vec);
    near.up();
    assert_eq!(near.info(target).key, None);
}

#[test]
fn a_dialer_that_asks_for_encryption_is_not_kept_from_it() {
    let far = listener(1, encryption(1));
    for (encryption, options) in
        [(encryption(2).required(), String::new()), (encryption(2), format!("?key={}", public(1)))]
    {
        let mut near = dialer(2, encryption);
        let door = Door::to(far.port());
        let target = near.add(&format!("127.0.0.1:{}{options}", door.port()));
        // Both records gone, so that the listener believes in a plain dialer.
        change_hellos(door.next(), |hello| with_means(hello, None), <[u8]>::to_vec);
        let error = refused(&mut near, target);
        assert!(matches!(error, HandshakeError::NotEncrypted), "{error}");
        // Only that of the listener gone.
        change_hellos(door.next(), <[u8]>::to_vec, |ack| with_means(ack, None));
        let error = refused(&mut near, target);
        assert!(matches!(error, HandshakeError::NotEncrypted), "{error}");
        near.remove(target);
    }
    // Nobody came in, but for those that were believed to be plain for a moment.
    far.until("nobody", |endpoint| endpoint.peers().iter().all(|peer| peer.key.is_none()));
}

#[test]
fn a_listener_that_asks_for_encryption_is_not_kept_from_it() {
    for demand in [encryption(1).required(), encryption(1).allow(public(2))] {
        let mut far = listener(1, demand);
        let near = dialer(2, encryption(2));
        let door = Door::to(far.port());
        near.add(&format!("127.0.0.1:{}", door.port()));
        change_hellos(door.next(), |hello| with_means(hello, None), <[u8]>::to_vec);
        let reason = far.wait("dropped stranger", |event| match event {
            Event::Dropped { reason, .. } => Some(reason.to_string()),
            _ => None,
        });
        assert!(reason.contains("does not encrypt"), "{reason}");
        assert!(far.endpoint.peers().is_empty());
    }
}

/// Not even from one cipher to the other.
#[test]
fn whatever_is_changed_in_the_hellos_ends_the_exchange_of_keys() {
    let mut far = listener(1, encryption(1));
    let mut near = dialer(2, encryption(2));
    let door = Door::to(far.port());
    let target = near.add(&format!("127.0.0.1:{}", door.port()));
    let mut fails = |hello: fn(&[u8]) -> Vec<u8>, ack: fn(&[u8]) -> Vec<u8>| {
        change_hellos(door.next(), hello, ack);
        let error = refused(&mut near, target);
        let is_due = matches!(error, HandshakeError::Closed | HandshakeError::NotAuthentic);
        assert!(is_due, "{error}");
        let reason = far.wait("dropped stranger", |event| match event {
            Event::Dropped { reason, .. } => Some(reason.to_string()),
            _ => None,
        });
        let is_due = reason.contains("exchange of keys failed") || reason.contains("closed");
        assert!(is_due, "{reason}");
    };
    let same = <[u8]>::to_vec;
    fails(|hello| with_means(hello, Some(1)), |ack| with_means(ack, Some(1)));
    fails(|hello| with_means(hello, Some(0x7f)), same);
    fails(same, |ack| with_means(ack, Some(0x41)));
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
