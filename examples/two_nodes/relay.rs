//! A line between the two nodes that can be cut.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Connects whoever dials it to a port of the loopback address.
pub(crate) struct Relay {
    port: u16,
    /// Both ends of the connections that are open.
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

    /// Ends every connection that is open now.
    pub(crate) fn cut(&self) {
        for end in self.ends.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// Joins a connection to a new one to port `to`, both ways.
fn join(near: TcpStream, to: u16, open: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let far = TcpStream::connect(("127.0.0.1", to))?;
    for (from, to) in [(&near, &far), (&far, &near)] {
        // Or small frames would wait for acknowledgements here that they do not wait for at home.
        from.set_nodelay(true)?;
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        std::thread::spawn(move || {
            // However it ends, both directions are over.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    open.lock().unwrap_or_else(PoisonError::into_inner).extend([near, far]);
    Ok(())
}
