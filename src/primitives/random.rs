//! Randomness from the operating system, for what must not be guessed or shared.

use std::io;

use crate::proto::Id;

/// Fills `bytes` from the system's generator.
pub(crate) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    #[cfg(test)]
    if crate::testing::kit::manual_clock::is_installed() {
        // A simulation is to be the same each time.
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
    /// A random identity, from the system's generator.
    ///
    /// # Errors
    ///
    /// What the system says, if it has no randomness to give.
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
