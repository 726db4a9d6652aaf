//! Unknown dialers that begin handshakes.
//!
//! Their messages are handcrafted and cost no cryptography: the ephemeral key is 32 random bytes.

use std::io::{BufRead, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netmod_inet::{Frame, Id};

use crate::bench_util::child::Failure;

/// Threads. Each runs one handshake at a time.
const THREADS: u64 = 64;

/// Time limit of a read.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of an Ack with its extension and of the second key exchange message, with their length
/// prefixes.
const RESPONSE_LEN: usize = 4 + 89 + 67 + 4 + 41 + 96;

/// Numbers of handshakes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flood {
    pub(crate) begun: u64,
    pub(crate) answered: u64,
}

impl Flood {
    pub(crate) fn parse(text: &str) -> Option<Flood> {
        let (begun, answered) = text.split_once(' ')?;
        Some(Flood { begun: begun.parse().ok()?, answered: answered.parse().ok()? })
    }

    pub(crate) fn per_second(self, seconds: f64) -> Flood {
        let per_second = |count: u64| (count as f64 / seconds) as u64;
        Flood { begun: per_second(self.begun), answered: per_second(self.answered) }
    }
}

#[derive(Default)]
struct Shared {
    is_on: AtomicBool,
    begun: AtomicUsize,
    answered: AtomicUsize,
}

/// Begins `rate` handshakes per second between the commands `begin` and `end`.
pub(crate) fn crowd(port: u16, rate: u64) -> Result<(), Failure> {
    let shared = Arc::new(Shared::default());
    for number in 0..THREADS {
        let shared = shared.clone();
        thread::spawn(move || {
            stranger(port, number, Duration::from_secs(THREADS) / rate as u32, &shared)
        });
    }
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "begin" => shared.is_on.store(true, Ordering::Relaxed),
            "end" => shared.is_on.store(false, Ordering::Relaxed),
            _ => {
                let take = |count: &AtomicUsize| count.swap(0, Ordering::Relaxed);
                println!("done {} {}", take(&shared.begun), take(&shared.answered));
            }
        }
    }
    Ok(())
}

fn stranger(port: u16, number: u64, pace: Duration, shared: &Shared) {
    let mut next = Instant::now() + pace.mul_f64(number as f64 / THREADS as f64);
    loop {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        // Missed handshakes are skipped.
        next = (next + pace).max(Instant::now() - pace);
        if !shared.is_on.load(Ordering::Relaxed) {
            continue;
        }
        shared.begun.fetch_add(1, Ordering::Relaxed);
        if begin_handshake(port).is_ok() {
            shared.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Runs a handshake up to the node's key exchange message, then disconnects.
fn begin_handshake(port: u16) -> Result<(), Failure> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // Close with a reset: no TIME_WAIT that would exhaust the ports.
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    let id = Id::random()?;
    stream.write_all(&[hello(id)?, message(34, id, Id::random()?.as_bytes())?].concat())?;
    let mut responses = [0; RESPONSE_LEN];
    stream.read_exact(&mut responses)?;
    Ok(())
}

/// A Hello that offers encryption.
fn hello(id: Id) -> Result<Vec<u8>, Failure> {
    let mut records = vec![1, 2, 1, 1];
    for kind in [2, 3, 4] {
        records.extend([kind, 16]);
        records.extend(&Id::random()?.as_bytes()[..16]);
    }
    records.extend([15, 1, 1]);
    let len = u16::try_from(records.len())?.to_be_bytes();
    let fields = [&[0; 4][..], &[0; 4], &[0; 2], &32u64.to_le_bytes(), id.as_bytes()].concat();
    message(32, id, &[&fields[..], b"nmi\x01", &len, &records].concat())
}

/// A frame with its length prefix. The modes may be reserved ones.
fn message(modes: u16, id: Id, payload: &[u8]) -> Result<Vec<u8>, Failure> {
    let frame = Frame::builder(modes, id).payload(payload.to_vec()).build()?;
    Ok([&(frame.len() as u32).to_be_bytes()[..], frame.as_bytes()].concat())
}
