//! The fastest pure Rust cipher of snow without a link: frames are encrypted in records of the size
//! that a link uses, and discarded.

use std::convert::Infallible;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use snow::{Builder, TransportState};

use crate::bench_util::child::Failure;
use crate::job::{Part, Side};
use crate::meter::Meter;
use crate::plain;

const CIPHERS: [&str; 2] = ["AESGCM", "ChaChaPoly"];

/// Plaintext bytes per record, as on an encrypted link.
const PLAIN: usize = 16 << 10;

/// Time to benchmark each cipher.
const TRIAL: Duration = Duration::from_millis(30);

pub(crate) fn run(part: Part, meter: &Arc<Meter>) -> Result<Infallible, Failure> {
    if part.side == Side::Listener {
        println!("ready 0");
        loop {
            thread::park();
        }
    }
    let message = plain::message(&part.job.frame()?);
    let mut fastest = fastest(&message)?;
    println!("ready");
    loop {
        seal(&mut fastest, &message)?;
        meter.add(1);
    }
}

/// The fastest cipher on this machine.
fn fastest(message: &[u8]) -> Result<TransportState, Failure> {
    let mut best = None;
    for cipher in CIPHERS {
        let mut keys = keys(&format!("Noise_XX_25519_{cipher}_BLAKE2s"))?;
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < TRIAL {
            seal(&mut keys, message)?;
            count += 1;
        }
        if best.as_ref().is_none_or(|(most, _)| count > *most) {
            best = Some((count, keys));
        }
    }
    best.map(|(_, keys)| keys).ok_or_else(|| "there is no cipher".into())
}

fn seal(keys: &mut TransportState, message: &[u8]) -> Result<(), Failure> {
    let mut out = [0; PLAIN + 16];
    for piece in message.chunks(PLAIN) {
        keys.write_message(piece, &mut out)?;
    }
    Ok(())
}

/// A cipher state after a handshake with itself.
fn keys(name: &str) -> Result<TransportState, Failure> {
    let builder = || Ok::<_, snow::Error>(Builder::new(name.parse()?));
    let [one, other] = [1, 2].map(|byte| [byte; 32]);
    let mut dialer = builder()?.local_private_key(&one)?.build_initiator()?;
    let mut listener = builder()?.local_private_key(&other)?.build_responder()?;
    let (mut message, mut nothing) = ([0; 200], [0; 200]);
    let len = dialer.write_message(&[], &mut message)?;
    listener.read_message(&message[..len], &mut nothing)?;
    let len = listener.write_message(&[], &mut message)?;
    dialer.read_message(&message[..len], &mut nothing)?;
    dialer.write_message(&[], &mut message)?;
    Ok(dialer.into_transport_mode()?)
}
