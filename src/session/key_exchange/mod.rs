//! The key exchange of a handshake, and the admission rules that depend on a key. Without the
//! feature `noise` there is neither: links are plain, and any node may claim any router id.

#[cfg(not(feature = "noise"))]
mod disabled;
#[cfg(feature = "noise")]
mod noise;

#[cfg(not(feature = "noise"))]
pub(crate) use disabled::*;
#[cfg(feature = "noise")]
pub(crate) use noise::*;
