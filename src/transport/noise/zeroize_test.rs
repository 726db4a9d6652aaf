//! Searches the memory of this process for secrets, after everything that held them was dropped.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::IoSlice;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::*;
use crate::config::{KeyPair, NetworkSecret};
use crate::proto::{Role, Suite};
use crate::testing::kit::pipe::Pipe;
use crate::transport::Stream;

/// XORed with the recorded secrets, so that the search does not find the records themselves.
const MASK: u8 = 0xa5;

thread_local! {
    static RECORDED: RefCell<Vec<[u8; 32]>> = const { RefCell::new(Vec::new()) };
}

/// Records a secret to search for.
pub(crate) fn record(secret: &[u8; 32]) {
    RECORDED.with_borrow_mut(|recorded| recorded.push(secret.map(|byte| byte ^ MASK)));
}

fn recorded() -> Vec<[u8; 32]> {
    RECORDED.take()
}

/// A new secret, which is recorded.
fn secret() -> zeroize::Zeroizing<[u8; 32]> {
    let mut secret = zeroize::Zeroizing::new([0; 32]);
    crate::primitives::random::fill(&mut *secret).unwrap();
    record(&secret);
    secret
}

/// Runs a handshake, sends messages and drops everything.
fn run_link(suite: Suite) {
    let begin = |role, network| {
        let keys = KeyPair::from_bytes(*secret());
        NoiseHandshake::begin(suite, role, &keys, Some(network), b"hello").unwrap()
    };
    let network = NetworkSecret::from_bytes(*secret());
    let (mut a, mut b) = (begin(Role::Dialer, &network), begin(Role::Listener, &network));
    b.read(&a.write().unwrap()).unwrap();
    a.read(&b.write().unwrap()).unwrap();
    b.read(&a.write().unwrap()).unwrap();
    let (dialer_end, listener_end) = Pipe::pair();
    let buffers = Arc::<NoiseBuffers>::default();
    let dialer = a.finish(dialer_end.clone(), Vec::new(), buffers.clone(), 100).unwrap();
    let listener = b.finish(listener_end, Vec::new(), buffers, 100).unwrap();
    dialer_end.outgoing().room = usize::MAX;
    let mut got = Vec::with_capacity(100);
    // More records than the rekey interval.
    for _ in 0..1030 {
        dialer.try_write(&[IoSlice::new(b"a message")], false).unwrap();
        dialer_end.outgoing().arrive(usize::MAX);
        got.clear();
        listener.try_read(&mut got).unwrap();
    }
    assert_eq!(got, b"a message");
}

/// The memory that this process has allocated, except for stacks: primitives leave copies on them
/// until they are overwritten.
fn heap(stacks: &[usize]) -> Vec<Range<u64>> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let range = |line: &str| {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let (start, end) = range.split_once('-')?;
        let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
        let is_stack = stacks.iter().any(|at| range.contains(&(*at as u64)));
        let name = fields.nth(3).unwrap_or("[heap]");
        (rights.starts_with("rw") && name == "[heap]" && !is_stack).then_some(range)
    };
    maps.lines().filter_map(range).collect()
}

/// Number of occurrences of the recorded secrets in memory outside of the stacks.
fn found(recorded: &[[u8; 32]], stacks: &[usize]) -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    // By two bytes: by one, a secret that begins with 0 would have all zeroed memory compared.
    let start = |first: u8, second: u8| usize::from(u16::from_be_bytes([first, second]));
    let mut prefixes = vec![false; 1 << 16];
    for recorded in recorded {
        prefixes[start(recorded[0] ^ MASK, recorded[1] ^ MASK)] = true;
    }
    let mut count = 0;
    for range in heap(stacks) {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        // Another thread may have returned it to the system.
        let Ok(len) = memory.read_at(&mut bytes, range.start) else { continue };
        let windows = bytes[..len].windows(32);
        let windows = windows.filter(|window| prefixes[start(window[0], window[1])]);
        let is_it = |window: &[u8]| {
            let is = |recorded: &[u8; 32]| {
                window.iter().zip(recorded).all(|(byte, recorded)| byte ^ MASK == *recorded)
            };
            recorded.iter().any(is)
        };
        count += windows.filter(|window| is_it(window)).count();
        // Otherwise the next search would find this copy.
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
    count
}

#[test]
#[cfg(target_os = "linux")]
fn no_secret_stays_in_memory() {
    for suite in [Suite::ChaChaPoly, Suite::AesGcm] {
        let work = move || {
            let stack = 0u8;
            run_link(suite);
            (recorded(), &raw const stack as usize)
        };
        let (recorded, stack) = std::thread::spawn(work).join().unwrap();
        // At both ends: its key, and three secrets, four chaining keys and more of the handshake.
        assert!(recorded.len() > 20, "{}", recorded.len());
        let here = 0u8;
        let stacks = [stack, &raw const here as usize];
        let copy: Vec<u8> = recorded[5].map(|byte| byte ^ MASK).to_vec();
        assert!(found(&recorded, &stacks) > 0, "the search finds nothing");
        drop(zeroize::Zeroizing::new(copy));
        assert_eq!(found(&recorded, &stacks), 0, "secrets were left behind");
    }
}
