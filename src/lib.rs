//! TCP peering for mesh routers: the internet driver of [Ratman] as a small library on smol.
//!
//! An [`InetEndpoint`] listens, dials, keeps a send queue for each neighbour, restores broken
//! links, and delivers received frames to the router. It speaks the wire format of Ratman nodes,
//! and runs under any executor.
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
//! # Getting started
//!
//! 1. [`InetEndpoint::start`] with an address to listen on, or [`InetEndpoint::builder`] for more:
//!    limits, an accept policy, an executor, a key.
//! 2. [`add_peers`](InetEndpoint::add_peers) with the addresses of neighbours. It immediately
//!    returns a [`Target`] for each, and dials in the background.
//! 3. [`send`](InetEndpoint::send) for frames that the router creates; it waits for queue space.
//!    [`send_all`](InetEndpoint::send_all) for flooding.
//! 4. [`next`](InetEndpoint::next) in a loop, to receive frames; or [`recv`](InetEndpoint::recv)
//!    and [`forward`](InetEndpoint::forward) in a router that forwards them.
//! 5. [`events`](InetEndpoint::events) and [`peers`](InetEndpoint::peers), to see which links are
//!    up or down, and why. [`take_unconfirmed`](InetEndpoint::take_unconfirmed) returns frames that
//!    may not have arrived.
//! 6. [`shutdown`](InetEndpoint::shutdown), which sends what is queued, then a goodbye.
//!
//! # Terms
//!
//! A *peer* is a neighbour, a *link* one TCP connection to it. A peer outlives its links: while the
//! link of a dialed peer is being restored, its frames stay queued, and its [`Target`], the number
//! by which this node addresses it, stays the same. A *plain* node runs Ratman's own `inet` module.
//! If it dialed this node, its peer ends with its link; a node of this crate may resume within
//! `Limits::resume_window`.
//!
//! # Guide
//!
//! [Runtimes](guide::runtimes) · [delivery](guide::delivery) · [peers](guide::peers) ·
//! [strangers](guide::strangers) · [encryption](guide::encryption) ·
//! [small boxes](guide::small_boxes) · [Ratman](guide::ratman) ·
//! [wire](guide::wire) · [limitations](guide::limitations) · [verification](guide::verification) ·
//! [benchmarks](guide::benchmarks) · [architecture](guide::architecture) ·
//! [changelog](guide::changelog)
//!
//! # Features
//!
//! Off by default. None changes the behaviour of the rest:
//!
//! * `log`: writes every event to the [`log`](https://docs.rs/log) facade.
//! * `node`: the program `netmod-node`, a command-line node; see [the guide](guide::small_boxes).
//!   It adds nothing to the library.
//! * `sink`: `InetEndpoint::sink`, a peer as a `Sink` of the futures crates.
//! * `noise`: encrypted links between nodes that authenticate each other by their keys; see
//!   [the guide](guide::encryption).
//!
//! # Platforms
//!
//! Unix only. On Linux and Android the timeouts for dead peers are set in the kernel
//! (`Limits::keepalive`, `Limits::user_timeout`); elsewhere the system's defaults apply.
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
    AcceptPolicy, Incoming, IpRange, LimitError, Limits, ParseIpRangeError, PoolResolver, Resolve,
    ResolveFuture, Spawn, Task,
};
#[cfg(feature = "noise")]
pub use config::{Encryption, KeyError, KeyFault, KeyPair, NetworkSecret};
#[cfg(feature = "sink")]
pub use endpoint::PeerSink;
pub use endpoint::{Builder, FloodReport, ForwardError, Frames, InetEndpoint, Received};
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

/// Compiles the programs of the README as doc-tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
