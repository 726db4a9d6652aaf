//! TCP peering for mesh routers: the internet driver of [Ratman] as a small library on smol.
//!
//! An [`InetEndpoint`] listens, dials, keeps a send queue for each neighbour, restores links that
//! break, and hands received frames to the router. It speaks the wire format of Ratman nodes, and
//! runs under any executor.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
//! use netmod_inet::{Frame, InetEndpoint};
//!
//! let alice = InetEndpoint::start("[::1]:0").await?;
//! let bob = InetEndpoint::start("[::1]:0").await?;
//! let targets = bob.add_peers([format!("[::1]:{}", alice.port().unwrap())]).await?;
//!
//! let hello = Frame::builder(8, bob.router_id()).payload("hello").build()?;
//! bob.send(targets[0], hello).await?;
//! let (from, frame) = alice.next().await?;
//! println!("{from}: {}", String::from_utf8_lossy(frame.payload()));
//! # assert_eq!(frame.payload(), b"hello");
//! alice.shutdown().await;
//! # bob.shutdown().await; Ok(()) }) }
//! ```
//!
//! # What to call, in this order
//!
//! 1. [`InetEndpoint::start`] with an address to listen on, or [`InetEndpoint::builder`] for more:
//!    limits, an accept policy, an executor, a key.
//! 2. [`add_peers`](InetEndpoint::add_peers) with the addresses of neighbours. It returns a
//!    [`Target`] for each at once, and dials in the background.
//! 3. [`send`](InetEndpoint::send) for frames that the router makes; it waits for space.
//!    [`send_all`](InetEndpoint::send_all) for floods.
//! 4. [`next`](InetEndpoint::next) in a loop, for what arrives; or [`recv`](InetEndpoint::recv) and
//!    [`forward`](InetEndpoint::forward) in a router that passes frames on.
//! 5. [`events`](InetEndpoint::events) and [`peers`](InetEndpoint::peers), to see what is up, what
//!    is down, and why. [`take_unconfirmed`](InetEndpoint::take_unconfirmed) returns frames that
//!    may not have arrived.
//! 6. [`shutdown`](InetEndpoint::shutdown), which sends what is queued and sends a goodbye.
//!
//! # Words
//!
//! A *peer* is a neighbour, a *link* one TCP connection to it. A peer outlives its links: while a
//! dialed peer's link is being restored its frames wait, and its [`Target`], the number by which
//! this node knows it, stays the same. A *plain* node runs Ratman's own `inet` module. If it dialed
//! this node, its peer ends with its link; a node of this crate may come back within
//! `Limits::resume_window`.
//!
//! # Guide
//!
//! [Runtimes](guide::runtimes) · [delivery](guide::delivery) · [peers](guide::peers) ·
//! [encryption](guide::encryption) · [small boxes](guide::small_boxes) · [Ratman](guide::ratman) ·
//! [wire](guide::wire) · [limitations](guide::limitations) · [verification](guide::verification) ·
//! [benchmarks](guide::benchmarks) · [architecture](guide::architecture) ·
//! [changelog](guide::changelog)
//!
//! # Features
//!
//! Off by default, and none changes what the rest does:
//!
//! * `log`: writes every event to the [`log`](https://docs.rs/log) facade.
//! * `node`: the program `netmod-node`, a node for the command line. The library has no use for it.
//! * `sink`: `InetEndpoint::sink`, a peer as a `Sink` of the futures crates.
//! * `noise`: encrypted links between nodes that know each other by their keys, for endpoints that
//!   are given a key of their own: see [the guide](guide::encryption).
//! * `node`: the program `netmod-node`; see [the guide](guide::small_boxes).
//!
//! # Platforms
//!
//! Unix only. On Linux and Android the timeouts for dead peers are set in the kernel
//! (`Limits::keepalive`, `Limits::user_timeout`); elsewhere the system's own are in force.
//!
//! [Ratman]: https://docs.irde.st

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs, missing_debug_implementations, rust_2018_idioms, unreachable_pub)]

#[cfg(not(unix))]
compile_error!(
    "netmod-inet needs Unix. Missing elsewhere: vectored reads and writes of a non-blocking socket \
     and its options (IPV6_V6ONLY, keepalive, TCP_USER_TIMEOUT) through rustix, the limit on open \
     files, and owner and mode of key files."
);

mod config;
mod endpoint;
mod error;
mod events;
pub mod guide;
mod peer;
mod primitives;
mod proto;
mod routes;
mod server;
mod session;
mod shared;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod testing;
mod transport;

pub use config::{
    AcceptPolicy, Incoming, IpRange, LimitError, Limits, ParseIpRangeError, Resolve, ResolveFuture,
    Spawn, Task,
};
#[cfg(feature = "noise")]
pub use config::{Encryption, KeyError, KeyFault, KeyPair, NetworkSecret};
#[cfg(feature = "sink")]
pub use endpoint::PeerSink;
pub use endpoint::{Builder, FloodReport, Frames, InetEndpoint, Received};
#[cfg(feature = "noise")]
pub use error::NotEncrypting;
pub use error::{
    AddPeersError, AttemptError, Closed, DownReason, DropReason, Goodbye, GoodbyeReason,
    HandshakeError, SendError, SendErrorKind, StartError, UnknownTarget,
};
pub use events::{Event, Events};
pub use peer::{AttemptInfo, Origin, Peer, PeerInfo, PeerState};
pub use proto::{
    AddressError, Direction, Frame, FrameBuilder, FrameError, FramingError, HelloError, Id,
    ParseIdError, ParseKeyError, PeerAddr, PeerListError, PeerType, PublicKey, Recipient,
    SequenceId, Target,
};
pub use routes::Routes;

/// The programs of the README, so that they run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
