//! Somebody on the way between two nodes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::resume::by_hand::{Wire, block, offered};
use crate::scripted::carrier;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToListener,
    ToDialer,
}

/// A door beside the real one.
pub(super) struct Door {
    listener: TcpListener,
    leads_to: u16,
}

impl Door {
    pub(super) fn to(port: u16) -> Door {
        Door { listener: TcpListener::bind("127.0.0.1:0").expect("a port"), leads_to: port }
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    /// The next dialer, and a stream to the real listener.
    pub(super) fn next(&self) -> [TcpStream; 2] {
        let (near, _) = self.listener.accept().expect("a dialer");
        let far = TcpStream::connect(("127.0.0.1", self.leads_to)).expect("a listener");
        [near, far].map(|stream| {
            stream.set_nodelay(true).expect("a socket");
            stream
        })
    }
}

/// Hands everything on, both ways, and does to it what `change` does: it is told which way, how
/// much went that way before, and the bytes. Returns what went through, by way, once both ended.
pub(super) fn hand_on(
    [near, far]: [TcpStream; 2],
    change: impl FnMut(Way, usize, &mut Vec<u8>) + Send + 'static,
) -> impl FnOnce() -> [Vec<u8>; 2] {
    let change = Arc::new(Mutex::new(change));
    let copy = |way, from: &TcpStream, to: &TcpStream| {
        let (mut from, mut to) = (from.try_clone().expect("fd"), to.try_clone().expect("fd"));
        let change = change.clone();
        std::thread::spawn(move || {
            let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let mut bytes = buffer[..count].to_vec();
                change.lock().expect("no panic")(way, seen.len(), &mut bytes);
                seen.extend_from_slice(&buffer[..count]);
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
            seen
        })
    };
    let threads = [copy(Way::ToListener, &near, &far), copy(Way::ToDialer, &far, &near)];
    move || threads.map(|thread| thread.join().expect("no panic"))
}

/// The Hello or Ack with another record of what its node can encrypt with, or without one.
pub(super) fn with_means(frame: &[u8], means: Option<u8>) -> Vec<u8> {
    const NOISE: u8 = 15;
    let mut records = offered(frame);
    records.remove(&NOISE);
    if let Some(means) = means {
        records.insert(NOISE, vec![means]);
    }
    let fields = if frame[2] == 32 { 50 } else { 48 };
    let payload = [&frame[41..41 + fields], &block(&records)].concat();
    carrier(u16::from(frame[2]), frame[3], &payload)
}

/// Lets two shake hands, but changes Hello and Ack, and hands the rest on.
pub(super) fn change_hellos(
    [near, far]: [TcpStream; 2],
    hello: impl FnOnce(&[u8]) -> Vec<u8>,
    ack: impl FnOnce(&[u8]) -> Vec<u8>,
) {
    let (mut near, mut far) = (Wire::over(near), Wire::over(far));
    let heard = near.heard();
    far.say(&hello(&heard));
    if let Some(heard) = far.hear() {
        near.say(&if heard[2] == 33 { ack(&heard) } else { heard });
    }
    drop(hand_on([near.0, far.0], |_, _, _| {}));
}
