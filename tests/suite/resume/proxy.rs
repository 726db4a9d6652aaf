//! A proxy between two nodes that breaks in every way a TCP connection can.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a proxy breaks its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Both ends are closed in an orderly way.
    Close,
    /// Both ends are reset: what was under way is thrown away.
    Reset,
    /// Nothing passes any more; only the near end is closed.
    HalfOpen,
}

/// Forwards connections to a port, until `cut` breaks them.
pub(crate) struct Proxy {
    port: u16,
    open: Arc<Mutex<Vec<Joined>>>,
    /// Bytes that were read from either end of the first connection.
    carried: Arc<AtomicUsize>,
}

/// One connection that is forwarded.
struct Joined {
    near: TcpStream,
    far: TcpStream,
    /// Set to leave the far end open when the near one closes.
    severed: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy =
            Proxy { port: local_port(&listener), open: Arc::default(), carried: Arc::default() };
        let (open, carried) = (proxy.open.clone(), proxy.carried.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if let Ok(far) = TcpStream::connect(("127.0.0.1", port)) {
                    let mut open = open.lock().expect("no panic");
                    // A node of another test may dial a port that was another's before.
                    let counted = if open.is_empty() { carried.clone() } else { Arc::default() };
                    open.push(join(near, far, &counted));
                }
            }
        });
        proxy
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Bytes that have come into the proxy over its first connection, from both ends.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed) as u64
    }

    /// Breaks every connection that is open. Those that come later are forwarded again.
    pub(crate) fn cut(&self, how: Break) {
        let mut open = self.open.lock().expect("no panic");
        for Joined { near, far, severed } in open.drain(..) {
            match how {
                Break::Close => {
                    let _ = near.shutdown(Shutdown::Both);
                    let _ = far.shutdown(Shutdown::Both);
                }
                Break::Reset => [near, far].into_iter().for_each(reset),
                Break::HalfOpen => {
                    severed.store(true, Ordering::Relaxed);
                    let _ = near.shutdown(Shutdown::Both);
                    // It stays open until the test's process ends.
                    std::mem::forget(far);
                }
            }
        }
    }
}

fn local_port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("an address").port()
}

/// Closes with a reset, whatever is still under way.
fn reset(stream: TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

/// Copies both ways until one end closes.
fn join(near: TcpStream, far: TcpStream, carried: &Arc<AtomicUsize>) -> Joined {
    let severed = Arc::new(AtomicBool::new(false));
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (severed, carried) = (severed.clone(), carried.clone());
        from.set_nodelay(true).expect("a socket");
        let (mut from, mut to) = (from.try_clone().expect("fd"), to.try_clone().expect("fd"));
        std::thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            loop {
                let read = from.read(&mut buffer);
                carried.fetch_add(*read.as_ref().unwrap_or(&0), Ordering::Relaxed);
                match read {
                    Ok(0) => break,
                    Ok(read) if to.write_all(&buffer[..read]).is_ok() => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    _ => break,
                }
            }
            if !severed.load(Ordering::Relaxed) {
                let _ = to.shutdown(Shutdown::Write);
            }
        });
    }
    Joined { near, far, severed }
}
