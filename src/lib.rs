//! TCP peering for mesh routers: the internet driver of [Ratman] as a small library on smol.
//!
//! An [`InetEndpoint`] listens, dials, shakes hands, keeps a queue for every neighbour, restores
//! links that break, and hands what arrives to the router. It speaks the bytes that Ratman nodes
//! speak today, and runs under any executor.
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
//! # Peers and links
//!
//! A *peer* is a neighbour, a *link* one TCP connection to it. A peer outlives its links: while a
//! dialed peer's link is being restored its frames wait, and its [`Target`], the number by which
//! this node knows it, stays the same. A plain peer that dialed this node lasts as
//! long as its link; one that shares records may come back within `Limits::resume_window`.
//!
//! # Executors
//!
//! [`InetEndpoint::start`] uses smol's global executor, which has a thread of its own, and works
//! from within any runtime. [`Builder::spawner`] takes another; see [`Spawn`]. Frames come out of
//! [`next`](InetEndpoint::next) or out of a stream, [`Frames`]; so do [`Events`].
//!
//! # Platforms
//!
//! Unix only. On Linux and Android the kernel is told how long to wait for a neighbour that is gone
//! (`Limits::keepalive`, `Limits::user_timeout`); elsewhere its own settings hold for that.
//!
//! # Features
//!
//! Off by default, and none changes what the rest does:
//!
//! * `log`: writes every event to the [`log`](https://docs.rs/log) facade.
//! * `sink`: `InetEndpoint::sink`, a peer as a `Sink` of the futures crates.
//! * `noise`: encrypted links between nodes that know each other by their keys, for endpoints that
//!   are given a key of their own: see `Encryption`.
//!
//! [Ratman]: https://docs.irde.st

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs, missing_debug_implementations, rust_2018_idioms, unreachable_pub)]

mod accept;
mod builder;
mod context;
#[cfg(feature = "noise")]
mod encryption;
mod endpoint;
mod error;
mod events;
mod frames;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "noise")]
mod keys;
mod limits;
mod link;
mod log;
mod peer;
mod proto;
mod random;
mod resolver;
mod routes;
mod server;
mod session;
#[cfg(test)]
mod simulator;
#[cfg(feature = "sink")]
mod sink;
mod spawn;
mod timer;

pub use accept::{AcceptPolicy, Incoming, IpRange, ParseIpRangeError};
pub use builder::Builder;
#[cfg(feature = "noise")]
pub use encryption::Encryption;
pub use endpoint::{FloodReport, InetEndpoint, Received};
#[cfg(feature = "noise")]
pub use error::NotEncrypting;
pub use error::{
    AddPeersError, AttemptError, Closed, DownReason, DropReason, Farewell, FarewellReason,
    HandshakeError, Refusal, SendError, StartError, UnknownTarget,
};
pub use events::{Event, Events};
pub use frames::Frames;
#[cfg(feature = "noise")]
pub use keys::{KeyError, KeyFault, KeyPair, NetworkSecret};
pub use limits::{LimitError, Limits};
pub use peer::{AttemptInfo, Origin, Peer, PeerInfo, PeerState};
pub use proto::{
    AddressError, Direction, Frame, FrameBuilder, FrameError, HelloError, Id, OutOfStep,
    ParseIdError, ParseKeyError, PeerAddr, PeerListError, PeerType, PublicKey, Recipient,
    SequenceId,
};
pub use resolver::{Resolution, Resolve};
pub use routes::Routes;
#[cfg(feature = "sink")]
pub use sink::PeerSink;
pub use spawn::{Spawn, Task};

/// The local name of a neighbour: what this node calls it, and nobody else.
///
/// It stays the same over every reconnect. After the neighbour's end it is reused as late as
/// possible, which is after 65 535 others.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// # use netmod_inet::{InetEndpoint, Target};
/// # let endpoint = InetEndpoint::start("[::1]:0").await?;
/// let targets: Vec<Target> = endpoint.add_peers(["192.0.2.7:9000"]).await?;
/// assert_eq!(endpoint.peers()[0].target, targets[0]);
/// # Ok(()) }) }
/// ```
pub type Target = u16;

/// The programs of the README, so that they are tested too. One of them takes the feature `sink`.
#[cfg(all(doctest, feature = "sink"))]
#[doc = include_str!("../README.md")]
struct Readme;
