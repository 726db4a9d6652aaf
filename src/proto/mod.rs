//! The bytes: what goes over the wire, and the text that addresses are written in.
//!
//! Nothing in here does I/O, reads a clock or draws a random number that it was not given.

mod address;
mod carrier;
mod handshake;
mod id;
#[cfg(feature = "noise")]
mod noise;
mod pair;
mod peer_list;
mod prefix;
mod public_key;
mod records;
mod resume;
mod round_trip;
#[cfg(test)]
mod samples;
mod schedule;

pub use address::{AddressError, PeerAddr};
pub use carrier::{Frame, FrameBuilder, FrameError, Recipient, SequenceId};
pub use handshake::{Direction, HelloError, PeerType};
pub use id::{Id, ParseIdError};
pub use peer_list::PeerListError;
pub use prefix::FramingError;
pub use public_key::{ParseKeyError, PublicKey};

pub(crate) use address::shorten;
pub(crate) use carrier::{Header, VERSION, is_peering};
pub(crate) use handshake::{Ack, Hello};
#[cfg(feature = "noise")]
pub(crate) use noise::{Capabilities, KeyExchange, Suite};
pub(crate) use pair::{Bits, Role, SessionSecret};
pub(crate) use peer_list::first_duplicate;
pub(crate) use prefix::{LENGTH_PREFIX, encode_length, peek_len};
#[cfg(feature = "noise")]
pub(crate) use public_key::read_digits;
pub(crate) use records::{CONTROL, CloseRecord, RECORDS_VERSION, Records};
pub(crate) use resume::{ACK_BYTES, AckScheduler, AckTiming, InvalidAck, SendCounter};
pub(crate) use schedule::{Backoff, MAX_RETRY_AFTER, staggered_retry_after};
