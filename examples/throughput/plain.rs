//! The ceiling: blocking `std::net` TCP with the same framing and the same bytes, and nothing else.
//! Each link has a thread for each direction; one write carries many frames, and so does one read.

use std::convert::Infallible;
use std::io::{IoSlice, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use netmod_inet::Frame;

use crate::bench_util::child::Failure;
use crate::job::{Kind, Part, Side};
use crate::meter::Meter;

/// Size of the buffers, and of what one write carries: the fastest. With 64, 128 and 256 KiB it moved
/// 6.4, 9.2 and 4.5 M/s of 1 KiB and 297, 301 and 148 k/s of 32 000 B on a machine whose processor
/// has a cache of 1 MiB for each core; on another one they were alike.
const BUFFER: usize = 128 << 10;

/// Largest message that is copied into the buffer. At 64 bytes of payload copying is four times as
/// fast as handing the system a list, at 1 KiB as fast, at 4 KiB and beyond slower by a third.
const COPIED: usize = 2 << 10;

/// Length of the length in front of each frame.
pub(crate) const PREFIX: usize = 4;

/// What one thread does until the process ends.
type Work = Box<dyn FnOnce() -> Result<Infallible, Failure> + Send>;

pub(crate) fn run(part: Part, meter: &Arc<Meter>) -> Result<Infallible, Failure> {
    let message = message(&part.job.frame()?);
    let load = self::message(&part.job.load()?);
    let mut works: Vec<Work> = Vec::new();
    for (link, stream) in open(&part)?.into_iter().enumerate() {
        let (message, load, meter) = (message.clone(), load.clone(), meter.clone());
        match (part.job.kind, part.side) {
            (Kind::Both, _) => {
                let other = stream.try_clone()?;
                works.push(Box::new(move || write(other, &message)));
                works.push(Box::new(move || read(stream, part, &meter)));
            }
            (_, Side::Listener) => works.push(Box::new(move || read(stream, part, &meter))),
            (Kind::Trip | Kind::BusyTrip, Side::Dialer) if link == 0 => {
                works.push(Box::new(move || trip(stream, &message, &meter)));
            }
            (Kind::BusyTrip, Side::Dialer) => works.push(Box::new(move || write(stream, &load))),
            (_, Side::Dialer) => works.push(Box::new(move || write(stream, &message))),
        }
    }
    all(works)
}

/// Opens the links, and says when that is done.
pub(crate) fn open(part: &Part) -> Result<Vec<TcpStream>, Failure> {
    let links = 0..part.job.links;
    let streams: Vec<TcpStream> = match part.side {
        Side::Listener => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            println!("ready {}", listener.local_addr()?.port());
            links.map(|_| Ok(listener.accept()?.0)).collect::<Result<_, Failure>>()?
        }
        Side::Dialer => {
            let connect = |_| TcpStream::connect((Ipv4Addr::LOCALHOST, part.port));
            links.map(connect).collect::<Result<_, _>>()?
        }
    };
    streams.iter().try_for_each(|stream| stream.set_nodelay(true))?;
    if part.side == Side::Dialer {
        println!("ready");
    }
    Ok(streams)
}

/// The frame as it goes over the wire.
pub(crate) fn message(frame: &Frame) -> Vec<u8> {
    let mut message = (frame.len() as u32).to_be_bytes().to_vec();
    message.extend_from_slice(frame.as_bytes());
    message
}

/// Runs them all; returns what the first that ends has to say.
fn all(works: Vec<Work>) -> Result<Infallible, Failure> {
    let (ended, end) = channel();
    for work in works {
        let ended = ended.clone();
        thread::spawn(move || ended.send(work()));
    }
    drop(ended);
    end.recv()?
}

fn write(stream: TcpStream, message: &[u8]) -> Result<Infallible, Failure> {
    match message.len() <= COPIED {
        true => write_copied(stream, message),
        false => write_listed(stream, message),
    }
}

fn write_copied(mut stream: TcpStream, message: &[u8]) -> Result<Infallible, Failure> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        while buffer.len() + message.len() <= BUFFER {
            buffer.extend_from_slice(message);
        }
        stream.write_all(&buffer)?;
    }
}

fn write_listed(mut stream: TcpStream, message: &[u8]) -> Result<Infallible, Failure> {
    loop {
        let mut list = vec![IoSlice::new(message); BUFFER / message.len()];
        let mut rest = list.as_mut_slice();
        while !rest.is_empty() {
            let written = stream.write_vectored(rest)?;
            IoSlice::advance_slices(&mut rest, written);
        }
    }
}

/// Counts what arrives, or sends it back.
fn read(stream: TcpStream, part: Part, meter: &Meter) -> Result<Infallible, Failure> {
    let mut back = stream.try_clone()?;
    let mut frames = Frames::new(stream);
    loop {
        let mut count = 0;
        for frame in frames.read()? {
            match part.job.is_echoed(frame.len() - PREFIX) {
                true => back.write_all(frame)?,
                false => count += 1,
            }
        }
        meter.add(count);
    }
}

/// Takes one round trip after the other.
fn trip(mut stream: TcpStream, message: &[u8], meter: &Meter) -> Result<Infallible, Failure> {
    let mut frames = Frames::new(stream.try_clone()?);
    loop {
        let began = Instant::now();
        stream.write_all(message)?;
        while frames.read()?.next().is_none() {}
        meter.add_trip(began.elapsed());
    }
}

/// Reads frames, many at once.
struct Frames {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer was read and not handed out.
    filled: std::ops::Range<usize>,
}

impl Frames {
    fn new(stream: TcpStream) -> Frames {
        Frames { stream, buffer: vec![0; BUFFER], filled: 0..0 }
    }

    /// Reads once, and hands out the frames that are whole now, lengths included.
    fn read(&mut self) -> Result<impl Iterator<Item = &[u8]>, Failure> {
        self.buffer.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
        match self.stream.read(&mut self.buffer[self.filled.end..])? {
            0 => return Err("the other side has closed the link".into()),
            count => self.filled.end += count,
        }
        Ok(std::iter::from_fn(|| {
            let rest = &self.buffer[self.filled.clone()];
            let len = PREFIX + u32::from_be_bytes(*rest.first_chunk()?) as usize;
            let frame = rest.get(..len)?;
            self.filled.start += len;
            Some(frame)
        }))
    }
}
