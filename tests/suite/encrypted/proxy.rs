//! A proxy between two nodes, which reads and changes what it forwards.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::resume::by_hand::{NOISE, Wire, encode_extension, extension_of};
use crate::scripted::carrier;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToListener,
    ToDialer,
}

/// A listener that stands for the real one.
pub(super) struct Proxy {
    listener: TcpListener,
    forwards_to: u16,
}

impl Proxy {
    pub(super) fn to(port: u16) -> Proxy {
        Proxy { listener: TcpListener::bind("127.0.0.1:0").expect("a port"), forwards_to: port }
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    /// The next dialer, and a stream to the real listener.
    pub(super) fn next(&self) -> [TcpStream; 2] {
        let (near, _) = self.listener.accept().expect("a dialer");
        let far = TcpStream::connect(("127.0.0.1", self.forwards_to)).expect("a listener");
        [near, far].map(|stream| {
            stream.set_nodelay(true).expect("a socket");
            stream
        })
    }
}

/// Forwards all bytes, both ways, after `change` was applied to them: it gets the direction, how
/// many bytes went that direction before, and the bytes. Returns what went through, by direction,
/// once both ended.
pub(super) fn forward(
    [near, far]: [TcpStream; 2],
    change: impl FnMut(Direction, usize, &mut Vec<u8>) + Send + 'static,
) -> impl FnOnce() -> [Vec<u8>; 2] {
    let change = Arc::new(Mutex::new(change));
    let copy = |direction, from: &TcpStream, to: &TcpStream| {
        let (mut from, mut to) = (from.try_clone().expect("fd"), to.try_clone().expect("fd"));
        let change = change.clone();
        std::thread::spawn(move || {
            let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let mut bytes = buffer[..count].to_vec();
                change.lock().expect("no panic")(direction, seen.len(), &mut bytes);
                seen.extend_from_slice(&buffer[..count]);
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
            seen
        })
    };
    let threads =
        [copy(Direction::ToListener, &near, &far), copy(Direction::ToDialer, &far, &near)];
    move || threads.map(|thread| thread.join().expect("no panic"))
}

/// The Hello or Ack with another record of what its node can encrypt with, or without one.
pub(super) fn with_capabilities(frame: &[u8], capabilities: Option<u8>) -> Vec<u8> {
    let mut extension = extension_of(frame);
    extension.remove(&NOISE);
    if let Some(capabilities) = capabilities {
        extension.insert(NOISE, vec![capabilities]);
    }
    let fields = if frame[2] == 32 { 50 } else { 48 };
    let payload = [&frame[41..41 + fields], &encode_extension(&extension)].concat();
    carrier(u16::from(frame[2]), frame[3], &payload)
}

/// Relays a handshake with a changed Hello and Ack, then forwards the rest.
pub(super) fn modify_hellos(
    [near, far]: [TcpStream; 2],
    hello: impl FnOnce(&[u8]) -> Vec<u8>,
    ack: impl FnOnce(&[u8]) -> Vec<u8>,
) {
    let (mut near, mut far) = (Wire::over(near), Wire::over(far));
    let dialed = near.expect_frame();
    far.send(&hello(&dialed));
    if let Some(answer) = far.recv() {
        near.send(&if answer[2] == 33 { ack(&answer) } else { answer });
    }
    drop(forward([near.0, far.0], |_, _, _| {}));
}
