//! The wire protocol, and the textual form of addresses.
//!
//! This module does no I/O, and neither reads a clock nor draws random numbers: the caller passes
//! both in.

mod ack;
mod addr_block;
mod address;
mod backoff;
mod extension;
mod frame;
mod framing;
mod handshake;
mod id;
#[cfg(feature = "noise")]
mod noise;
mod peer_list;
mod public_key;
mod rtt;
mod session_secret;
mod session_values;
mod target;
#[cfg(test)]
mod vectors_test;

pub use address::{AddressError, PeerAddr};
pub use frame::{Frame, FrameBuilder, FrameError, Recipient, SequenceId};
pub use framing::FramingError;
pub use handshake::{Direction, HelloError, PeerType};
pub use id::{Id, ParseIdError};
pub use peer_list::PeerListError;
pub use public_key::{ParseKeyError, PublicKey};
pub use target::Target;

pub(crate) use ack::{ACK_BYTES, AckScheduler, AckTiming, InvalidAck, SendCounter};
pub(crate) use addr_block::AddrBlock;
pub(crate) use address::shorten;
pub(crate) use backoff::{Backoff, MAX_RETRY_AFTER, staggered_retry_after};
pub(crate) use extension::{CONTROL, CloseRecord, EXTENSION_VERSION, Extension};
pub(crate) use frame::{Header, VERSION, is_peering};
pub(crate) use framing::{LENGTH_PREFIX, encode_length, peek_len};
pub(crate) use handshake::{Ack, Hello};
#[cfg(feature = "noise")]
pub(crate) use noise::{Capabilities, KeyExchange, Suite};
pub(crate) use peer_list::first_duplicate;
#[cfg(feature = "noise")]
pub(crate) use public_key::read_digits;
pub(crate) use session_secret::{Role, SessionSecret};
pub(crate) use session_values::{InstanceId, KeyShare, Nonce, Proof, SessionName};
