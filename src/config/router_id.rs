//! The identity of a node that was given none.

use std::io;

use crate::primitives::random;
use crate::proto::Id;

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
        random::array().map(Id::from_bytes)
    }
}
