//! Randomness from the operating system, for values that must be unguessable or unique.

use std::io;

/// Fills `bytes` with randomness from the operating system.
pub(crate) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    #[cfg(test)]
    if crate::testing::kit::manual_clock::is_installed() {
        // Simulations must be reproducible, so they use the seeded generator of the thread.
        fastrand::fill(bytes);
        return Ok(());
    }
    fill_from_system(bytes)
}

/// Returns random bytes from the operating system.
pub(crate) fn array<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn fill_from_system(bytes: &mut [u8]) -> io::Result<()> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut rest = bytes;
    while !rest.is_empty() {
        let got = getrandom(&mut *rest, GetRandomFlags::empty())?;
        rest = &mut rest[got..];
    }
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn fill_from_system(bytes: &mut [u8]) -> io::Result<()> {
    use std::io::Read;
    std::fs::File::open("/dev/urandom")?.read_exact(bytes)
}
