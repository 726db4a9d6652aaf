//! Entry points for fuzzing: functions of a byte string that panic if an invariant is violated.
//!
//! They exist only under `cfg(fuzzing)`, for the targets in `tests/fuzz`, and in tests, which run
//! the kept corpora and seeded random inputs through them.

mod frame;
mod handshake;
mod session;
mod stream;

pub use frame::frame;

/// Runs the reader loop on a stream of frames, fragmented as the input says.
///
/// What is delivered, what is ignored and why the link ends must not depend on the fragmentation,
/// and must match a reference parser of the whole stream.
pub fn stream(bytes: &[u8]) {
    stream::stream(bytes);
}

/// Runs a handshake as the dialer, the listener or both, against a remote that the input controls.
///
/// It must end, read no further ahead than its limit, and resume no session without its secret.
pub fn handshake(bytes: &[u8]) {
    handshake::handshake(bytes);
}

/// Makes two peers send, lose their link, resume and close, in the order that the input gives.
///
/// Every accepted frame must be delivered once and in order, or handed back; impossible
/// acknowledgements must be refused; memory budgets must return to zero.
pub fn session(bytes: &[u8]) {
    session::session(bytes);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// A number from the environment, for longer runs and to reproduce a failure.
    fn from_env(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }

    /// Prints the failing input when a test panics.
    struct Trace<'a>(&'a dyn std::fmt::Debug);

    impl Drop for Trace<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("it failed for {:?}", self.0);
            }
        }
    }

    /// Runs the kept corpus of a target.
    fn corpus(target: &str, run: fn(&[u8])) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = root.join("tests/fuzz/corpus").join(target);
        let Ok(files) = fs::read_dir(&folder) else {
            return eprintln!("SKIPPED: no corpus in {}, as in a package", folder.display());
        };
        let mut count = 0;
        for file in files {
            let path = file.unwrap().path();
            let _trace = Trace(&path);
            run(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "the corpus of {target} is empty");
    }

    /// Runs random inputs. A third of their bytes are small, as counts and lengths often are.
    fn random(cases: u64, max_len: usize, run: fn(&[u8])) {
        let seed = from_env("NETMOD_INET_SEED").unwrap_or_else(|| fastrand::u64(..));
        let cases = from_env("NETMOD_INET_CASES").unwrap_or(cases);
        eprintln!("NETMOD_INET_SEED={seed} NETMOD_INET_CASES={cases}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..cases {
            let len = random.usize(..max_len);
            let byte = || match random.u8(..3) {
                0 => random.u8(..8),
                _ => random.u8(..),
            };
            let input: Vec<u8> = std::iter::repeat_with(byte).take(len).collect();
            let _trace = Trace(&input);
            run(&input);
        }
    }

    #[test]
    fn kept_frames() {
        corpus("frame", crate::testing::fuzz::frame);
    }

    #[test]
    fn kept_streams() {
        corpus("stream", crate::testing::fuzz::stream);
    }

    #[test]
    fn kept_handshakes() {
        corpus("handshake", crate::testing::fuzz::handshake);
    }

    #[test]
    fn kept_sessions() {
        corpus("session", crate::testing::fuzz::session);
    }

    #[test]
    fn random_frames() {
        random(5_000, 300, crate::testing::fuzz::frame);
    }

    #[test]
    fn random_streams() {
        random(300, 120, crate::testing::fuzz::stream);
    }

    #[test]
    fn random_handshakes() {
        random(1_000, 200, crate::testing::fuzz::handshake);
    }

    #[test]
    fn random_sessions() {
        random(300, 200, crate::testing::fuzz::session);
    }
}
