//! Randomness from the operating system, for values that must be unguessable or unique.

use std::io;

use crate::proto::Id;

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

impl Id {
    /// Generates a random identity from the system's generator.
    ///
    /// # Errors
    ///
    /// Returns the error of the system if it cannot provide randomness.
    ///
    /// ```
    /// use netmod_inet::Id;
    ///
    /// assert_ne!(Id::random()?, Id::random()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn random() -> io::Result<Id> {
        let mut bytes = [0; 32];
        fill(&mut bytes)?;
        Ok(Id::from_bytes(bytes))
    }
}
