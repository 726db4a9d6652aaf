//! Passes bytes on between two nodes.

use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Length of a Ratman node's Hello for a standard peer: 41 bytes of header and 50 of payload.
const HELLO: usize = 41 + 50;

/// An address where connections are passed on to `to`. `is_plain` cuts off what stands behind the
/// fields of a Hello, so that each side takes the other for a node that knows no records.
pub(crate) fn to(to: SocketAddr, is_plain: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for dialer in listener.incoming() {
            pass_on(dialer?, TcpStream::connect(to)?, is_plain)?;
        }
        Result::Ok(())
    });
    addr
}

fn pass_on(mut dialer: TcpStream, mut listener: TcpStream, is_plain: bool) -> Result<()> {
    if is_plain {
        let mut len = [0; 4];
        dialer.read_exact(&mut len)?;
        let mut hello = vec![0; u32::from_be_bytes(len) as usize];
        dialer.read_exact(&mut hello)?;
        hello.truncate(HELLO);
        hello[39..41].copy_from_slice(&50u16.to_be_bytes());
        listener.write_all(&(HELLO as u32).to_be_bytes())?;
        listener.write_all(&hello)?;
    }
    for (from, to) in [(dialer.try_clone()?, listener.try_clone()?), (listener, dialer)] {
        thread::spawn(move || copy(from, to));
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}
