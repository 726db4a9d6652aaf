//! Looks for secrets in this process's own memory, after all that held them was let go.

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

/// What is noted is kept as something else, or it would be found where it is kept.
const DISGUISE: u8 = 0xa5;

thread_local! {
    static NOTED: RefCell<Vec<[u8; 32]>> = const { RefCell::new(Vec::new()) };
}

/// Notes a secret to look for.
pub(crate) fn note(secret: &[u8; 32]) {
    NOTED.with_borrow_mut(|noted| noted.push(secret.map(|byte| byte ^ DISGUISE)));
}

fn noted() -> Vec<[u8; 32]> {
    NOTED.take()
}

/// A new secret, which is noted.
fn secret() -> zeroize::Zeroizing<[u8; 32]> {
    let mut secret = zeroize::Zeroizing::new([0; 32]);
    crate::primitives::random::fill(&mut *secret).unwrap();
    note(&secret);
    secret
}

/// Exchanges keys, has some messages go each way and lets everything go.
fn live(suite: Suite) {
    let begin = |role, network| {
        let keys = KeyPair::from_bytes(*secret());
        NoiseHandshake::begin(suite, role, &keys, Some(network), b"hello").unwrap()
    };
    let network = NetworkSecret::from_bytes(*secret());
    let (mut a, mut b) = (begin(Role::Dialer, &network), begin(Role::Listener, &network));
    b.read(&a.write().unwrap()).unwrap();
    a.read(&b.write().unwrap()).unwrap();
    b.read(&a.write().unwrap()).unwrap();
    let (near, far) = Pipe::pair();
    let spare = Arc::<NoiseBuffers>::default();
    let one = a.finish(near.clone(), Vec::new(), spare.clone(), 100).unwrap();
    let other = b.finish(far, Vec::new(), spare, 100).unwrap();
    near.outgoing().room = usize::MAX;
    let mut got = Vec::with_capacity(100);
    // Often enough that keys are made anew.
    for _ in 0..1030 {
        one.try_write(&[IoSlice::new(b"a message")], false).unwrap();
        near.outgoing().arrive(usize::MAX);
        got.clear();
        other.try_read(&mut got).unwrap();
    }
    assert_eq!(got, b"a message");
}

/// The memory that this process has allocated, but for stacks: on them primitives leave copies until
/// something else is written there.
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

/// How many of these are found there.
fn found(noted: &[[u8; 32]], stacks: &[usize]) -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    // By two bytes: by one, a secret that begins with 0 would have all zeroed memory compared.
    let start = |first: u8, second: u8| usize::from(u16::from_be_bytes([first, second]));
    let mut begins = vec![false; 1 << 16];
    for noted in noted {
        begins[start(noted[0] ^ DISGUISE, noted[1] ^ DISGUISE)] = true;
    }
    let mut count = 0;
    for range in heap(stacks) {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        // Another thread may have given it back.
        let Ok(len) = memory.read_at(&mut bytes, range.start) else { continue };
        let windows = bytes[..len].windows(32);
        let windows = windows.filter(|window| begins[start(window[0], window[1])]);
        let is_it = |window: &[u8]| {
            let is = |noted: &[u8; 32]| {
                window.iter().zip(noted).all(|(byte, noted)| byte ^ DISGUISE == *noted)
            };
            noted.iter().any(is)
        };
        count += windows.filter(|window| is_it(window)).count();
        // Or the next look would find this one.
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
            live(suite);
            (noted(), &raw const stack as usize)
        };
        let (noted, stack) = std::thread::spawn(work).join().unwrap();
        // Of both sides: its key, and of the exchange three secrets, four chaining keys and more.
        assert!(noted.len() > 20, "{}", noted.len());
        let here = 0u8;
        let stacks = [stack, &raw const here as usize];
        let kept: Vec<u8> = noted[5].map(|byte| byte ^ DISGUISE).to_vec();
        assert!(found(&noted, &stacks) > 0, "what is there is not found");
        drop(zeroize::Zeroizing::new(kept));
        assert_eq!(found(&noted, &stacks), 0, "secrets were left behind");
    }
}
