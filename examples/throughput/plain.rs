//! The baseline: blocking `std::net` TCP with the same framing and the same bytes. Each link has a
//! thread per direction, and reads and writes many frames at a time.

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

/// Size of the buffers and of a write. 128 KiB was the fastest of 64, 128 and 256 KiB where a core
/// has 1 MiB of cache; elsewhere they were alike.
const BUFFER: usize = 128 << 10;

/// The largest message that is copied into the buffer. Larger ones use vectored writes, which are
/// slower below 1 KiB and faster from 4 KiB on.
const COPIED: usize = 2 << 10;

/// Bytes of the length prefix.
pub(crate) const PREFIX: usize = 4;

/// The work of a thread, until the process ends.
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

/// Opens the links, then reports `ready`.
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

/// The encoded frame with its length prefix.
pub(crate) fn message(frame: &Frame) -> Vec<u8> {
    let mut message = (frame.len() as u32).to_be_bytes().to_vec();
    message.extend_from_slice(frame.as_bytes());
    message
}

/// Runs all of them. Returns the result of the first that ends.
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

/// Counts or echoes received frames.
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

/// Measures consecutive round trips.
fn trip(mut stream: TcpStream, message: &[u8], meter: &Meter) -> Result<Infallible, Failure> {
    let mut frames = Frames::new(stream.try_clone()?);
    loop {
        let began = Instant::now();
        stream.write_all(message)?;
        while frames.read()?.next().is_none() {}
        meter.add_trip(began.elapsed());
    }
}

/// Reads many frames at a time.
struct Frames {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The bytes that were read and not returned yet.
    filled: std::ops::Range<usize>,
}

impl Frames {
    fn new(stream: TcpStream) -> Frames {
        Frames { stream, buffer: vec![0; BUFFER], filled: 0..0 }
    }

    /// Reads once, and returns all complete frames with their length prefixes.
    fn read(&mut self) -> Result<impl Iterator<Item = &[u8]>, Failure> {
        self.buffer.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
        match self.stream.read(&mut self.buffer[self.filled.end..])? {
            0 => return Err("the remote closed the link".into()),
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
