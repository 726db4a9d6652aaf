//! The baseline of a flood, a bare loop over sockets, and the receivers of both: plain sockets read
//! one after the other, so that reading costs little and the same.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;

use netmod_inet::{Frame, Id};

use crate::bench_util::child::Failure;
use crate::job::{Contender, Part};
use crate::meter::Meter;
use crate::plain::{PREFIX, message, open};

/// Writes each frame to every socket, and waits until all have arrived.
pub(crate) fn bare(part: &Part, meter: &Meter) -> Result<Infallible, Failure> {
    let mut streams = open(part)?;
    let message = message(&part.job.frame()?);
    let mut answer = vec![0; self::message(&answer_frame()?).len()];
    loop {
        for stream in &mut streams {
            stream.write_all(&message)?;
        }
        streams[0].read_exact(&mut answer)?;
        meter.add(1);
    }
}

/// Reads a frame from each socket, then acknowledges on the first.
pub(crate) fn sink(part: &Part) -> Result<Infallible, Failure> {
    let mut streams = open(part)?;
    if part.with != Contender::Plain {
        for (number, stream) in streams.iter_mut().enumerate() {
            shake_hands(stream, number)?;
        }
    }
    let mut buffer = message(&part.job.frame()?);
    let answer = message(&answer_frame()?);
    loop {
        for stream in &mut streams {
            stream.read_exact(&mut buffer)?;
        }
        streams[0].write_all(&answer)?;
    }
}

fn answer_frame() -> Result<Frame, Failure> {
    Ok(Frame::builder(8, id(0)).build()?)
}

/// Shakes hands as a plain Ratman node.
fn shake_hands(stream: &mut TcpStream, number: usize) -> Result<(), Failure> {
    let mut hello = Vec::new();
    hello.extend_from_slice(&0u32.to_le_bytes()); // Hello
    hello.extend_from_slice(&0u32.to_le_bytes()); // a standard peer
    hello.extend_from_slice(&0u16.to_le_bytes()); // which does not listen
    hello.extend_from_slice(&32u64.to_le_bytes());
    hello.extend_from_slice(id(number).as_bytes());
    let hello = Frame::builder(32, id(number)).payload(hello).build()?;
    stream.write_all(&message(&hello))?;
    let mut len = [0; PREFIX];
    stream.read_exact(&mut len)?;
    let mut ack = vec![0; u32::from_be_bytes(len).min(1024) as usize];
    Ok(stream.read_exact(&mut ack)?)
}

fn id(number: usize) -> Id {
    let mut id = [0x5A; 32];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Id::from_bytes(id)
}
