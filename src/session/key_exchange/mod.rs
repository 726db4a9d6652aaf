//! The exchange of keys in a handshake, and what a key decides. Without the feature `noise` there is
//! none, and everybody may have any router id.

#[cfg(not(feature = "noise"))]
mod disabled;
#[cfg(feature = "noise")]
mod noise;

#[cfg(not(feature = "noise"))]
pub(crate) use disabled::*;
#[cfg(feature = "noise")]
pub(crate) use noise::*;
