//! A TCP relay between the nodes that can cut connections.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Relays incoming connections to a port of the loopback address.
pub(crate) struct Relay {
    port: u16,
    /// Both ends of each open connection.
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    pub(crate) fn start(to: u16) -> io::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let ends = Arc::new(Mutex::new(Vec::new()));
        let open = ends.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if let Err(error) = stream.and_then(|stream| join(stream, to, &open)) {
                    eprintln!("relay: {error}");
                }
            }
        });
        Ok(Relay { port, ends })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Closes all open connections.
    pub(crate) fn cut(&self) {
        for end in self.ends.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// Relays a connection to a new one to port `to`, in both directions.
fn join(near: TcpStream, to: u16, open: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let far = TcpStream::connect(("127.0.0.1", to))?;
    for (from, to) in [(&near, &far), (&far, &near)] {
        // The endpoints set it as well; without it the relay would delay small frames.
        from.set_nodelay(true)?;
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        std::thread::spawn(move || {
            // However one direction ends, close both.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    open.lock().unwrap_or_else(PoisonError::into_inner).extend([near, far]);
    Ok(())
}
